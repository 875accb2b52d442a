//! Requests: read from a client, judged, and written anew for a target.

use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};

use httparse::{Header, Status};
use rand::Rng;

use puffer_core::Timestamp;
use puffer_core::elb::rule::RequestView;

use super::body::{Body, Chunked};
use super::forwarded::{TooManyAddresses, push_forwarded_for, push_trace_id};
use super::{HEADER_LINES_MAX, LINE_BYTES_MAX, parse_length, push_line, tokens};
use crate::config::{DesyncMode, LoadBalancerAttributes};

/// Room for the parser's table of header lines.
pub(crate) type HeaderTable<'b> = [MaybeUninit<Header<'b>>; HEADER_LINES_MAX];

/// An empty table.
pub(crate) const fn header_table<'b>() -> HeaderTable<'b> {
    [const { MaybeUninit::uninit() }; HEADER_LINES_MAX]
}

/// A request that is answered with this status rather than passed on; its connection closes, since nobody can be
/// sure where the next request would begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) u16);

/// A request's head, in the client's bytes.
pub(crate) struct Request<'b, 'h> {
    pub(crate) method: &'b str,
    /// Path and query as they go to the target.
    pub(crate) target: &'b str,
    /// Host without port; empty if HTTP/1.0 gave none.
    pub(crate) host: &'b str,
    /// `Host` as it came.
    authority: &'b str,
    /// Minor version of HTTP/1.
    pub(crate) minor: u8,
    headers: &'h [Header<'b>],
    /// Length of the head in bytes.
    pub(crate) head_bytes: usize,
    pub(crate) body: Body,
    /// The client wants the connection to stay open.
    pub(crate) keep_alive: bool,
    /// The client waits for `100 Continue`.
    expects_continue: bool,
    /// The client offers another protocol.
    pub(crate) upgrade: Option<&'b [u8]>,
    /// `Connection` names header lines that are only for us.
    names_lines: bool,
    trace_id: Option<&'b [u8]>,
    peer: Ipv4Addr,
}

/// What a header line is to a proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Passed on.
    Other,
    /// Only for this connection; dropped.
    Hop,
    Connection,
    ContentLength,
    Expect,
    ForwardedFor,
    /// Replaced by ours.
    ForwardedOther,
    Host,
    TraceId,
    TransferEncoding,
    Upgrade,
}

fn kind(name: &str) -> Kind {
    let is = |n: &str| name.eq_ignore_ascii_case(n);
    match name.len() {
        2 if is("te") => Kind::Hop,
        4 if is("host") => Kind::Host,
        6 if is("expect") => Kind::Expect,
        7 if is("upgrade") => Kind::Upgrade,
        10 if is("connection") => Kind::Connection,
        10 if is("keep-alive") => Kind::Hop,
        14 if is("content-length") => Kind::ContentLength,
        14 if is("http2-settings") => Kind::Hop,
        15 if is("x-forwarded-for") => Kind::ForwardedFor,
        15 if is("x-amzn-trace-id") => Kind::TraceId,
        16 if is("proxy-connection") => Kind::Hop,
        16 if is("x-forwarded-port") => Kind::ForwardedOther,
        17 if is("transfer-encoding") => Kind::TransferEncoding,
        17 if is("x-forwarded-proto") => Kind::ForwardedOther,
        _ => Kind::Other,
    }
}

/// Parses and judges the head at the start of `bytes`; none if it is not all there yet.
pub(crate) fn parse<'b, 'h>(
    bytes: &'b [u8],
    table: &'h mut HeaderTable<'b>,
    peer: Ipv4Addr,
    desync: DesyncMode,
) -> Result<Option<Request<'b, 'h>>, Refused> {
    let mut raw = httparse::Request::new(&mut []);
    let head_bytes = match raw.parse_with_uninit_headers(bytes, table) {
        Ok(Status::Complete(n)) => n,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::Version) => return Err(Refused(505)),
        Err(_) => return Err(Refused(400)),
    };
    let (Some(method), Some(path), Some(minor)) = (raw.method, raw.path, raw.version) else {
        return Err(Refused(400));
    };
    if method.len() + path.len() > LINE_BYTES_MAX {
        return Err(Refused(400));
    }
    if method == "TRACE" || method == "CONNECT" {
        return Err(Refused(405));
    }
    let mut request = Request {
        method,
        target: path,
        host: "",
        authority: "",
        minor,
        headers: raw.headers,
        head_bytes,
        body: Body::NONE,
        keep_alive: minor == 1,
        expects_continue: false,
        upgrade: None,
        names_lines: false,
        trace_id: None,
        peer,
    };
    request.judge_lines()?;
    request.judge_target()?;
    if desync == DesyncMode::Strictest {
        request.judge_strictly(&bytes[..head_bytes])?;
    }
    Ok(Some(request))
}

impl<'b> Request<'b, '_> {
    fn judge_lines(&mut self) -> Result<(), Refused> {
        const BAD: Refused = Refused(400);
        let mut host: Option<&'b [u8]> = None;
        let mut length: Option<u64> = None;
        let mut coding: Option<&'b [u8]> = None;
        let mut wants_upgrade = false;
        for line in self.headers {
            if line.name.len() + line.value.len() > LINE_BYTES_MAX {
                return Err(BAD);
            }
            match kind(line.name) {
                Kind::Other | Kind::Hop | Kind::ForwardedFor | Kind::ForwardedOther => {}
                Kind::Host if host.is_some() => return Err(BAD),
                Kind::Host => host = Some(line.value),
                Kind::ContentLength if length.is_some() => return Err(BAD),
                Kind::ContentLength => length = Some(parse_length(line.value).ok_or(BAD)?),
                Kind::TransferEncoding if coding.is_some() => return Err(BAD),
                Kind::TransferEncoding => coding = Some(line.value),
                Kind::Expect if line.value.eq_ignore_ascii_case(b"100-continue") => {
                    self.expects_continue = self.minor == 1;
                }
                Kind::Expect => return Err(Refused(417)),
                Kind::Upgrade => self.upgrade = Some(line.value),
                Kind::TraceId => self.trace_id = self.trace_id.or(Some(line.value)),
                Kind::Connection => {
                    for token in tokens(line.value) {
                        if token.eq_ignore_ascii_case(b"close") {
                            self.keep_alive = false;
                        } else if token.eq_ignore_ascii_case(b"keep-alive") {
                            self.keep_alive |= self.minor == 0;
                        } else if token.eq_ignore_ascii_case(b"upgrade") {
                            wants_upgrade = true;
                        } else {
                            self.names_lines = true;
                        }
                    }
                }
            }
        }
        match (coding, length) {
            (None, None) => {}
            (None, Some(n)) => self.body = Body::Length(n),
            (Some(_), Some(_)) => return Err(BAD),
            (Some(_), None) if self.minor == 0 => return Err(BAD),
            (Some(value), None) if value.eq_ignore_ascii_case(b"chunked") => {
                self.body = Body::Chunked(Chunked::new());
            }
            (Some(value), None) if value.eq_ignore_ascii_case(b"identity") => {}
            (Some(_), None) => return Err(Refused(501)),
        }
        // HTTP/2 in clear would take later requests out of our sight, so it is not offered to targets.
        let passes = |u: &&[u8]| !tokens(u).any(|t| t.eq_ignore_ascii_case(b"h2c"));
        self.upgrade =
            self.upgrade.filter(|u| wants_upgrade && self.body.is_done() && self.minor == 1 && passes(u));
        match host {
            None if self.minor == 1 => Err(BAD),
            None => Ok(()),
            Some(value) => {
                self.authority = std::str::from_utf8(value).map_err(|_| BAD)?;
                Ok(())
            }
        }
    }

    /// Turns an absolute target into path and host, and checks both.
    fn judge_target(&mut self) -> Result<(), Refused> {
        const SCHEME: &str = "http://";
        let path = self.target;
        if path.get(..SCHEME.len()).is_some_and(|s| s.eq_ignore_ascii_case(SCHEME)) {
            let rest = &path[SCHEME.len()..];
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            self.authority = &rest[..end];
            self.target = match &rest[end..] {
                "" => "/",
                query if query.starts_with('?') => return Err(Refused(400)),
                path => path,
            };
        } else if !(path.starts_with('/') || (path == "*" && self.method == "OPTIONS")) {
            return Err(Refused(400));
        }
        if self.target.contains('#') {
            return Err(Refused(400));
        }
        let bad = |b: u8| !b.is_ascii_graphic() || b"/\\?#@,<>\"".contains(&b);
        if self.authority.bytes().any(bad) {
            return Err(Refused(400));
        }
        self.host = without_port(self.authority);
        Ok(())
    }

    /// The strictest mode: lines end with CR LF, and methods without a meaning for bodies bring none.
    fn judge_strictly(&self, head: &[u8]) -> Result<(), Refused> {
        let bare = (0..head.len()).any(|i| head[i] == b'\n' && (i == 0 || head[i - 1] != b'\r'));
        if bare || (matches!(self.method, "GET" | "HEAD") && !self.body.is_done()) {
            return Err(Refused(400));
        }
        Ok(())
    }

    /// Whether sending it twice does no more than sending it once (RFC 9110).
    pub(crate) fn is_idempotent(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
    }

    /// The value of a cookie.
    pub(crate) fn cookie(&self, name: &str) -> Option<&'b [u8]> {
        let lines = self.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("cookie"));
        let mut pairs = lines.flat_map(|h| h.value.split(|&b| b == b';')).map(<[u8]>::trim_ascii);
        pairs.find_map(|p| p.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// Path and query apart.
    pub(crate) fn path_and_query(&self) -> (&'b str, Option<&'b str>) {
        match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target, None),
        }
    }

    /// Appends the head that the target reads.
    pub(crate) fn write_head(
        &self,
        out: &mut Vec<u8>,
        from: &Passage<'_>,
        rng: &mut impl Rng,
    ) -> Result<(), Refused> {
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let attributes = from.attributes;
        let sent = self.headers.iter().filter(|h| kind(h.name) == Kind::ForwardedFor).map(|h| h.value);
        push_forwarded_for(out, sent, attributes.xff_mode, from.peer, attributes.xff_client_port)
            .map_err(|TooManyAddresses| Refused(463))?;
        out.extend_from_slice(from.forwarded_lines);
        self.push_host(out, from);
        if from.traces {
            push_trace_id(out, self.trace_id, from.now, rng);
        }
        for line in self.headers {
            match kind(line.name) {
                Kind::Other if self.drops(line.name, attributes) => {}
                Kind::Other | Kind::ContentLength => push_line(out, line.name.as_bytes(), line.value),
                Kind::TraceId if !from.traces => push_line(out, line.name.as_bytes(), line.value),
                _ => {}
            }
        }
        if matches!(self.body, Body::Chunked(_)) {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if self.expects_continue && !self.body.is_done() {
            out.extend_from_slice(b"Expect: 100-continue\r\n");
        }
        if let Some(upgrade) = self.upgrade {
            push_line(out, b"Connection", b"Upgrade");
            push_line(out, b"Upgrade", upgrade);
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn drops(&self, name: &str, attributes: &LoadBalancerAttributes) -> bool {
        if attributes.drop_invalid_header_fields
            && !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return true;
        }
        self.names_lines && {
            let mut lines = self.headers.iter().filter(|h| kind(h.name) == Kind::Connection);
            lines.any(|h| tokens(h.value).any(|t| t.eq_ignore_ascii_case(name.as_bytes())))
        }
    }

    /// Unless it is to be preserved, `Host` shows the listener's port exactly when that is not the usual one.
    fn push_host(&self, out: &mut Vec<u8>, from: &Passage<'_>) {
        if self.authority.is_empty() && self.minor == 0 {
            return push_line(out, b"Host", from.node_text.as_bytes());
        }
        if from.attributes.preserve_host_header || self.authority.is_empty() {
            return push_line(out, b"Host", self.authority.as_bytes());
        }
        out.extend_from_slice(b"Host: ");
        out.extend_from_slice(self.host.as_bytes());
        if from.port != 80 && from.port != 443 {
            out.push(b':');
            out.extend_from_slice(itoa::Buffer::new().format(from.port).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// What a request learns on its way through.
pub(crate) struct Passage<'a> {
    pub(crate) attributes: &'a LoadBalancerAttributes,
    pub(crate) peer: SocketAddrV4,
    /// The listener's port by the API.
    pub(crate) port: u16,
    /// Ready lines of `X-Forwarded-Proto` and `X-Forwarded-Port`.
    pub(crate) forwarded_lines: &'a [u8],
    /// The node's address, for requests without a host.
    pub(crate) node_text: &'a str,
    /// Whether it gets an `X-Amzn-Trace-Id`, which is of application load balancers; otherwise the client's is as any line.
    pub(crate) traces: bool,
    pub(crate) now: Timestamp,
}

impl RequestView for Request<'_, '_> {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }
    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }
    fn path(&self) -> &[u8] {
        self.path_and_query().0.as_bytes()
    }
    fn query(&self) -> Option<&[u8]> {
        self.path_and_query().1.map(str::as_bytes)
    }
    fn source(&self) -> Ipv4Addr {
        self.peer
    }
    fn any_header(&self, name: &str, holds: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.headers.iter().any(|h| h.name.eq_ignore_ascii_case(name) && holds(h.value))
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => authority,
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
