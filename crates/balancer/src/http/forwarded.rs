//! What a target learns about the client: `X-Forwarded-*` and `X-Amzn-Trace-Id`.

use std::net::SocketAddrV4;

use rand::{Rng, RngExt};

use puffer_core::Timestamp;

use super::{FORWARDED_FOR_MAX, push_line, tokens};
use crate::config::XffMode;

/// More addresses in `X-Forwarded-For` than are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyAddresses;

/// Appends `X-Forwarded-For`, given the lines of it that the client sent.
pub(crate) fn push_forwarded_for<'a>(
    out: &mut Vec<u8>,
    lines: impl Iterator<Item = &'a [u8]> + Clone,
    mode: XffMode,
    peer: SocketAddrV4,
    with_port: bool,
) -> Result<(), TooManyAddresses> {
    const NAME: &[u8] = b"X-Forwarded-For";
    if lines.clone().flat_map(tokens).count() > FORWARDED_FOR_MAX {
        return Err(TooManyAddresses);
    }
    match mode {
        XffMode::Remove => {}
        XffMode::Preserve => lines.for_each(|line| push_line(out, NAME, line)),
        XffMode::Append => {
            out.extend_from_slice(NAME);
            out.extend_from_slice(b": ");
            for line in lines.filter(|l| !l.is_empty()) {
                out.extend_from_slice(line);
                out.extend_from_slice(b", ");
            }
            push_address(out, peer, with_port);
            out.extend_from_slice(b"\r\n");
        }
    }
    Ok(())
}

fn push_address(out: &mut Vec<u8>, peer: SocketAddrV4, with_port: bool) {
    let mut digits = itoa::Buffer::new();
    for (i, octet) in peer.ip().octets().into_iter().enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(digits.format(octet).as_bytes());
    }
    if with_port {
        out.push(b':');
        out.extend_from_slice(digits.format(peer.port()).as_bytes());
    }
}

/// Appends `X-Amzn-Trace-Id`. Without a root, this request becomes the root; with one, we add ourselves in front of
/// what came, in place of a load balancer that did so before us.
pub(crate) fn push_trace_id(out: &mut Vec<u8>, given: Option<&[u8]>, now: Timestamp, rng: &mut impl Rng) {
    out.extend_from_slice(b"X-Amzn-Trace-Id: ");
    let fields = || given.unwrap_or_default().split(|&b| b == b';').map(<[u8]>::trim_ascii);
    let called = |field: &[u8], name: &[u8]| {
        field.len() > name.len() && field[..name.len()].eq_ignore_ascii_case(name)
    };
    let has_root = fields().any(|f| called(f, b"Root="));
    out.extend_from_slice(if has_root { b"Self=1-" } else { b"Root=1-" });
    push_hex(out, u64::try_from(now.as_secs()).unwrap_or(0), 8);
    out.push(b'-');
    push_hex(out, rng.random(), 16);
    push_hex(out, rng.random(), 8);
    for field in fields().filter(|f| !f.is_empty() && !called(f, b"Self=")) {
        out.push(b';');
        out.extend_from_slice(field);
    }
    out.extend_from_slice(b"\r\n");
}

fn push_hex(out: &mut Vec<u8>, value: u64, n_digits: u32) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend((0..n_digits).rev().map(|i| DIGITS[(value >> (4 * i) & 0xf) as usize]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn xff(lines: &[&str], mode: XffMode, port: bool) -> Result<String, TooManyAddresses> {
        let mut out = Vec::new();
        let peer = SocketAddrV4::new([10, 0, 0, 200].into(), 5555);
        push_forwarded_for(&mut out, lines.iter().map(|l| l.as_bytes()), mode, peer, port)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn forwarded_for() {
        let append = XffMode::Append;
        assert_eq!(xff(&[], append, false).unwrap(), "X-Forwarded-For: 10.0.0.200\r\n");
        assert_eq!(xff(&[], append, true).unwrap(), "X-Forwarded-For: 10.0.0.200:5555\r\n");
        assert_eq!(
            xff(&["1.1.1.1", "2.2.2.2, 3.3.3.3"], append, false).unwrap(),
            "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.200\r\n"
        );
        assert_eq!(
            xff(&["a", "b"], XffMode::Preserve, true).unwrap(),
            "X-Forwarded-For: a\r\nX-Forwarded-For: b\r\n"
        );
        assert_eq!(xff(&["a"], XffMode::Remove, true).unwrap(), "");
        let many = vec!["1.1.1.1"; 30].join(",");
        assert!(xff(&[&many], append, false).is_ok());
        assert_eq!(xff(&[&many, "2.2.2.2"], append, false), Err(TooManyAddresses));
    }

    #[test]
    fn trace_ids() {
        let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(1);
        let mut trace = |given: Option<&str>| {
            let mut out = Vec::new();
            push_trace_id(&mut out, given.map(str::as_bytes), Timestamp::from_secs(0x5f2e_1a00), &mut rng);
            String::from_utf8(out).unwrap().trim_end().to_owned()
        };
        let shape = |field: &str, tag: &str| {
            let id = field.strip_prefix(tag).unwrap();
            let parts: Vec<_> = id.split('-').collect();
            assert_eq!((parts[0], parts[1], parts[2].len()), ("1", "5f2e1a00", 24), "{field}");
        };
        shape(&trace(None), "X-Amzn-Trace-Id: Root=");
        let got = trace(Some("Root=1-67891233-abcdef012345678912345678"));
        let (first, rest) = got.split_once(';').unwrap();
        shape(first, "X-Amzn-Trace-Id: Self=");
        assert_eq!(rest, "Root=1-67891233-abcdef012345678912345678");
        let got = trace(Some("Self=1-1-2;Root=1-67891233-abcdef012345678912345678; CalledFrom=app"));
        assert!(
            got.ends_with(";Root=1-67891233-abcdef012345678912345678;CalledFrom=app")
                && !got.contains("1-1-2"),
            "{got}"
        );
        shape(
            trace(Some("CalledFrom=app")).strip_suffix(";CalledFrom=app").unwrap(),
            "X-Amzn-Trace-Id: Root=",
        );
    }
}
