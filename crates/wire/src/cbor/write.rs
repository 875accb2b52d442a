//! A shape → CBOR, straight into the buffer.

use super::{DOUBLE, FALSE, TAG_TIME, TRUE, major};
use crate::fault::Fault;
use crate::json::exception_name;
use crate::schema::ServiceSchema;
use crate::value::{Shape, ValueRef};

/// Writes the shape, which is a request or an answer alike.
pub fn encode(shape: &dyn Shape, out: &mut Vec<u8>) {
    let members = shape.schema().members();
    let n = (0..members.len()).filter(|i| shape.get(*i).is_some()).count();
    head(major::MAP, n as u64, out);
    for (i, member) in members.iter().enumerate() {
        let Some(v) = shape.get(i) else { continue };
        text(member.name, out);
        value(v, out);
    }
}

/// Writes an error under the whole name of its shape.
pub fn encode_error(service: Option<&ServiceSchema>, fault: &Fault, out: &mut Vec<u8>) {
    let namespace = service.map_or("common", |s| s.name);
    head(major::MAP, 2, out);
    text("__type", out);
    text(&format!("com.amazonaws.{namespace}#{}", exception_name(service, fault)), out);
    text("message", out);
    text(&fault.message, out);
}

fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let first = major << 5;
    let bytes = argument.to_be_bytes();
    let (info, rest) = match argument {
        0..24 => return out.push(first | argument as u8),
        24..0x100 => (24, &bytes[7..]),
        0x100..0x1_0000 => (25, &bytes[6..]),
        0x1_0000..0x1_0000_0000 => (26, &bytes[4..]),
        _ => (27, &bytes[..]),
    };
    out.push(first | info);
    out.extend_from_slice(rest);
}

fn text(text: &str, out: &mut Vec<u8>) {
    head(major::TEXT, text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn integer(v: i64, out: &mut Vec<u8>) {
    match v {
        0.. => head(major::UNSIGNED, v as u64, out),
        _ => head(major::NEGATIVE, !v as u64, out),
    }
}

fn float(v: f64, out: &mut Vec<u8>) {
    out.push(DOUBLE);
    out.extend_from_slice(&v.to_be_bytes());
}

fn value(v: ValueRef<'_>, out: &mut Vec<u8>) {
    match v {
        ValueRef::Str(v) => text(v, out),
        ValueRef::Bool(v) => out.push(if v { TRUE } else { FALSE }),
        ValueRef::Int(v) => integer(v, out),
        ValueRef::Float(v) => float(v, out),
        ValueRef::Time(v) => {
            head(major::TAG, TAG_TIME, out);
            match v.0 % 1000 {
                0 => integer(v.0 / 1000, out),
                _ => float(v.0 as f64 / 1000.0, out),
            }
        }
        ValueRef::Blob(v) => {
            head(major::BYTES, v.len() as u64, out);
            out.extend_from_slice(v);
        }
        ValueRef::Struct(shape) => encode(shape, out),
        ValueRef::List(list) => {
            head(major::ARRAY, list.len() as u64, out);
            (0..list.len()).for_each(|i| value(list.item(i), out));
        }
        ValueRef::Map(map) => {
            head(major::MAP, map.len() as u64, out);
            for (key, v) in map.entries() {
                text(key, out);
                value(v, out);
            }
        }
    }
}
