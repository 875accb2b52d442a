use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Record, Timestamp};

/// Tries of one delivery; with [`retry_wait`], about a quarter of an hour.
pub const ATTEMPTS_MAX: u32 = 10;

/// The wait after `attempts` failures: two seconds, doubling to five minutes.
pub fn retry_wait(attempts: u32) -> Duration {
    Duration::from_secs((1 << attempts.min(16)).min(300))
}

/// A message on its way to an HTTP endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpDelivery {
    /// UUID that sorts by time.
    pub id: String,
    /// Where to.
    pub endpoint: String,
    /// `Notification` or `SubscriptionConfirmation`.
    pub message_type: String,
    /// The message's id.
    pub message_id: String,
    /// The topic's ARN.
    pub topic_arn: String,
    /// The subscription's ARN.
    pub subscription_arn: String,
    /// The message alone, without the envelope.
    pub raw: bool,
    /// The request's body.
    pub body: String,
    /// Failures so far.
    pub attempts: u32,
    /// Not before.
    pub due_at: Timestamp,
}

impl Record for HttpDelivery {
    const COLLECTION: &'static str = "sns-deliveries";

    fn key(&self) -> String {
        self.id.clone()
    }
}

/// An `http://` or `https://` URL, as far as a POST needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// Over TLS.
    pub tls: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// From the slash on, query included.
    pub path: String,
}

impl HttpTarget {
    /// Takes a URL apart; `None` if it is of another scheme, or has a user in it.
    pub fn parse(url: &str) -> Option<HttpTarget> {
        let (tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, rest) => (true, rest?),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or("");
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|p| *p != 0)?),
            None => (authority, HttpTarget::default_port(tls)),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(plain) || path.chars().any(|c| c.is_control() || c == ' ') {
            return None;
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(HttpTarget { tls, host: host.to_owned(), port, path })
    }

    /// The `Host` header: the port only where it is not the usual one.
    pub fn authority(&self) -> String {
        match self.port == HttpTarget::default_port(self.tls) {
            true => self.host.clone(),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    fn default_port(tls: bool) -> u16 {
        if tls { 443 } else { 80 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        let of = |tls, host: &str, port, path: &str| {
            Some(HttpTarget { tls, host: host.into(), port, path: path.into() })
        };
        let target = |host, port, path| of(false, host, port, path);
        let table = [
            ("http://a.example/x?y=1#z", target("a.example", 80, "/x?y=1")),
            ("http://127.0.0.1:8080", target("127.0.0.1", 8080, "/")),
            ("http://h?q", target("h", 80, "/?q")),
            ("https://h/", of(true, "h", 443, "/")),
            ("https://h:8443/x", of(true, "h", 8443, "/x")),
            ("ftp://h/", None),
            ("http://user@h/", None),
            ("http://h:0/", None),
            ("http://h/a b", None),
            ("http:///x", None),
            ("http://h/\r\nX: y", None),
        ];
        for (url, want) in table {
            assert_eq!(HttpTarget::parse(url), want, "{url}");
        }
        let authority = |url| HttpTarget::parse(url).unwrap().authority();
        assert_eq!((authority("https://h/").as_str(), authority("http://h:443/").as_str()), ("h", "h:443"));
    }

    #[test]
    fn waits_grow_and_end() {
        let total: u64 = (1..ATTEMPTS_MAX).map(|n| retry_wait(n).as_secs()).sum();
        assert_eq!((retry_wait(1).as_secs(), retry_wait(99).as_secs()), (2, 300));
        assert!((600..1800).contains(&total), "{total}");
    }
}
