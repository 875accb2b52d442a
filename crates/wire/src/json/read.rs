//! JSON → a shape, in one pass by serde's visitor: no value tree. serde_json bounds the depth.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::fault::Fault;
use crate::limits::LIST_ITEMS_MAX;
use crate::time;
use crate::value::{EpochMillis, ListSlot, MapSlot, Shape, Slot};

/// Fills `shape` from a request or an answer. Members that the shape does not have are skipped; nulls leave members absent.
pub fn decode(body: &[u8], shape: &mut dyn Shape) -> Result<(), Fault> {
    // AWS takes no body at all for an empty structure.
    if body.is_empty() {
        return Ok(());
    }
    let wrong = |e: serde_json::Error| Fault::sender("MalformedInput", message(&e));
    let mut json = serde_json::Deserializer::from_slice(body);
    Structure(shape).deserialize(&mut json).map_err(wrong)?;
    json.end().map_err(wrong)
}

/// The error in a JSON answer; the status comes from HTTP, the query protocol's code (if any) from its header.
pub fn decode_error(body: &[u8], status: u16, query_error: Option<&str>) -> Fault {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(rename = "__type", default)]
        kind: String,
        #[serde(alias = "Message", default)]
        message: String,
    }
    let body: Body =
        serde_json::from_slice(body).unwrap_or(Body { kind: String::new(), message: String::new() });
    let kind = body.kind.rsplit('#').next().unwrap_or_default().to_owned();
    let code = query_error.and_then(|q| q.split(';').next()).map_or(kind, str::to_owned);
    Fault { code: code.into(), status, message: body.message, sender: status < 500 }
}

fn message(e: &serde_json::Error) -> String {
    match e.classify() {
        serde_json::error::Category::Data => e.to_string(),
        _ => format!("The request is not valid JSON (line {}, column {}).", e.line(), e.column()),
    }
}

/// Where the next value goes. The place is made only when a value that is not null comes.
enum Target<'a> {
    Member(&'a mut dyn Shape, usize),
    Item(&'a mut dyn ListSlot),
    Entry(&'a mut dyn MapSlot, String),
}

impl<'a> Target<'a> {
    fn slot<E: Error>(self) -> Result<Slot<'a>, E> {
        match self {
            Target::Member(shape, index) => shape.slot(index).ok_or_else(|| E::custom("no such member")),
            Target::Item(list) if list.len() >= LIST_ITEMS_MAX => Err(E::custom("the list is too long")),
            Target::Item(list) => Ok(list.push()),
            Target::Entry(map, _) if map.len() >= LIST_ITEMS_MAX => Err(E::custom("the map is too long")),
            Target::Entry(map, key) => Ok(map.entry(key)),
        }
    }
}

struct Structure<'a>(&'a mut dyn Shape);

impl<'de> DeserializeSeed<'de> for Structure<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Structure<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let members = self.0.schema().members();
        while let Some(index) = map.next_key_seed(Name(members))? {
            match index {
                Some(index) => map.next_value_seed(Target::Member(self.0, index))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A member's name, looked up without copying it.
struct Name(&'static [crate::schema::Member]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Option<usize>, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }
    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|m| m.name == name))
    }
}

impl<'de> DeserializeSeed<'de> for Target<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

fn mismatch<E: Error>(found: &str, slot: &Slot<'_>) -> E {
    let expected = match slot {
        Slot::Str(_) => "a string",
        Slot::Bool(_) => "a boolean",
        Slot::I32(_) | Slot::I64(_) => "an integer",
        Slot::F64(_) => "a number",
        Slot::Time(_) => "a timestamp",
        Slot::Blob(_) => "base64",
        Slot::Struct(_) | Slot::Map(_) => "an object",
        Slot::List(_) => "a list",
    };
    E::custom(format_args!("{found} where {expected} should be"))
}

impl<'de> Visitor<'de> for Target<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<(), E> {
        match self.slot()? {
            Slot::Bool(place) => *place = v,
            other => return Err(mismatch("a boolean", &other)),
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<(), E> {
        match self.slot()? {
            Slot::I64(place) => *place = v,
            Slot::I32(place) => {
                *place = i32::try_from(v).map_err(|_| E::custom("the integer is out of range"))?
            }
            Slot::F64(place) => *place = v as f64,
            Slot::Time(place) => *place = seconds(v as f64)?,
            other => return Err(mismatch("a number", &other)),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<(), E> {
        match i64::try_from(v) {
            Ok(v) => self.visit_i64(v),
            Err(_) => self.visit_f64(v as f64),
        }
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<(), E> {
        match self.slot()? {
            Slot::F64(place) => *place = v,
            Slot::Time(place) => *place = seconds(v)?,
            other => return Err(mismatch("a number with a fraction", &other)),
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<(), E> {
        match self.slot()? {
            Slot::Str(place) => v.clone_into(place),
            Slot::F64(place) => {
                *place = match v {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => return Err(E::custom("a string where a number should be")),
                }
            }
            Slot::Time(place) => {
                *place = time::parse(v).ok_or_else(|| E::custom("the timestamp is not valid"))?
            }
            Slot::Blob(place) => {
                *place = STANDARD.decode(v).map_err(|_| E::custom("the base64 is not valid"))?
            }
            other => return Err(mismatch("a string", &other)),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        match self.slot()? {
            Slot::List(list) => {
                while seq.next_element_seed(Target::Item(list))?.is_some() {}
                Ok(())
            }
            other => Err(mismatch("a list", &other)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        match self.slot()? {
            Slot::Struct(shape) => Structure(shape).visit_map(entries),
            Slot::Map(map) => {
                while let Some(key) = entries.next_key::<String>()? {
                    entries.next_value_seed(Target::Entry(map, key))?;
                }
                Ok(())
            }
            other => Err(mismatch("an object", &other)),
        }
    }
}

fn seconds<E: Error>(v: f64) -> Result<EpochMillis, E> {
    time::from_seconds(v).ok_or_else(|| E::custom("the timestamp is out of range"))
}
