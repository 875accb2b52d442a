use super::*;

struct Get<'a> {
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    headers: &'a [(&'a str, &'a str)],
}

impl RequestView for Get<'_> {
    fn method(&self) -> &[u8] {
        b"GET"
    }
    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }
    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }
    fn query(&self) -> Option<&[u8]> {
        self.query.map(str::as_bytes)
    }
    fn source(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 1, 2, 3)
    }
    fn any_header(&self, name: &str, holds: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.headers.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && holds(v.as_bytes()))
    }
}

const REQUEST: Get<'static> = Get {
    host: "Shop.Example.com",
    path: "/img/a.png",
    query: Some("v=1&Lang=EN&star=a*b"),
    headers: &[("User-Agent", "Mozilla/5.0 Firefox"), ("X-Tier", "gold")],
};

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|s| (*s).to_owned()).collect()
}

#[test]
fn wildcards() {
    let table = [
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("**", "abc", true),
        ("a*c", "abbbc", true),
        ("a*c", "abbbd", false),
        ("?", "", false),
        ("a?c", "abc", true),
        ("*a*b*", "xxaxxbxx", true),
        ("*.png", "/img/a.png", true),
        ("*.png", "/img/a.pngx", false),
        ("/img/*/pics", "/img/x/pics", true),
    ];
    for (pattern, text, want) in table {
        let got = wildcard_match(pattern.as_bytes(), text.as_bytes(), Case::Sensitive, Escape::None);
        assert_eq!(got, want, "{pattern} on {text}");
    }
    assert!(wildcard_match(b"A\\*B", b"a*b", Case::Insensitive, Escape::Backslash));
    assert!(!wildcard_match(b"A\\*B", b"axb", Case::Insensitive, Escape::Backslash));
}

#[test]
fn hostile_patterns_end_quickly() {
    let pattern = b"*a".repeat(64);
    let text = vec![b'a'; 16 * 1024];
    assert!(wildcard_match(&pattern, &text, Case::Sensitive, Escape::None));
    let text = vec![b'b'; 16 * 1024];
    assert!(!wildcard_match(&pattern, &text, Case::Sensitive, Escape::None));
}

#[test]
fn conditions() {
    use Condition::*;
    let pair = |k: Option<&str>, v: &str| QueryPair { key: k.map(str::to_owned), value: v.to_owned() };
    let table = [
        (HostHeader { values: strings(&["*.example.COM"]) }, true),
        (HostHeader { values: strings(&["example.com", "other.org"]) }, false),
        (PathPattern { values: strings(&["/IMG/*"]) }, false),
        (PathPattern { values: strings(&["/x", "/img/?.png"]) }, true),
        (HttpRequestMethod { values: strings(&["get"]) }, false),
        (HttpRequestMethod { values: strings(&["POST", "GET"]) }, true),
        (SourceIp { values: vec![Cidr::parse("10.1.0.0/16").unwrap()] }, true),
        (SourceIp { values: vec![Cidr::parse("10.2.0.0/16").unwrap()] }, false),
        (HttpHeader { name: "user-agent".into(), values: strings(&["*firefox*"]) }, true),
        (HttpHeader { name: "x-absent".into(), values: strings(&["*"]) }, false),
        (QueryString { values: vec![pair(Some("lang"), "en")] }, true),
        (QueryString { values: vec![pair(None, "2"), pair(None, "1")] }, true),
        (QueryString { values: vec![pair(Some("star"), "a\\*b")] }, true),
        (QueryString { values: vec![pair(Some("v"), "2")] }, false),
    ];
    for (condition, want) in table {
        assert_eq!(condition.holds(&REQUEST), want, "{condition:?}");
    }
    assert!(matches_all(&[], &REQUEST));
}

#[test]
fn cidr_forms() {
    assert_eq!(Cidr::parse("10.1.2.3/8").unwrap().to_string(), "10.0.0.0/8");
    assert!(Cidr::parse("0.0.0.0/0").unwrap().contains(Ipv4Addr::new(255, 1, 1, 1)));
    assert!(Cidr::parse("10.0.0.0/33").is_none());
    assert!(serde_json::from_str::<Cidr>("\"300.1.1.1/8\"").is_err());
}

#[test]
fn redirects() {
    let keep = Redirect {
        protocol: "#{protocol}".into(),
        host: "#{host}".into(),
        port: "#{port}".into(),
        path: "/#{path}".into(),
        query: "#{query}".into(),
        status_code: 301,
    };
    let origin = Origin { protocol: "HTTP", host: "a.b", port: 80, path: "/x/y", query: "q=1" };
    assert_eq!(redirect_location(&keep, origin), "http://a.b/x/y?q=1");
    let https = Redirect { protocol: "HTTPS".into(), port: "443".into(), ..keep.clone() };
    assert_eq!(redirect_location(&https, origin), "https://a.b/x/y?q=1");
    let moved = Redirect {
        host: "new.#{host}".into(),
        port: "8080".into(),
        path: "/v2/#{path}/#{odd}".into(),
        ..keep
    };
    let origin = Origin { query: "", ..origin };
    assert_eq!(redirect_location(&moved, origin), "http://new.a.b:8080/v2/x/y/#{odd}");
}

#[test]
fn actions_serialize_flat() {
    let action = Action::Forward(Forward {
        target_groups: vec![WeightedTargetGroup { arn: "tg".into(), weight: 1 }],
        stickiness: None,
    });
    let json = serde_json::to_string(&action).unwrap();
    assert_eq!(json, r#"{"type":"forward","target_groups":[{"arn":"tg","weight":1}]}"#);
    assert_eq!(serde_json::from_str::<Action>(&json).unwrap(), action);
}
