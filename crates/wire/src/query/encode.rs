//! A shape → parameters, as botocore writes them. For our own client and for tests.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::schema::{Kind, OperationSchema, Protocol, Schema};
use crate::time;
use crate::value::{Shape, ValueRef};

/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The form body that calls the operation.
pub fn encode(protocol: Protocol, operation: &OperationSchema, input: &dyn Shape) -> String {
    let body = format!("Action={}&Version={}", operation.name, operation.service.version);
    let mut encoder = Encoder { ec2: protocol == Protocol::Ec2, body, name: String::new() };
    encoder.structure(input);
    encoder.body
}

struct Encoder {
    ec2: bool,
    body: String,
    /// Name of the parameter being written.
    name: String,
}

impl Encoder {
    fn structure(&mut self, shape: &dyn Shape) {
        for (i, member) in shape.schema().members().iter().enumerate() {
            if let Some(value) = shape.get(i) {
                self.under(member.query, |e| e.value(value, member.schema, member.flattened));
            }
        }
    }

    fn under(&mut self, part: &str, write: impl FnOnce(&mut Self)) {
        let length = self.name.len();
        if length > 0 {
            self.name.push('.');
        }
        self.name.push_str(part);
        write(self);
        self.name.truncate(length);
    }

    fn value(&mut self, value: ValueRef<'_>, schema: &Schema, flat: bool) {
        let flat = flat || self.ec2;
        match (value, &schema.kind) {
            (ValueRef::Struct(shape), _) => self.structure(shape),
            (ValueRef::List(list), Kind::List(item, element)) => {
                // An empty list is `Names=`, except in EC2, which has no such thing.
                if list.is_empty() && !self.ec2 {
                    self.text("");
                }
                for i in 0..list.len() {
                    let number = if flat { (i + 1).to_string() } else { format!("{element}.{}", i + 1) };
                    self.under(&number, |e| e.value(list.item(i), item, false));
                }
            }
            (ValueRef::Map(map), Kind::Map(_, schema)) => {
                for (i, (key, value)) in map.entries().enumerate() {
                    let number = if flat { (i + 1).to_string() } else { format!("entry.{}", i + 1) };
                    self.under(&number, |e| {
                        e.under("key", |e| e.text(key));
                        e.under("value", |e| e.value(value, schema, false));
                    });
                }
            }
            (ValueRef::Str(text), _) => self.text(text),
            (ValueRef::Bool(v), _) => self.text(if v { "true" } else { "false" }),
            (ValueRef::Int(v), _) => self.text(itoa::Buffer::new().format(v)),
            (ValueRef::Float(v), _) => self.text(&v.to_string()),
            (ValueRef::Time(v), _) => {
                let mut text = Vec::new();
                time::write_iso(&mut text, v);
                self.text(&String::from_utf8_lossy(&text));
            }
            (ValueRef::Blob(v), _) => self.text(&STANDARD.encode(v)),
            (ValueRef::List(_) | ValueRef::Map(_), _) => {}
        }
    }

    fn text(&mut self, text: &str) {
        let (name, value) = (utf8_percent_encode(&self.name, RESERVED), utf8_percent_encode(text, RESERVED));
        // Writing to a string cannot fail.
        let _ = write!(self.body, "&{name}={value}");
    }
}
