//! Responses: read from a target and written anew for a client.

use httparse::{Header, Status};

use super::body::{Body, Chunked};
use super::request::HeaderTable;
use super::{parse_length, push_line, tokens};

/// A response that is not HTTP/1; the client gets a 502.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A response's head, in the target's bytes.
pub(crate) struct Response<'b, 'h> {
    pub(crate) status: u16,
    reason: &'b str,
    headers: &'h [Header<'b>],
    /// Length of the head in bytes.
    pub(crate) head_bytes: usize,
    pub(crate) body: Body,
    /// The target's connection may be used again after the body.
    pub(crate) keep_alive: bool,
    names_lines: bool,
}

/// How the body goes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Byte by byte as it came.
    AsIs,
    /// It came up to the connection's end; chunks tell the client where that was.
    Chunk,
    /// It came in chunks that an HTTP/1.0 client would not understand.
    Unchunk,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Other,
    Hop,
    Connection,
    ContentLength,
    TransferEncoding,
    Upgrade,
}

fn kind(name: &str) -> Kind {
    let is = |n: &str| name.eq_ignore_ascii_case(n);
    match name.len() {
        7 if is("upgrade") => Kind::Upgrade,
        10 if is("connection") => Kind::Connection,
        10 if is("keep-alive") => Kind::Hop,
        14 if is("content-length") => Kind::ContentLength,
        16 if is("proxy-connection") => Kind::Hop,
        17 if is("transfer-encoding") => Kind::TransferEncoding,
        _ => Kind::Other,
    }
}

/// Parses the head at the start of `bytes`; none if it is not all there yet. `to_head`: the request was a HEAD.
pub(crate) fn parse<'b, 'h>(
    bytes: &'b [u8],
    table: &'h mut HeaderTable<'b>,
    to_head: bool,
) -> Result<Option<Response<'b, 'h>>, Malformed> {
    let mut raw = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut raw, bytes, table);
    let head_bytes = match parsed {
        Ok(Status::Complete(n)) => n,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed),
    };
    let (Some(status), Some(minor)) = (raw.code, raw.version) else { return Err(Malformed) };
    if !(100..=999).contains(&status) {
        return Err(Malformed);
    }
    let mut response = Response {
        status,
        reason: raw.reason.unwrap_or_default(),
        headers: raw.headers,
        head_bytes,
        body: Body::NONE,
        keep_alive: minor == 1,
        names_lines: false,
    };
    let (length, chunked) = response.judge_lines(minor)?;
    let bodiless = to_head || (100..200).contains(&status) || status == 204 || status == 304;
    response.body = match (bodiless, chunked, length) {
        (true, ..) => Body::NONE,
        (false, true, None) => Body::Chunked(Chunked::new()),
        (false, true, Some(_)) => return Err(Malformed),
        (false, false, Some(n)) => Body::Length(n),
        (false, false, None) => Body::UntilClose,
    };
    response.keep_alive &= response.body != Body::UntilClose;
    Ok(Some(response))
}

impl Response<'_, '_> {
    fn judge_lines(&mut self, minor: u8) -> Result<(Option<u64>, bool), Malformed> {
        let mut length = None;
        let mut chunked = false;
        for line in self.headers {
            match kind(line.name) {
                Kind::Other | Kind::Hop | Kind::Upgrade => {}
                Kind::ContentLength => {
                    let n = parse_length(line.value).ok_or(Malformed)?;
                    if length.is_some_and(|before| before != n) {
                        return Err(Malformed);
                    }
                    length = Some(n);
                }
                Kind::TransferEncoding if line.value.eq_ignore_ascii_case(b"identity") => {}
                Kind::TransferEncoding => {
                    if chunked || minor == 0 || !line.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Malformed);
                    }
                    chunked = true;
                }
                Kind::Connection => {
                    for token in tokens(line.value) {
                        if token.eq_ignore_ascii_case(b"close") {
                            self.keep_alive = false;
                        } else if token.eq_ignore_ascii_case(b"keep-alive") {
                            self.keep_alive = true;
                        } else {
                            self.names_lines = true;
                        }
                    }
                }
            }
        }
        Ok((length, chunked))
    }

    /// The value of the last line that sets a cookie of this name.
    pub(crate) fn set_cookie(&self, name: &str) -> Option<&[u8]> {
        let lines = self.headers.iter().rev().filter(|h| h.name.eq_ignore_ascii_case("set-cookie"));
        let names = |value: &&[u8]| value.strip_prefix(name.as_bytes()).is_some_and(|v| v.starts_with(b"="));
        lines.map(|h| h.value).find(names)
    }

    /// How the body has to go to a client of HTTP/1.`client_minor`.
    pub(crate) fn framing_for(&self, client_minor: u8) -> Framing {
        match (&self.body, client_minor) {
            (Body::UntilClose, 1) => Framing::Chunk,
            (Body::Chunked(_), 0) => Framing::Unchunk,
            _ => Framing::AsIs,
        }
    }

    /// Appends the head that the client reads, with `extra` ready lines.
    pub(crate) fn write_head(&self, out: &mut Vec<u8>, framing: Framing, keep_alive: bool, extra: &[u8]) {
        self.push_status(out);
        for line in self.headers {
            match kind(line.name) {
                Kind::Other if self.drops(line.name) => {}
                // A body of chunks or without an end cannot have had a length; one without a body (HEAD, 304) may.
                Kind::Other | Kind::ContentLength => push_line(out, line.name.as_bytes(), line.value),
                // For a HEAD, which has no body either way, the coding is still worth telling.
                Kind::TransferEncoding if framing == Framing::AsIs => {
                    push_line(out, line.name.as_bytes(), line.value);
                }
                _ => {}
            }
        }
        if framing == Framing::Chunk {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        out.extend_from_slice(extra);
        out.extend_from_slice(match keep_alive {
            true => b"Connection: keep-alive\r\n\r\n",
            false => b"Connection: close\r\n\r\n",
        });
    }

    /// Appends the head of an interim response (1xx), or of the switch to another protocol (101).
    pub(crate) fn write_interim_head(&self, out: &mut Vec<u8>) {
        self.push_status(out);
        for line in self.headers {
            let passes = match kind(line.name) {
                Kind::Other => true,
                Kind::Upgrade | Kind::Connection => self.status == 101,
                Kind::Hop | Kind::ContentLength | Kind::TransferEncoding => false,
            };
            if passes {
                push_line(out, line.name.as_bytes(), line.value);
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    fn push_status(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(itoa::Buffer::new().format(self.status).as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn drops(&self, name: &str) -> bool {
        self.names_lines && {
            let mut lines = self.headers.iter().filter(|h| kind(h.name) == Kind::Connection);
            lines.any(|h| tokens(h.value).any(|t| t.eq_ignore_ascii_case(name.as_bytes())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::header_table;

    fn pass(text: &str, to_head: bool, client_minor: u8) -> Result<(String, bool, Framing), Malformed> {
        let mut table = header_table();
        let response = parse(text.as_bytes(), &mut table, to_head)?.expect("complete");
        let mut out = Vec::new();
        let framing = response.framing_for(client_minor);
        response.write_head(&mut out, framing, true, b"");
        let text = String::from_utf8(out).unwrap().replace("\r\n", "|");
        Ok((text, response.keep_alive, framing))
    }

    #[test]
    fn passes_on_what_clients_should_read() {
        let (text, keep, framing) =
            pass("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Mine\r\nX-Mine: 1\r\nSet-Cookie: a\r\n\r\nhi", false, 1).unwrap();
        assert_eq!(text, "HTTP/1.1 200 OK|Content-Length: 2|Set-Cookie: a|Connection: keep-alive||");
        assert!(keep && framing == Framing::AsIs);
        let (text, keep, framing) = pass("HTTP/1.0 200 OK\r\n\r\nhi", false, 1).unwrap();
        assert_eq!(text, "HTTP/1.1 200 OK|Transfer-Encoding: chunked|Connection: keep-alive||");
        assert!(!keep && framing == Framing::Chunk);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            pass(chunked, false, 1).unwrap().0,
            "HTTP/1.1 200 OK|Transfer-Encoding: chunked|Connection: keep-alive||"
        );
        let (text, _, framing) = pass(chunked, false, 0).unwrap();
        assert_eq!((text.as_str(), framing), ("HTTP/1.1 200 OK|Connection: keep-alive||", Framing::Unchunk));
        assert_eq!(pass("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true, 1).unwrap().2, Framing::AsIs);
        assert!(
            pass("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", false, 1)
                .unwrap()
                .1
        );
    }

    #[test]
    fn refuses_what_is_not_http() {
        for bad in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
        ] {
            assert_eq!(pass(bad, false, 1).err(), Some(Malformed), "{bad}");
        }
    }

    #[test]
    fn bodies() {
        let body = |text: &str, head| {
            parse(text.as_bytes(), &mut header_table(), head).ok().flatten().map(|r| r.body)
        };
        assert_eq!(body("HTTP/1.1 204 x\r\n\r\n", false), Some(Body::NONE));
        assert_eq!(body("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", false), Some(Body::NONE));
        assert_eq!(body("HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\n", true), Some(Body::NONE));
        assert_eq!(body("HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\n", false), Some(Body::Length(5)));
        assert_eq!(body("HTTP/1.1 200 x\r\n\r\n", false), Some(Body::UntilClose));
        assert_eq!(body("HTTP/1.1 200 x\r\n", false), None);
    }
}
