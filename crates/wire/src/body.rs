//! One face for all protocols: which codec decodes and encodes what.

use std::borrow::Cow;
use std::io::Read;

use crate::fault::Fault;
use crate::head::RequestHead;
use crate::limits::BODY_BYTES_MAX;
use crate::query::{self, Params};
use crate::schema::{OperationSchema, Protocol};
use crate::value::Shape;
use crate::{cbor, json, xml};

/// What a request carries, as far as routing had to take it apart.
#[derive(Debug)]
pub enum Form<'a> {
    /// Parameters of a query protocol.
    Params(Params<'a>),
    /// A JSON body.
    Json(&'a [u8]),
    /// A CBOR body.
    Cbor(&'a [u8]),
}

/// The body without its content encoding: SDKs compress large `PutMetricData` requests.
pub fn inflate<'a>(head: &RequestHead<'_>, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Fault> {
    match head.header("content-encoding") {
        None | Some("" | "identity") => return Ok(Cow::Borrowed(body)),
        Some("gzip") => {}
        Some(other) => {
            let message = format!("The content encoding {other} is not supported.");
            return Err(Fault::sender("UnsupportedMediaType", message).with_status(415));
        }
    }
    let mut plain = Vec::with_capacity((body.len() * 4).min(BODY_BYTES_MAX));
    let most = BODY_BYTES_MAX as u64 + 1;
    let result = flate2::read::GzDecoder::new(body).take(most).read_to_end(&mut plain);
    if result.is_err() {
        return Err(Fault::sender("MalformedInput", "The body is not valid gzip data."));
    }
    if plain.len() > BODY_BYTES_MAX {
        return Err(
            Fault::sender("RequestEntityTooLarge", "The request's body is too large.").with_status(413)
        );
    }
    Ok(Cow::Owned(plain))
}

/// Decodes a request into an empty input shape.
pub fn decode_input(protocol: Protocol, form: &Form<'_>, input: &mut dyn Shape) -> Result<(), Fault> {
    match form {
        Form::Params(params) => query::decode(protocol, params, input),
        Form::Json(body) => json::decode(body, input),
        Form::Cbor(body) => cbor::decode(body, input),
    }
}

/// Encodes a request's body, for our own client.
pub fn encode_input(protocol: Protocol, operation: &OperationSchema, input: &dyn Shape) -> Vec<u8> {
    match protocol {
        Protocol::Query | Protocol::Ec2 => query::encode(protocol, operation, input).into_bytes(),
        Protocol::Json { .. } => {
            let mut out = Vec::new();
            json::encode(input, &mut out);
            out
        }
        Protocol::Cbor => {
            let mut out = Vec::new();
            cbor::encode(input, &mut out);
            out
        }
    }
}

/// Decodes an answer into an empty output shape, for our own client.
pub fn decode_output(
    protocol: Protocol,
    operation: &OperationSchema,
    body: &[u8],
    output: &mut dyn Shape,
) -> Result<(), Fault> {
    match protocol {
        Protocol::Query | Protocol::Ec2 => xml::decode(protocol, operation, body, output),
        Protocol::Json { .. } => json::decode(body, output),
        Protocol::Cbor => cbor::decode(body, output),
    }
}
