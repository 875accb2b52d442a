//! XML answers → a shape. For our own client and for tests; what comes in is still bounded like any input.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quick_xml::Reader;
use quick_xml::events::Event;

use crate::fault::Fault;
use crate::limits::{DEPTH_MAX, LIST_ITEMS_MAX};
use crate::schema::{Kind, OperationSchema, Protocol, Schema};
use crate::time;
use crate::value::{Shape, Slot};

type Xml<'a> = Reader<&'a [u8]>;

/// Fills `output` from an answer of the operation.
pub fn decode(
    protocol: Protocol,
    operation: &OperationSchema,
    body: &[u8],
    output: &mut dyn Shape,
) -> Result<(), Fault> {
    let mut xml = open(body)?;
    root(&mut xml)?;
    if protocol == Protocol::Ec2 {
        return structure(&mut xml, output, 0);
    }
    while let Some(name) = child(&mut xml)? {
        if operation.result_wrapper == Some(name.as_str()) {
            structure(&mut xml, output, 0)?;
        } else {
            skip(&mut xml)?;
        }
    }
    Ok(())
}

/// The error in an XML answer of either query protocol; the status comes from HTTP.
pub fn decode_error(body: &[u8], status: u16) -> Result<Fault, Fault> {
    let mut fault = Fault { code: "".into(), status, message: String::new(), sender: status < 500 };
    let mut xml = open(body)?;
    root(&mut xml)?;
    error_in(&mut xml, &mut fault, 0)?;
    if fault.code.is_empty() {
        return Err(unreadable("no error code in the answer"));
    }
    Ok(fault)
}

fn error_in(xml: &mut Xml<'_>, fault: &mut Fault, depth: usize) -> Result<(), Fault> {
    while let Some(name) = child(xml)? {
        match name.as_str() {
            "Code" => fault.code = text(xml)?.into(),
            "Message" => fault.message = text(xml)?,
            "Type" => fault.sender = text(xml)? == "Sender",
            "Errors" | "Error" if depth < DEPTH_MAX => error_in(xml, fault, depth + 1)?,
            _ => skip(xml)?,
        }
    }
    Ok(())
}

fn unreadable(what: impl std::fmt::Display) -> Fault {
    Fault::receiver("UnreadableAnswer", format!("The answer is not the expected XML: {what}"))
}

fn open(body: &[u8]) -> Result<Xml<'_>, Fault> {
    let text = std::str::from_utf8(body).map_err(unreadable)?;
    let mut xml = Reader::from_reader(text.as_bytes());
    xml.config_mut().expand_empty_elements = true;
    Ok(xml)
}

/// Goes into the root element.
fn root(xml: &mut Xml<'_>) -> Result<(), Fault> {
    loop {
        match xml.read_event().map_err(unreadable)? {
            Event::Start(_) => return Ok(()),
            Event::Eof => return Err(unreadable("no root element")),
            _ => {}
        }
    }
}

/// Goes into the next child and says its name, or leaves the element.
fn child(xml: &mut Xml<'_>) -> Result<Option<String>, Fault> {
    loop {
        match xml.read_event().map_err(unreadable)? {
            Event::Start(start) => {
                let name = start.local_name();
                return Ok(Some(name.as_ref().to_owned()));
            }
            Event::End(_) => return Ok(None),
            Event::Eof => return Err(unreadable("it ends early")),
            _ => {}
        }
    }
}

fn skip(xml: &mut Xml<'_>) -> Result<(), Fault> {
    let mut depth = 0usize;
    loop {
        match xml.read_event().map_err(unreadable)? {
            Event::Start(_) => depth += 1,
            Event::End(_) if depth == 0 => return Ok(()),
            Event::End(_) => depth -= 1,
            Event::Eof => return Err(unreadable("it ends early")),
            _ => {}
        }
    }
}

/// The element's text, with entities resolved.
fn text(xml: &mut Xml<'_>) -> Result<String, Fault> {
    let mut out = String::new();
    loop {
        match xml.read_event().map_err(unreadable)? {
            Event::Text(t) => out.push_str(&t.xml10_content()),
            Event::CData(t) => out.push_str(&t.xml10_content()),
            Event::GeneralRef(r) => match r.resolve_char_ref().map_err(unreadable)? {
                Some(c) => out.push(c),
                None => {
                    let name = r.xml10_content();
                    let known = quick_xml::escape::resolve_predefined_entity(&name);
                    out.push_str(known.ok_or_else(|| unreadable(format_args!("unknown entity {name}")))?);
                }
            },
            Event::End(_) => return Ok(out),
            Event::Start(_) => return Err(unreadable("an element where text should be")),
            Event::Eof => return Err(unreadable("it ends early")),
            _ => {}
        }
    }
}

fn structure(xml: &mut Xml<'_>, shape: &mut dyn Shape, depth: usize) -> Result<(), Fault> {
    let members = shape.schema().members();
    while let Some(name) = child(xml)? {
        let Some(index) = members.iter().position(|m| m.xml == name) else {
            skip(xml)?;
            continue;
        };
        let member = &members[index];
        match (shape.slot(index), &member.schema.kind) {
            (Some(Slot::List(list)), Kind::List(item, _)) if member.flattened => {
                value(xml, list.push(), item, depth + 1)?;
            }
            (Some(slot), _) => value(xml, slot, member.schema, depth + 1)?,
            (None, _) => skip(xml)?,
        }
    }
    Ok(())
}

fn value(xml: &mut Xml<'_>, slot: Slot<'_>, schema: &'static Schema, depth: usize) -> Result<(), Fault> {
    if depth > DEPTH_MAX {
        return Err(unreadable("it nests too deeply"));
    }
    match slot {
        Slot::Struct(shape) => return structure(xml, shape, depth),
        Slot::List(list) => {
            let Kind::List(item, _) = schema.kind else { return skip(xml) };
            while child(xml)?.is_some() {
                if list.len() >= LIST_ITEMS_MAX {
                    return Err(unreadable("a list is too long"));
                }
                value(xml, list.push(), item, depth + 1)?;
            }
            return Ok(());
        }
        Slot::Map(map) => {
            let Kind::Map(_, item) = schema.kind else { return skip(xml) };
            while child(xml)?.is_some() {
                let mut key = String::new();
                while let Some(name) = child(xml)? {
                    match name.as_str() {
                        "key" => key = text(xml)?,
                        "value" => value(xml, map.entry(std::mem::take(&mut key)), item, depth + 1)?,
                        _ => skip(xml)?,
                    }
                }
            }
            return Ok(());
        }
        _ => {}
    }
    let text = text(xml)?;
    let wrong = || unreadable(format_args!("{text:?} as {}", schema.name));
    match slot {
        Slot::Str(place) => *place = text,
        Slot::Bool(place) => *place = text.parse().map_err(|_| wrong())?,
        Slot::I32(place) => *place = text.parse().map_err(|_| wrong())?,
        Slot::I64(place) => *place = text.parse().map_err(|_| wrong())?,
        Slot::F64(place) => *place = text.parse().map_err(|_| wrong())?,
        Slot::Time(place) => *place = time::parse(&text).ok_or_else(wrong)?,
        Slot::Blob(place) => *place = STANDARD.decode(&text).map_err(|_| wrong())?,
        Slot::Struct(_) | Slot::List(_) | Slot::Map(_) => {}
    }
    Ok(())
}
