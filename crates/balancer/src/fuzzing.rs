//! Parsers that only this crate sees, for fuzzing: each takes any bytes and checks what must hold whatever they are.

use std::net::{Ipv4Addr, SocketAddrV4};

use puffer_core::Timestamp;
use rand::SeedableRng;

use crate::config::{DesyncMode, LoadBalancerAttributes};
use crate::http::HEADER_LINES_MAX;
use crate::http::body::{Body, Chunked};
use crate::http::{request, response};

const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 4000);
/// Lines that a request may gain on its way, with room.
const LINES_GAINED_MAX: usize = 16;

/// A head that is passed on is one request for the target too: the same method, the same target and the same body, or somebody could
/// smuggle a second one in.
pub fn request_head(bytes: &[u8]) {
    for desync_mode in [DesyncMode::Monitor, DesyncMode::Defensive, DesyncMode::Strictest] {
        let attributes = LoadBalancerAttributes { desync_mode, ..LoadBalancerAttributes::default() };
        let mut table = request::header_table();
        let parsed = request::parse(bytes, &mut table, *PEER.ip(), desync_mode);
        let Ok(Some(parsed)) = parsed else { continue };
        assert!(parsed.head_bytes <= bytes.len());
        let passage = request::Passage {
            attributes: &attributes,
            peer: PEER,
            port: 80,
            forwarded_lines: b"X-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\n",
            node_text: "10.0.0.1",
            traces: true,
            now: Timestamp::from_secs(0),
        };
        let mut passed = Vec::new();
        let written = parsed.write_head(&mut passed, &passage, &mut rand_pcg::Pcg64Mcg::seed_from_u64(1));
        let n_lines = passed.iter().filter(|b| **b == b'\n').count();
        if written.is_err() || n_lines + LINES_GAINED_MAX > HEADER_LINES_MAX {
            continue;
        }
        let mut table = request::header_table();
        let Ok(Some(again)) = request::parse(&passed, &mut table, *PEER.ip(), desync_mode) else {
            panic!("the target would refuse b\"{}\"", passed.escape_ascii());
        };
        assert_eq!(again.head_bytes, passed.len(), "two requests of one");
        assert_eq!((again.method, again.target, &again.body), (parsed.method, parsed.target, &parsed.body));
    }
}

/// The same for answers.
pub fn response_head(bytes: &[u8]) {
    for to_head in [false, true] {
        let mut table = request::header_table();
        let Ok(Some(parsed)) = response::parse(bytes, &mut table, to_head) else { continue };
        assert!(parsed.head_bytes <= bytes.len());
        for client_minor in [0, 1] {
            let mut passed = Vec::new();
            let framing = parsed.framing_for(client_minor);
            parsed.write_head(&mut passed, framing, client_minor == 1, b"");
            let end = passed.windows(4).position(|w| w == b"\r\n\r\n");
            assert_eq!(end, passed.len().checked_sub(4), "two answers of one");
        }
    }
}

/// A chunked body ends at the same place and holds the same data however it arrives.
pub fn chunks(bytes: &[u8]) {
    let whole = feed(bytes, bytes.len().max(1));
    for step in [1, 3] {
        let parts = feed(bytes, step);
        assert_eq!(whole, parts, "in parts of {step}");
    }
}

/// Data, bytes taken and whether that is all; `None` for a broken body.
fn feed(bytes: &[u8], step: usize) -> Option<(Vec<u8>, usize, bool)> {
    let mut body = Body::Chunked(Chunked::new());
    let (mut data, mut taken) = (Vec::new(), 0);
    for part in bytes.chunks(step) {
        if body.is_done() {
            break;
        }
        let n = body.take_data(part, &mut data).ok()?;
        assert!(n == part.len() || body.is_done(), "bytes left over in the middle");
        taken += n;
    }
    Some((data, taken, body.is_done()))
}
