//! HTTP/1.1 as bytes: parsing heads, following bodies, writing heads. No I/O here.
//!
//! A head is parsed in place and written anew, field by field: what a target reads was always made by us, so a
//! request that two parsers could read differently never gets through in its doubtful form.

pub(crate) mod body;
pub(crate) mod forwarded;
pub(crate) mod own_response;
pub(crate) mod request;
pub(crate) mod response;

/// Longest request line or header line, in bytes (AWS: 16 K).
pub(crate) const LINE_BYTES_MAX: usize = 16 << 10;
/// Longest request head, in bytes (AWS: 64 K).
pub(crate) const REQUEST_HEAD_BYTES_MAX: usize = 64 << 10;
/// Longest response head, in bytes (AWS: 32 K).
pub(crate) const RESPONSE_HEAD_BYTES_MAX: usize = 32 << 10;
/// Most header lines of a head, which bounds the parser's table.
pub(crate) const HEADER_LINES_MAX: usize = 128;
/// Most addresses in `X-Forwarded-For`; more are answered by 463 (AWS: 30).
pub(crate) const FORWARDED_FOR_MAX: usize = 30;

/// Length of the head in `bytes`, if its empty line is there. Only bytes from `scanned` on are new.
pub(crate) fn head_end(bytes: &[u8], scanned: usize) -> bool {
    let from = scanned.saturating_sub(3);
    let mut at = from;
    while let Some(next) = bytes[at..].iter().position(|&b| b == b'\n') {
        at += next + 1;
        if let Some([b'\n', ..] | [b'\r', b'\n', ..]) = bytes.get(at..) {
            return true;
        }
    }
    false
}

/// The tokens of a comma-separated field value, trimmed, empty ones left out.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|t| !t.is_empty())
}

/// Appends `name: value` and the line's end.
pub(crate) fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Parses a `Content-Length`: digits only, as anything else is a way to disagree about the body's end.
pub(crate) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_of_a_head_across_reads() {
        for head in [&b"GET / HTTP/1.1\r\na: b\r\n\r\n"[..], b"x\n\n"] {
            for split in 0..head.len() {
                assert!(!head_end(&head[..split], 0), "{split}");
                assert!(head_end(head, split), "{split}");
            }
        }
    }

    #[test]
    fn lengths() {
        assert_eq!(parse_length(b"0"), Some(0));
        assert_eq!(parse_length(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        for bad in [&b""[..], b"+1", b"-1", b"1 ", b"0x1", b"1,1", b"99999999999999999999"] {
            assert_eq!(parse_length(bad), None);
        }
        assert_eq!(tokens(b" a,, b ,").collect::<Vec<_>>(), [b"a", b"b"]);
    }
}
