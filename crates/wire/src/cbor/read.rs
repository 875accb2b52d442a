//! CBOR → a shape, in one pass and without a value tree.

use std::borrow::Cow;

use super::{BREAK, FALSE, NULL, TAG_TIME, TRUE, UNDEFINED, major};
use crate::fault::Fault;
use crate::limits::{DEPTH_MAX, LIST_ITEMS_MAX};
use crate::time;
use crate::value::{ListSlot, MapSlot, Shape, Slot};

/// Fills `shape` from a request or an answer. Members that the shape does not have are skipped; nulls leave members absent.
pub fn decode(body: &[u8], shape: &mut dyn Shape) -> Result<(), Fault> {
    // An operation without input may come without a body.
    if body.is_empty() {
        return Ok(());
    }
    let mut reader = Reader { bytes: body, at: 0 };
    reader.structure(shape, 0)?;
    if reader.at < body.len() { Err(reader.wrong("something follows the request")) } else { Ok(()) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The start of an item.
struct Head {
    major: u8,
    /// The length or the value; none if an end mark will come.
    argument: Option<u64>,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &str) -> Fault {
        Fault::sender(
            "MalformedInput",
            format!("The request is not the CBOR expected: {what} (byte {}).", self.at),
        )
    }

    fn peek(&self) -> Result<u8, Fault> {
        self.bytes.get(self.at).copied().ok_or_else(|| self.wrong("it ends early"))
    }

    fn take(&mut self, n: u64) -> Result<&'a [u8], Fault> {
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        let taken = self.bytes[self.at..].get(..n).ok_or_else(|| self.wrong("it ends early"))?;
        self.at += n;
        Ok(taken)
    }

    fn head(&mut self) -> Result<Head, Fault> {
        let first = self.peek()?;
        let (major, info) = (first >> 5, first & 31);
        self.at += 1;
        let n_bytes = match info {
            0..24 => return Ok(Head { major, argument: Some(u64::from(info)) }),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            31 if matches!(major, major::BYTES | major::TEXT | major::ARRAY | major::MAP) => {
                return Ok(Head { major, argument: None });
            }
            _ => return Err(self.wrong("an item of no known kind")),
        };
        let argument = self.take(n_bytes)?.iter().fold(0, |sum, b| sum << 8 | u64::from(*b));
        Ok(Head { major, argument: Some(argument) })
    }

    /// The head of an item that must be of one kind; gives its length.
    fn expect(&mut self, major: u8, what: &str) -> Result<Option<u64>, Fault> {
        let head = self.head()?;
        if head.major == major {
            Ok(head.argument)
        } else {
            Err(self.wrong(&format!("{what} should be here")))
        }
    }

    /// Whether another item of a list or map follows.
    fn another(&mut self, left: &mut Option<u64>) -> Result<bool, Fault> {
        match left {
            Some(0) => Ok(false),
            Some(n) => {
                *n -= 1;
                Ok(true)
            }
            None if self.peek()? == BREAK => {
                self.at += 1;
                Ok(false)
            }
            None => Ok(true),
        }
    }

    fn is_null(&mut self) -> Result<bool, Fault> {
        let null = matches!(self.peek()?, NULL | UNDEFINED);
        self.at += usize::from(null);
        Ok(null)
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Fault> {
        let utf8 = |bytes| std::str::from_utf8(bytes).ok();
        let text = match self.string(major::TEXT, "a string")? {
            Cow::Borrowed(bytes) => utf8(bytes).map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        };
        text.ok_or_else(|| self.wrong("a string is not UTF-8"))
    }

    /// A text's or blob's bytes, which may come in pieces.
    fn string(&mut self, major: u8, what: &str) -> Result<Cow<'a, [u8]>, Fault> {
        if let Some(n) = self.expect(major, what)? {
            return self.take(n).map(Cow::Borrowed);
        }
        let mut whole = Vec::new();
        while self.another(&mut None)? {
            let n = self.expect(major, what)?.ok_or_else(|| self.wrong("pieces within pieces"))?;
            whole.extend_from_slice(self.take(n)?);
        }
        Ok(Cow::Owned(whole))
    }

    fn integer(&mut self) -> Result<i64, Fault> {
        let head = self.head()?;
        let value = head.argument.and_then(|n| i64::try_from(n).ok());
        match (head.major, value) {
            (major::UNSIGNED, Some(n)) => Ok(n),
            // −1 − n, which cannot overflow.
            (major::NEGATIVE, Some(n)) => Ok(!n),
            _ => Err(self.wrong("an integer should be here")),
        }
    }

    fn number(&mut self) -> Result<f64, Fault> {
        match self.peek()? {
            0xf9 => {
                self.at += 1;
                self.take(2).map(|b| half(b.iter().fold(0, |sum, b| sum << 8 | u16::from(*b))))
            }
            0xfa => {
                self.at += 1;
                self.take(4)
                    .map(|b| f64::from(f32::from_bits(b.iter().fold(0, |sum, b| sum << 8 | u32::from(*b)))))
            }
            super::DOUBLE => {
                self.at += 1;
                self.take(8).map(|b| f64::from_bits(b.iter().fold(0, |sum, b| sum << 8 | u64::from(*b))))
            }
            _ => self.integer().map(|n| n as f64),
        }
    }

    fn structure(&mut self, shape: &mut dyn Shape, depth: usize) -> Result<(), Fault> {
        let members = shape.schema().members();
        let mut left = self.expect(major::MAP, "a structure")?;
        while self.another(&mut left)? {
            let name = self.text()?;
            let member = members.iter().position(|m| m.name == name);
            if self.is_null()? {
                continue;
            }
            match member.and_then(|i| shape.slot(i)) {
                Some(slot) => self.value(slot, depth + 1)?,
                None => self.skip(depth + 1)?,
            }
        }
        Ok(())
    }

    fn value(&mut self, slot: Slot<'_>, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("it nests too deeply"));
        }
        match slot {
            Slot::Str(place) => *place = self.text()?.into_owned(),
            Slot::Bool(place) => {
                *place = match self.peek()? {
                    TRUE => true,
                    FALSE => false,
                    _ => return Err(self.wrong("a boolean should be here")),
                };
                self.at += 1;
            }
            Slot::I32(place) => {
                let n = self.integer()?;
                *place = i32::try_from(n).map_err(|_| self.wrong("an integer has more than 32 bits"))?;
            }
            Slot::I64(place) => *place = self.integer()?,
            Slot::F64(place) => *place = self.number()?,
            Slot::Time(place) => {
                if self.expect(major::TAG, "a time")? != Some(TAG_TIME) {
                    return Err(self.wrong("a time in seconds should be here"));
                }
                let seconds = self.number()?;
                *place = time::from_seconds(seconds).ok_or_else(|| self.wrong("a time is out of range"))?;
            }
            Slot::Blob(place) => *place = self.string(major::BYTES, "bytes")?.into_owned(),
            Slot::Struct(shape) => self.structure(shape, depth)?,
            Slot::List(list) => self.list(list, depth)?,
            Slot::Map(map) => self.map(map, depth)?,
        }
        Ok(())
    }

    fn list(&mut self, list: &mut dyn ListSlot, depth: usize) -> Result<(), Fault> {
        let mut left = self.expect(major::ARRAY, "a list")?;
        while self.another(&mut left)? {
            if list.len() >= LIST_ITEMS_MAX {
                return Err(self.wrong("a list is too long"));
            }
            if !self.is_null()? {
                self.value(list.push(), depth + 1)?;
            }
        }
        Ok(())
    }

    fn map(&mut self, map: &mut dyn MapSlot, depth: usize) -> Result<(), Fault> {
        let mut left = self.expect(major::MAP, "a map")?;
        while self.another(&mut left)? {
            if map.len() >= LIST_ITEMS_MAX {
                return Err(self.wrong("a map is too long"));
            }
            let key = self.text()?.into_owned();
            if !self.is_null()? {
                self.value(map.entry(key), depth + 1)?;
            }
        }
        Ok(())
    }

    fn skip(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("it nests too deeply"));
        }
        let start = self.at;
        let head = self.head()?;
        match head.major {
            major::BYTES | major::TEXT => {
                self.at = start;
                self.string(head.major, "a string")?;
            }
            major::ARRAY | major::MAP => {
                let mut left = head.argument;
                while self.another(&mut left)? {
                    self.skip(depth + 1)?;
                    if head.major == major::MAP {
                        self.skip(depth + 1)?;
                    }
                }
            }
            major::TAG => self.skip(depth + 1)?,
            // Numbers and simple values are all head.
            _ => {}
        }
        Ok(())
    }
}

/// A float of 16 bits, in which some clients send round numbers.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * (-24_f64).exp2(),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (fraction + 1024.0) * f64::from(exponent - 25).exp2(),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}
