//! From a question's bytes to what to do about it.

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType, rdata};

use super::{NameSource, OWN_SUFFIX};

/// Seconds that an answer of ours may be kept, as on AWS.
const TTL_S: u32 = 60;
/// Bytes of a UDP answer without EDNS (RFC 1035, 4.2.1).
const PLAIN_UDP_BYTES_MAX: usize = 512;

/// What to do about a question.
pub(super) enum Reply {
    /// Send these bytes.
    Bytes(Vec<u8>),
    /// Ask the host's name servers; if they give nothing, send `failure`.
    Forward {
        /// `SERVFAIL`, in bytes.
        failure: Vec<u8>,
    },
    /// Not a question.
    Silence,
}

/// Decides by the first (and only) question.
pub(super) fn reply_to(packet: &[u8], names: &dyn NameSource, udp: bool) -> Reply {
    let Ok(message) = Message::from_vec(packet) else { return Reply::Silence };
    if message.metadata.message_type != MessageType::Query {
        return Reply::Silence;
    }
    let [query] = &message.queries[..] else { return plain(&message, ResponseCode::FormErr) };
    if message.metadata.op_code != OpCode::Query {
        return plain(&message, ResponseCode::NotImp);
    }
    let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let is_own = name.strip_suffix(OWN_SUFFIX).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if !is_own {
        return match encode(&response(&message, ResponseCode::ServFail)) {
            Some(failure) => Reply::Forward { failure },
            None => Reply::Silence,
        };
    }
    let addresses = names.addresses(&name);
    let code = if addresses.is_empty() { ResponseCode::NXDomain } else { ResponseCode::NoError };
    let mut answer = response(&message, code);
    answer.metadata.authoritative = true;
    if matches!(query.query_type(), RecordType::A | RecordType::ANY) && query.query_class() == DNSClass::IN {
        answer.answers = addresses.iter().map(|a| record(query.name().clone(), *a)).collect();
    }
    let Some(bytes) = encode(&answer) else { return Reply::Silence };
    let room = message.edns.as_ref().map_or(PLAIN_UDP_BYTES_MAX, |e| usize::from(e.max_payload()));
    if udp && bytes.len() > room.max(PLAIN_UDP_BYTES_MAX) {
        return encode(&answer.truncate()).map_or(Reply::Silence, Reply::Bytes);
    }
    Reply::Bytes(bytes)
}

fn record(name: hickory_proto::rr::Name, address: Ipv4Addr) -> Record {
    Record::from_rdata(name, TTL_S, RData::A(rdata::A(address)))
}

fn plain(message: &Message, code: ResponseCode) -> Reply {
    encode(&response(message, code)).map_or(Reply::Silence, Reply::Bytes)
}

fn response(message: &Message, code: ResponseCode) -> Message {
    let mut response = Message::response(message.metadata.id, message.metadata.op_code);
    response.metadata.recursion_desired = message.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    response.queries.clone_from(&message.queries);
    response
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    message.to_vec().ok()
}
