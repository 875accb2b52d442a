/// The part of an HTTP request before its body.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// `POST` or another method.
    pub method: &'a str,
    /// The path as sent, still escaped.
    pub path: &'a str,
    /// The query string as sent, without the question mark; empty if there is none.
    pub query: &'a str,
    /// All headers; names are lower-case in this type.
    pub headers: &'a http::HeaderMap,
}

impl RequestHead<'_> {
    /// A header's text; `None` also if it is not ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}
