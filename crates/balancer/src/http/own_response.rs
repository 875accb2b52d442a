//! Responses that the load balancer gives itself.

use puffer_core::Timestamp;
use puffer_core::elb::rule::FixedResponse;

use super::push_line;

/// Reason phrase of a status; empty if none is usual.
pub(crate) fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        408 => "Request Time-out",
        410 => "Gone",
        418 => "I'm a teapot",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// How a response of ours goes out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    /// The connection stays open.
    pub(crate) keep_alive: bool,
    /// The request was a HEAD, so the body stays here.
    pub(crate) head_only: bool,
    /// For `Date`.
    pub(crate) now: Timestamp,
}

/// Appends an error page.
pub(crate) fn push_error(out: &mut Vec<u8>, status: u16, delivery: Delivery) {
    let phrase = reason_phrase(status);
    let title = if phrase.is_empty() { status.to_string() } else { format!("{status} {phrase}") };
    let page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    );
    push_response(out, status, &[("Content-Type", "text/html")], page.as_bytes(), delivery);
}

/// Appends a redirect.
pub(crate) fn push_redirect(out: &mut Vec<u8>, status: u16, location: &str, delivery: Delivery) {
    let phrase = reason_phrase(status);
    let page = format!(
        "<html>\r\n<head><title>{status} {phrase}</title></head>\r\n<body>\r\n<center><h1>{status} {phrase}</h1></center>\r\n</body>\r\n</html>\r\n"
    );
    let lines = [("Content-Type", "text/html"), ("Location", location)];
    push_response(out, status, &lines, page.as_bytes(), delivery);
}

/// Appends a fixed response.
pub(crate) fn push_fixed(out: &mut Vec<u8>, fixed: &FixedResponse, delivery: Delivery) {
    let content_type = fixed.content_type.as_deref().unwrap_or("text/plain");
    let lines = [("Content-Type", content_type)];
    push_response(out, fixed.status_code, &lines, fixed.message_body.as_bytes(), delivery);
}

fn push_response(out: &mut Vec<u8>, status: u16, lines: &[(&str, &str)], body: &[u8], delivery: Delivery) {
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(number.format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    push_line(out, b"Server", b"awselb/2.0");
    push_line(out, b"Date", http_date(delivery.now).as_bytes());
    for (name, value) in lines {
        push_line(out, name.as_bytes(), value.as_bytes());
    }
    if status != 204 {
        push_line(out, b"Content-Length", number.format(body.len()).as_bytes());
    }
    push_line(out, b"Connection", if delivery.keep_alive { b"keep-alive" } else { b"close" });
    out.extend_from_slice(b"\r\n");
    // A 204 has no body, whatever was configured.
    if !delivery.head_only && status != 204 {
        out.extend_from_slice(body);
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn http_date(now: Timestamp) -> String {
    let time = jiff::Timestamp::from_second(now.as_secs()).unwrap_or_default();
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_page() {
        let mut out = Vec::new();
        let now = Timestamp::from_secs(784_111_777);
        push_error(&mut out, 503, Delivery { keep_alive: true, head_only: false, now });
        let text = String::from_utf8(out).unwrap();
        let (head, page) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            head,
            format!(
                "HTTP/1.1 503 Service Temporarily Unavailable\r\nServer: awselb/2.0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                 Content-Type: text/html\r\nContent-Length: {}\r\nConnection: keep-alive",
                page.len()
            )
        );
        assert!(page.contains("<title>503 Service Temporarily Unavailable</title>"));
    }

    #[test]
    fn a_head_only_redirect() {
        let mut out = Vec::new();
        let delivery = Delivery { keep_alive: false, head_only: true, now: Timestamp::from_secs(0) };
        push_redirect(&mut out, 301, "https://a/", delivery);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.ends_with("Connection: close\r\n\r\n") && text.contains("\r\nLocation: https://a/\r\n"),
            "{text}"
        );
    }
}
