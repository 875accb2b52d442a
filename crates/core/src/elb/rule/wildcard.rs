//! AWS's wildcards: `*` stands for any number of characters, `?` for exactly one.

/// Whether letters that differ only in case are equal (ASCII).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// They differ.
    Sensitive,
    /// They are equal.
    Insensitive,
}

/// Whether a backslash takes a wildcard's meaning away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// A backslash is a character like others.
    None,
    /// `\*`, `\?` and `\\` are literal.
    Backslash,
}

#[derive(Clone, Copy)]
enum Token {
    Star,
    One,
    Literal(u8),
}

/// Whether the whole of `text` matches `pattern`.
///
/// Only the last `*` is ever reconsidered, so the time is at most pattern × text and hostile patterns cannot blow
/// it up.
pub fn wildcard_match(pattern: &[u8], text: &[u8], case: Case, escape: Escape) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = token(pattern, p, escape);
        match step {
            Some((Token::Star, next)) => {
                retry = Some((next, t));
                p = next;
                continue;
            }
            Some((Token::One, next)) => {
                p = next;
                t += 1;
                continue;
            }
            Some((Token::Literal(l), next)) if equal(l, text[t], case) => {
                p = next;
                t += 1;
                continue;
            }
            _ => {}
        }
        let Some((after_star, from)) = retry else { return false };
        retry = Some((after_star, from + 1));
        p = after_star;
        t = from + 1;
    }
    while let Some((Token::Star, next)) = token(pattern, p, escape) {
        p = next;
    }
    p == pattern.len()
}

fn token(pattern: &[u8], at: usize, escape: Escape) -> Option<(Token, usize)> {
    let byte = *pattern.get(at)?;
    Some(match byte {
        b'*' => (Token::Star, at + 1),
        b'?' => (Token::One, at + 1),
        b'\\' if escape == Escape::Backslash => match pattern.get(at + 1) {
            Some(&next @ (b'*' | b'?' | b'\\')) => (Token::Literal(next), at + 2),
            _ => (Token::Literal(byte), at + 1),
        },
        _ => (Token::Literal(byte), at + 1),
    })
}

fn equal(a: u8, b: u8, case: Case) -> bool {
    match case {
        Case::Sensitive => a == b,
        Case::Insensitive => a.eq_ignore_ascii_case(&b),
    }
}
