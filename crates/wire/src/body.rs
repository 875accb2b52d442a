//! One face for all protocols: which codec decodes and encodes what.

use crate::fault::Fault;
use crate::query::{self, Params};
use crate::schema::{OperationSchema, Protocol};
use crate::value::Shape;
use crate::{json, xml};

/// What a request carries, as far as routing had to take it apart.
#[derive(Debug)]
pub enum Form<'a> {
    /// Parameters of a query protocol.
    Params(Params<'a>),
    /// A JSON body.
    Json(&'a [u8]),
}

/// Decodes a request into an empty input shape.
pub fn decode_input(protocol: Protocol, form: &Form<'_>, input: &mut dyn Shape) -> Result<(), Fault> {
    match form {
        Form::Params(params) => query::decode(protocol, params, input),
        Form::Json(body) => json::decode(body, input),
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
    }
}
