//! The canonical request, hashed as it is written.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use sha2::{Digest, Sha256};

use crate::head::RequestHead;

/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, for paths.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (i, b) in bytes.iter().enumerate() {
        text[2 * i] = DIGITS[usize::from(b >> 4)];
        text[2 * i + 1] = DIGITS[usize::from(b & 15)];
    }
    text
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Hash of the canonical request. `None` if a signed header is absent.
pub(super) fn hash(head: &RequestHead<'_>, signed_headers: &str, body: &[u8]) -> Option<[u8; 32]> {
    let mut canonical = Sha256::new();
    canonical.update(head.method);
    canonical.update(b"\n");
    canonical.update(path(head.path).as_bytes());
    canonical.update(b"\n");
    if !head.query.is_empty() {
        canonical.update(query(head.query));
    }
    canonical.update(b"\n");
    for name in signed_headers.split(';') {
        canonical.update(name);
        canonical.update(b":");
        let mut values = head.headers.get_all(name).iter();
        header(&mut canonical, values.next()?.as_bytes());
        for value in values {
            canonical.update(b",");
            header(&mut canonical, value.as_bytes());
        }
        canonical.update(b"\n");
    }
    canonical.update(b"\n");
    canonical.update(signed_headers);
    canonical.update(b"\n");
    canonical.update(hex(&sha256(body)));
    Some(canonical.finalize().into())
}

/// Services other than S3 escape the path once more, after resolving dots and doubled slashes.
fn path(path: &str) -> Cow<'_, str> {
    if path.is_empty() || path == "/" {
        return Cow::Borrowed("/");
    }
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let slash = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    let normal = format!("/{}{slash}", kept.join("/"));
    Cow::Owned(percent_encode(normal.as_bytes(), RESERVED_IN_PATH).to_string())
}

/// Sorted, each name and value escaped in the one canonical way, and without the signature itself.
fn query(query: &str) -> String {
    let normal = |text: &str| -> String {
        let spaced = text.replace('+', " ");
        let plain: Vec<u8> = percent_decode(spaced.as_bytes()).collect();
        percent_encode(&plain, RESERVED).to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|p| p.split_once('=').unwrap_or((p, "")))
        .map(|(name, value)| (normal(name), normal(value)))
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect();
    pairs.sort_unstable();
    let joined: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    joined.join("&")
}

/// Trims the value and folds its runs of spaces.
fn header(canonical: &mut Sha256, value: &[u8]) {
    let value = value.trim_ascii();
    if !value.windows(2).any(|w| w == b"  ") {
        canonical.update(value);
        return;
    }
    let mut folded = Vec::with_capacity(value.len());
    for &b in value {
        if b != b' ' || folded.last() != Some(&b' ') {
            folded.push(b);
        }
    }
    canonical.update(folded);
}
