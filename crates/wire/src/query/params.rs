use std::borrow::Cow;
use std::cmp::Ordering;

use crate::fault::Fault;
use crate::limits::PARAMS_MAX;

/// The parameters of a request, from the body or the query string, in natural order of their names: `A.2` before `A.10`, so
/// that each list's items stand together and in order.
#[derive(Debug, Default)]
pub struct Params<'a> {
    pub(super) pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Params<'a> {
    /// Splits and decodes `application/x-www-form-urlencoded` text.
    pub fn parse(text: &'a [u8]) -> Result<Params<'a>, Fault> {
        let mut params = Params::default();
        params.add(text)?;
        Ok(params)
    }

    /// Adds more text, such as a query string besides a body.
    pub fn add(&mut self, text: &'a [u8]) -> Result<(), Fault> {
        if text.is_empty() {
            return Ok(());
        }
        let n_pairs = 1 + text.iter().filter(|b| **b == b'&').count();
        if self.pairs.len() + n_pairs > PARAMS_MAX {
            return Err(malformed("The request has too many parameters."));
        }
        self.pairs.reserve(n_pairs);
        for pair in text.split(|b| *b == b'&').filter(|p| !p.is_empty()) {
            let (name, value) = match pair.iter().position(|b| *b == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            self.pairs.push((unescape(name)?, unescape(value)?));
        }
        if !self.pairs.is_sorted_by(|a, b| natural(&a.0, &b.0) != Ordering::Greater) {
            self.pairs.sort_by(|a, b| natural(&a.0, &b.0));
        }
        Ok(())
    }

    /// Names and values, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The value of a parameter; the last, if it is given several times.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_ref())
    }
}

fn malformed(message: &str) -> Fault {
    Fault::sender("MalformedQueryString", message)
}

fn unescape(text: &[u8]) -> Result<Cow<'_, str>, Fault> {
    let utf8 = |_| malformed("The request is not valid UTF-8.");
    if !text.iter().any(|b| matches!(b, b'%' | b'+')) {
        return std::str::from_utf8(text).map(Cow::Borrowed).map_err(|e| utf8(e.to_string()));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&b) = rest.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let mut digit = || rest.next().and_then(|d| (*d as char).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(malformed("The request has a percent sign without two hexadecimal digits."));
                };
                out.push((high * 16 + low) as u8);
            }
            b => out.push(b),
        }
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|e| utf8(e.to_string()))
}

/// Compares dotted names part by part, numbers by value.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a_parts, mut b_parts) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a_parts.next(), b_parts.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) if x == y => continue,
            (Some(x), Some(y)) => match (x.parse::<u32>(), y.parse::<u32>()) {
                (Ok(m), Ok(n)) => m.cmp(&n).then_with(|| x.cmp(y)),
                _ => x.cmp(y),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}
