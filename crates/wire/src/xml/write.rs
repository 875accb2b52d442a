//! A shape → XML, straight into the answer's buffer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::fault::Fault;
use crate::schema::{Kind, OperationSchema, Protocol, Schema};
use crate::time;
use crate::value::{EpochMillis, Shape, ValueRef};

/// Writes the operation's answer.
pub fn encode(
    protocol: Protocol,
    operation: &OperationSchema,
    output: &dyn Shape,
    request_id: &str,
    out: &mut Vec<u8>,
) {
    let ec2 = protocol == Protocol::Ec2;
    let time = if ec2 { time::write_iso } else { time::write_iso_short };
    if ec2 {
        put(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    }
    put(out, "<");
    put(out, operation.name);
    put(out, "Response xmlns=\"");
    put(out, operation.service.xml_namespace);
    put(out, "\">");
    if ec2 {
        element(out, "requestId", |out| put(out, request_id));
        structure(out, output, time);
        // EC2 answers so where the model has no output.
        if std::ptr::eq(operation.output, &crate::schema::UNIT) {
            put(out, "<return>true</return>");
        }
    } else {
        if let Some(wrapper) = operation.result_wrapper {
            element(out, wrapper, |out| structure(out, output, time));
        }
        element(out, "ResponseMetadata", |out| element(out, "RequestId", |out| put(out, request_id)));
    }
    put(out, "</");
    put(out, operation.name);
    put(out, "Response>");
}

/// Writes an error.
pub fn encode_error(protocol: Protocol, namespace: &str, fault: &Fault, request_id: &str, out: &mut Vec<u8>) {
    let code_and_message = |out: &mut Vec<u8>| {
        element(out, "Code", |out| escape(out, &fault.code));
        element(out, "Message", |out| escape(out, &fault.message));
    };
    if protocol == Protocol::Ec2 {
        put(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        element(out, "Response", |out| {
            element(out, "Errors", |out| element(out, "Error", code_and_message));
            element(out, "RequestID", |out| put(out, request_id));
        });
        return;
    }
    put(out, "<ErrorResponse xmlns=\"");
    put(out, namespace);
    put(out, "\">");
    element(out, "Error", |out| {
        element(out, "Type", |out| put(out, if fault.sender { "Sender" } else { "Receiver" }));
        code_and_message(out);
    });
    element(out, "RequestId", |out| put(out, request_id));
    put(out, "</ErrorResponse>");
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn element(out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'<');
    put(out, name);
    out.push(b'>');
    write(out);
    put(out, "</");
    put(out, name);
    out.push(b'>');
}

/// How a time is written.
type WriteTime = fn(&mut Vec<u8>, EpochMillis);

fn structure(out: &mut Vec<u8>, shape: &dyn Shape, time: WriteTime) {
    for (i, member) in shape.schema().members().iter().enumerate() {
        let Some(v) = shape.get(i) else { continue };
        match (v, member.flattened) {
            (ValueRef::List(list), true) => {
                let Kind::List(item, _) = member.schema.kind else { continue };
                for i in 0..list.len() {
                    element(out, member.xml, |out| value(out, list.item(i), item, time));
                }
            }
            _ => element(out, member.xml, |out| value(out, v, member.schema, time)),
        }
    }
}

fn value(out: &mut Vec<u8>, v: ValueRef<'_>, schema: &Schema, time: WriteTime) {
    match (v, &schema.kind) {
        (ValueRef::Str(text), _) => escape(out, text),
        (ValueRef::Struct(shape), _) => structure(out, shape, time),
        (ValueRef::List(list), Kind::List(item, name)) => {
            for i in 0..list.len() {
                element(out, name, |out| value(out, list.item(i), item, time));
            }
        }
        (ValueRef::Map(map), Kind::Map(_, item)) => {
            for (key, v) in map.entries() {
                element(out, "entry", |out| {
                    element(out, "key", |out| escape(out, key));
                    element(out, "value", |out| value(out, v, item, time));
                });
            }
        }
        (ValueRef::Bool(v), _) => put(out, if v { "true" } else { "false" }),
        (ValueRef::Int(v), _) => put(out, itoa::Buffer::new().format(v)),
        (ValueRef::Float(v), _) if v.is_finite() => put(out, ryu::Buffer::new().format(v)),
        (ValueRef::Float(v), _) => put(out, non_finite(v)),
        (ValueRef::Time(v), _) => time(out, v),
        (ValueRef::Blob(v), _) => put(out, &STANDARD.encode(v)),
        (ValueRef::List(_) | ValueRef::Map(_), _) => {}
    }
}

/// AWS's words for floats that are not numbers.
pub(crate) fn non_finite(v: f64) -> &'static str {
    match v {
        v if v.is_nan() => "NaN",
        v if v > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

/// Whether XML text can carry the byte as it is.
const fn plain(b: u8) -> bool {
    !matches!(b, b'&' | b'<' | b'>' | b'"') && (b >= 0x20 || b == b'\n' || b == b'\t')
}

/// Writes text with XML's special characters escaped. Control characters that XML cannot carry at all become U+FFFD.
pub(crate) fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut done = 0;
    while let Some(skip) = bytes[done..].iter().position(|b| !plain(*b)) {
        out.extend_from_slice(&bytes[done..done + skip]);
        put(
            out,
            match bytes[done + skip] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                b'\r' => "&#xD;",
                _ => "\u{FFFD}",
            },
        );
        done += skip + 1;
    }
    out.extend_from_slice(&bytes[done..]);
}
