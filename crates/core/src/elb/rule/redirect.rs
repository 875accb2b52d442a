//! The `Location` of a redirect action.

use super::Redirect;

/// The request's own parts, for the placeholders of a redirect.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// `HTTP` or `HTTPS`.
    pub protocol: &'a str,
    /// Host without port.
    pub host: &'a str,
    /// Port of the listener.
    pub port: u16,
    /// Path with its leading `/`.
    pub path: &'a str,
    /// Query without the `?`; empty if there is none.
    pub query: &'a str,
}

/// Fills in the placeholders and joins the parts.
///
/// `#{path}` stands for the path *without* its leading `/`, which is why the usual pattern is `/#{path}`. The
/// port is left out where it is the protocol's own, and so is the `?` of an empty query.
pub fn redirect_location(redirect: &Redirect, origin: Origin<'_>) -> String {
    let port = origin.port.to_string();
    let fill = |pattern: &str| fill(pattern, origin, &port);
    let protocol = fill(&redirect.protocol).to_ascii_lowercase();
    let port_text = fill(&redirect.port);
    let query = fill(&redirect.query);
    let mut out = format!("{protocol}://{}", fill(&redirect.host));
    let own = match protocol.as_str() {
        "https" => "443",
        _ => "80",
    };
    if port_text != own && !port_text.is_empty() {
        out.push(':');
        out.push_str(&port_text);
    }
    out.push_str(&fill(&redirect.path));
    if !query.is_empty() {
        out.push('?');
        out.push_str(&query);
    }
    out
}

fn fill(pattern: &str, origin: Origin<'_>, port: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + origin.path.len());
    let mut rest = pattern;
    while let Some(at) = rest.find("#{") {
        out.push_str(&rest[..at]);
        let known = [
            ("#{protocol}", origin.protocol),
            ("#{host}", origin.host),
            ("#{port}", port),
            ("#{path}", origin.path.strip_prefix('/').unwrap_or(origin.path)),
            ("#{query}", origin.query),
        ];
        match known.iter().find(|(name, _)| rest[at..].starts_with(name)) {
            Some((name, value)) => {
                out.push_str(value);
                rest = &rest[at + name.len()..];
            }
            None => {
                out.push_str("#{");
                rest = &rest[at + 2..];
            }
        }
    }
    out.push_str(rest);
    out
}
