//! A shape → JSON, straight into the buffer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::fault::Fault;
use crate::schema::{Kind, Schema, ServiceSchema};
use crate::time;
use crate::value::{Shape, ValueRef};
use crate::xml::non_finite;

/// Writes the shape, which is a request or an answer alike.
pub fn encode(shape: &dyn Shape, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for (i, member) in shape.schema().members().iter().enumerate() {
        let Some(v) = shape.get(i) else { continue };
        comma(&mut first, out);
        out.push(b'"');
        out.extend_from_slice(member.name.as_bytes());
        out.extend_from_slice(b"\":");
        value(v, member.schema, out);
    }
    out.push(b'}');
}

/// Writes an error. The models' exceptions go by the name of their shape, others by their code.
pub fn encode_error(service: Option<&ServiceSchema>, fault: &Fault, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"__type\":");
    string(exception_name(service, fault), out);
    out.extend_from_slice(b",\"message\":");
    string(&fault.message, out);
    out.push(b'}');
}

/// Errors that every service can answer, by their code in the query protocol and their name in JSON.
const COMMON: &[(&str, &str)] = &[
    ("IncompleteSignature", "IncompleteSignatureException"),
    ("InvalidAction", "UnknownOperationException"),
    ("InvalidClientTokenId", "UnrecognizedClientException"),
    ("MalformedInput", "SerializationException"),
    ("MissingAuthenticationToken", "MissingAuthenticationTokenException"),
    ("SignatureDoesNotMatch", "InvalidSignatureException"),
    ("Throttling", "ThrottlingException"),
    ("ValidationError", "ValidationException"),
];

/// The name under which the JSON protocols know the error.
pub(crate) fn exception_name<'f>(service: Option<&ServiceSchema>, fault: &'f Fault) -> &'f str {
    let declared = service.and_then(|s| s.errors.iter().find(|e| e.code == fault.code)).map(|e| e.shape);
    let common = || COMMON.iter().find(|(code, _)| *code == fault.code).map(|(_, name)| *name);
    declared.or_else(common).unwrap_or(&fault.code)
}

fn comma(first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

fn value(v: ValueRef<'_>, schema: &Schema, out: &mut Vec<u8>) {
    match (v, &schema.kind) {
        (ValueRef::Str(text), _) => string(text, out),
        (ValueRef::Struct(shape), _) => encode(shape, out),
        (ValueRef::List(list), Kind::List(item, _)) => {
            out.push(b'[');
            let mut first = true;
            for i in 0..list.len() {
                comma(&mut first, out);
                value(list.item(i), item, out);
            }
            out.push(b']');
        }
        (ValueRef::Map(map), Kind::Map(_, item)) => {
            out.push(b'{');
            let mut first = true;
            for (key, v) in map.entries() {
                comma(&mut first, out);
                string(key, out);
                out.push(b':');
                value(v, item, out);
            }
            out.push(b'}');
        }
        (ValueRef::Bool(v), _) => out.extend_from_slice(if v { b"true" } else { b"false" }),
        (ValueRef::Int(v), _) => out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes()),
        (ValueRef::Float(v), _) if v.is_finite() => {
            out.extend_from_slice(ryu::Buffer::new().format(v).as_bytes())
        }
        (ValueRef::Float(v), _) => string(non_finite(v), out),
        (ValueRef::Time(v), _) => time::write_epoch(out, v),
        (ValueRef::Blob(v), _) => {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(v).as_bytes());
            out.push(b'"');
        }
        (ValueRef::List(_) | ValueRef::Map(_), _) => out.extend_from_slice(b"null"),
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    while let Some(skip) = bytes[done..].iter().position(|b| *b < 0x20 || matches!(b, b'"' | b'\\')) {
        out.extend_from_slice(&bytes[done..done + skip]);
        match bytes[done + skip] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(b >> 4)]);
                out.push(HEX[usize::from(b & 15)]);
            }
        }
        done += skip + 1;
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}
