use std::borrow::Cow;
use std::cmp::Ordering;

use crate::fault::Fault;
use crate::limits::PARAMS_MAX;

/// Members of a structure up to which their order is looked at; beyond, the parameters are sorted. No structure has so many.
const SIBLINGS_MAX: usize = 128;

/// The parameters of a request, from the body or the query string, so that what belongs together stands together, each list's items in
/// order: `A.2` before `A.10`.
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
        if !is_in_order(&self.pairs) {
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

/// Whether the names stand as clients write them, which spares sorting thousands: what belongs together side by side, the items
/// of each list in rising order, and nothing after what lies within it. The order of a structure's members does not matter.
fn is_in_order(pairs: &[(Cow<'_, str>, Cow<'_, str>)]) -> bool {
    // For each depth, the parts that came before under the same parent.
    let mut left_behind: Vec<Vec<&str>> = Vec::new();
    for (a, b) in pairs.iter().zip(pairs.iter().skip(1)) {
        let (a, b) = (a.0.as_ref(), b.0.as_ref());
        let fork = Fork::of(a, b);
        let (x, y) = fork.parts(a, b);
        if x == y {
            // The same name again, or one that lies within the one before.
            if a.len() > b.len() {
                return false;
            }
            continue;
        }
        left_behind.resize(fork.depth + 1, Vec::new());
        let behind = &mut left_behind[fork.depth];
        match (number(x), number(y)) {
            (Some(m), Some(n)) if m < n => {}
            (None, None) if behind.len() < SIBLINGS_MAX && !behind.contains(&y) => behind.push(x),
            _ => return false,
        }
    }
    true
}

/// Where two names begin to differ.
struct Fork {
    /// Where the part begins in which they do, in both of them.
    start: usize,
    /// Parts before it.
    depth: usize,
}

impl Fork {
    fn of(a: &str, b: &str) -> Fork {
        let mut fork = Fork { start: 0, depth: 0 };
        for (i, (x, y)) in a.bytes().zip(b.bytes()).enumerate() {
            if x != y {
                break;
            }
            if x == b'.' {
                fork = Fork { start: i + 1, depth: fork.depth + 1 };
            }
        }
        fork
    }

    fn parts<'t>(&self, a: &'t str, b: &'t str) -> (&'t str, &'t str) {
        (part(a, self.start), part(b, self.start))
    }
}

/// The part of a name that begins at `at`. A cut inside a character cannot happen, since `at` follows a dot.
pub(super) fn part(name: &str, at: usize) -> &str {
    let rest = name.get(at..).unwrap_or_default();
    // Parts are too short for a search by words to pay.
    let end = rest.bytes().position(|b| b == b'.').unwrap_or(rest.len());
    &rest[..end]
}

fn number(part: &str) -> Option<u32> {
    // A name is not worth the attempt.
    part.bytes().next().filter(|b| !b.is_ascii_alphabetic())?;
    part.parse().ok()
}

/// Compares dotted names part by part, numbers by value.
fn natural(a: &str, b: &str) -> Ordering {
    let (x, y) = Fork::of(a, b).parts(a, b);
    match (number(x), number(y)) {
        _ if x == y => a.len().cmp(&b.len()),
        (Some(m), Some(n)) => m.cmp(&n).then_with(|| x.cmp(y)),
        // Numbers before names, or there would be circles: 2 < 10 < 1a < 2.
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => x.cmp(y),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(names: &[&str]) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
        names.iter().map(|n| (Cow::Owned((*n).to_owned()), Cow::Borrowed(""))).collect()
    }

    #[test]
    fn the_order_of_clients_is_known() {
        let table: &[(&[&str], bool)] = &[
            (
                &[
                    "Version",
                    "Action",
                    "D.member.1.Value",
                    "D.member.1.Name",
                    "D.member.2.Value",
                    "D.member.10.Name",
                ],
                true,
            ),
            (&["A", "A", "A.1", "A.1.x", "B"], true),
            (&["D.member.2.N", "D.member.1.N"], false),
            (&["D.member.1.N", "E", "D.member.1.V"], false),
            (&["D.1.N", "D.1.V", "D.1.N"], false),
            (&["D.1.N.1", "D.1.V", "D.2.N.1", "D.2.V"], true),
            (&["A.1", "A"], false),
            (&["A.x", "A.1"], false),
            (&["A.1", "A.01"], false),
            (&["", ".", "..x"], true),
        ];
        for (names, want) in table {
            assert_eq!(is_in_order(&params(names)), *want, "{names:?}");
        }
    }

    #[test]
    fn names_compare_by_their_parts() {
        let sorted = [
            "A",
            "A.1",
            "A.2",
            "A.2.x",
            "A.10",
            "A.1a",
            "A.a",
            "A.b.1",
            "A-",
            "AB",
            "B",
            "B.4294967296",
            "B.9x",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(natural(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    proptest! {
        /// What is taken to be in order has everything side by side that sorting would put there.
        #[test]
        fn order_means_side_by_side(names in proptest::collection::vec("[AB](\\.[1-3a]){0,2}", 0..8)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut sorted = names.clone();
            sorted.sort_by(|a, b| natural(a, b));
            prop_assert!(sorted.is_sorted_by(|a, b| natural(a, b) != Ordering::Greater));
            if is_in_order(&params(&names)) {
                for at in [1, 3, 5] {
                    let runs = |names: &[&str]| {
                        let mut starts: Vec<String> = names.iter().filter_map(|n| n.get(..at)).map(str::to_owned).collect();
                        starts.dedup();
                        starts.sort();
                        starts
                    };
                    prop_assert_eq!(runs(&names), runs(&sorted), "{:?}", names);
                }
            }
        }
    }
}
