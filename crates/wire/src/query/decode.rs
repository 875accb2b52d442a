//! Parameters → a shape, by descent: the parameters of one structure, list or item are a slice, since they stand side by side.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Params;
use super::params::part;
use crate::fault::Fault;
use crate::limits::{DEPTH_MAX, LIST_ITEMS_MAX};
use crate::schema::{Kind, Protocol, Schema};
use crate::time;
use crate::value::{ListSlot, MapSlot, Shape, Slot};

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Fills `shape` from the parameters. Parameters that no member has are an error in EC2 and ignored elsewhere, as on AWS.
pub fn decode(protocol: Protocol, params: &Params<'_>, shape: &mut dyn Shape) -> Result<(), Fault> {
    Decoder { ec2: protocol == Protocol::Ec2 }.structure(shape, &params.pairs, 0, 0)
}

struct Decoder {
    ec2: bool,
}

impl Decoder {
    /// `at` is where, in each name, the part that names a member begins.
    fn structure(
        &self,
        shape: &mut dyn Shape,
        pairs: &[Pair<'_>],
        at: usize,
        depth: usize,
    ) -> Result<(), Fault> {
        let members = shape.schema().members();
        for group in groups(pairs, at) {
            let name = part(&group[0].0, at);
            match members.iter().position(|m| m.query == name) {
                Some(index) => {
                    let member = &members[index];
                    if let Some(slot) = shape.slot(index) {
                        self.value(slot, member.schema, member.flattened, group, at + name.len(), depth + 1)?;
                    }
                }
                None if self.ec2 && !(at == 0 && is_protocol_parameter(name)) => {
                    let message = format!("The parameter {} is not recognized", group[0].0);
                    return Err(Fault::sender("UnknownParameter", message));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// `at` is where, in each name, the value's own name ends: there the text ends, or a dot follows.
    fn value(
        &self,
        slot: Slot<'_>,
        schema: &'static Schema,
        flat: bool,
        pairs: &[Pair<'_>],
        at: usize,
        depth: usize,
    ) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::sender("MalformedInput", "The request nests too deeply."));
        }
        // Shorter names sort first: what stands before `inner` is the value itself, given once or more.
        let inner = pairs.iter().position(|(n, _)| n.len() > at).unwrap_or(pairs.len());
        let own = pairs[..inner].last();
        let inside = &pairs[inner..];
        match slot {
            Slot::Struct(shape) => {
                self.nothing_here(own)?;
                self.structure(shape, inside, at + 1, depth)
            }
            Slot::List(list) => {
                self.nothing_here(own)?;
                let Kind::List(item, element) = schema.kind else { return Ok(()) };
                let (inside, at) = self.items(inside, at, flat, element);
                self.list(list, item, inside, at, depth)
            }
            Slot::Map(map) => {
                self.nothing_here(own)?;
                let Kind::Map(_, value) = schema.kind else { return Ok(()) };
                let (inside, at) = self.items(inside, at, flat, "entry");
                self.map(map, value, inside, at, depth)
            }
            scalar => match own {
                Some((name, text)) if inside.is_empty() => self.scalar(scalar, schema, name, text),
                _ => Err(self.unexpected(&pairs[0].0)),
            },
        }
    }

    /// Goes past `member` (or `entry`) where the protocol has it.
    fn items<'p, 'a>(
        &self,
        inside: &'p [Pair<'a>],
        at: usize,
        flat: bool,
        element: &str,
    ) -> (&'p [Pair<'a>], usize) {
        if flat || self.ec2 {
            return (inside, at + 1);
        }
        let named = groups(inside, at + 1).find(|g| part(&g[0].0, at + 1) == element);
        // Just `Tags.member=x`, without a number, has no further part.
        let named = named.unwrap_or_default();
        let after = at + 1 + element.len();
        let bare = named.iter().position(|(n, _)| n.len() > after).unwrap_or(named.len());
        (&named[bare..], after + 1)
    }

    fn list(
        &self,
        list: &mut dyn ListSlot,
        item: &'static Schema,
        pairs: &[Pair<'_>],
        at: usize,
        depth: usize,
    ) -> Result<(), Fault> {
        for group in groups(pairs, at) {
            let number = part(&group[0].0, at);
            if number.parse::<u32>().is_err() {
                return Err(self.unexpected(&group[0].0));
            }
            if list.len() >= LIST_ITEMS_MAX {
                return Err(Fault::sender("MalformedInput", "The request has a list that is too long."));
            }
            self.value(list.push(), item, false, group, at + number.len(), depth + 1)?;
        }
        Ok(())
    }

    fn map(
        &self,
        map: &mut dyn MapSlot,
        value: &'static Schema,
        pairs: &[Pair<'_>],
        at: usize,
        depth: usize,
    ) -> Result<(), Fault> {
        for group in groups(pairs, at) {
            let inside = at + part(&group[0].0, at).len() + 1;
            let named = |name: &str| groups(group, inside).find(|g| part(&g[0].0, inside) == name);
            let (Some(key), Some(found)) = (named("key"), named("value")) else {
                return Err(self.unexpected(&group[0].0));
            };
            if map.len() >= LIST_ITEMS_MAX {
                return Err(Fault::sender("MalformedInput", "The request has a map that is too long."));
            }
            let slot = map.entry(key[0].1.clone().into_owned());
            self.value(slot, value, false, found, inside + "value".len(), depth + 1)?;
        }
        Ok(())
    }

    fn scalar(&self, slot: Slot<'_>, schema: &Schema, name: &str, text: &str) -> Result<(), Fault> {
        let expected = match slot {
            Slot::Str(place) => {
                place.push_str(text);
                return Ok(());
            }
            // Old Python clients send `True`.
            Slot::Bool(place) if text.eq_ignore_ascii_case("true") => return put(place, true),
            Slot::Bool(place) if text.eq_ignore_ascii_case("false") => return put(place, false),
            Slot::Bool(_) => "a boolean",
            Slot::I32(place) => match text.parse() {
                Ok(value) => return put(place, value),
                Err(_) => "an integer",
            },
            Slot::I64(place) => match text.parse() {
                Ok(value) => return put(place, value),
                Err(_) => "an integer",
            },
            Slot::F64(place) => match text.parse() {
                Ok(value) => return put(place, value),
                Err(_) => "a number",
            },
            Slot::Time(place) => match time::parse(text) {
                Some(value) => return put(place, value),
                None => "a time",
            },
            Slot::Blob(place) => match STANDARD.decode(text) {
                Ok(value) => return put(place, value),
                Err(_) => "base64",
            },
            Slot::Struct(_) | Slot::List(_) | Slot::Map(_) => return Err(self.unexpected(name)),
        };
        let shown = if schema.sensitive { "…" } else { text };
        Err(match self.ec2 {
            true => Fault::sender(
                "InvalidParameterValue",
                format!("Value ({shown}) for parameter {name} is invalid. The parameter must be {expected}."),
            ),
            false => Fault::sender("MalformedInput", format!("Value '{shown}' of {name} is not {expected}.")),
        })
    }

    /// A structure, list or map has no text of its own; `Names=` is how clients write an empty list.
    fn nothing_here(&self, own: Option<&Pair<'_>>) -> Result<(), Fault> {
        match own {
            Some((name, text)) if !text.is_empty() => Err(self.unexpected(name)),
            _ => Ok(()),
        }
    }

    fn unexpected(&self, name: &str) -> Fault {
        match self.ec2 {
            true => Fault::sender(
                "InvalidParameter",
                format!("The parameter {name} is not of the expected form."),
            ),
            false => {
                Fault::sender("MalformedInput", format!("The parameter {name} is not of the expected form."))
            }
        }
    }
}

fn put<T>(place: &mut T, value: T) -> Result<(), Fault> {
    *place = value;
    Ok(())
}

/// Neighbours whose names agree in the part at `at`.
fn groups<'p, 'a>(mut pairs: &'p [Pair<'a>], at: usize) -> impl Iterator<Item = &'p [Pair<'a>]> {
    std::iter::from_fn(move || {
        let name = part(&pairs.first()?.0, at).as_bytes();
        let is_other = |(other, _): &Pair<'_>| {
            let rest = other.as_bytes().get(at..).and_then(|rest| rest.strip_prefix(name));
            !matches!(rest, Some([] | [b'.', ..]))
        };
        let n = pairs.iter().skip(1).position(is_other).map_or(pairs.len(), |n| n + 1);
        let (group, others) = pairs.split_at(n);
        pairs = others;
        Some(group)
    })
}

/// Parameters of the protocol itself, and of signatures in the query string.
fn is_protocol_parameter(name: &str) -> bool {
    matches!(
        name,
        "Action"
            | "Version"
            | "AWSAccessKeyId"
            | "SignatureVersion"
            | "SignatureMethod"
            | "Signature"
            | "Timestamp"
            | "Expires"
            | "SecurityToken"
    ) || name.starts_with("X-Amz-")
}
