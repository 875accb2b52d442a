use rand::SeedableRng;

use proptest::prelude::*;

use super::*;
use crate::config::XffMode;

fn judge(text: &str) -> Result<Option<String>, Refused> {
    judge_as(text, &LoadBalancerAttributes::default(), 80)
}

/// The head that the target would read, without the lines that every request gets.
fn judge_as(text: &str, attributes: &LoadBalancerAttributes, port: u16) -> Result<Option<String>, Refused> {
    let mut table = header_table();
    let peer = SocketAddrV4::new([192, 0, 2, 7].into(), 4000);
    let Some(request) = parse(text.as_bytes(), &mut table, *peer.ip(), attributes.desync_mode)? else {
        return Ok(None);
    };
    let passage = Passage {
        attributes,
        peer,
        port,
        forwarded_lines: b"X-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\n",
        node_text: "10.0.0.1",
        traces: true,
        now: Timestamp::from_secs(0),
    };
    let mut out = Vec::new();
    request.write_head(&mut out, &passage, &mut rand_pcg::Pcg64Mcg::seed_from_u64(1))?;
    let text = String::from_utf8(out).unwrap();
    let kept: Vec<_> =
        text.split("\r\n").filter(|l| !l.starts_with("X-Amzn") && !l.starts_with("X-Forwarded-P")).collect();
    Ok(Some(kept.join("|")))
}

#[test]
fn passes_on_what_targets_should_read() {
    let table = [
        (
            "GET /a?b=c HTTP/1.1\r\nHost: x.y:80\r\nAccept: */*\r\n\r\n",
            "GET /a?b=c HTTP/1.1|X-Forwarded-For: 192.0.2.7|Host: x.y|Accept: */*||",
        ),
        (
            "GET http://o.p/z HTTP/1.1\r\nHost: ignored\r\n\r\n",
            "GET /z HTTP/1.1|X-Forwarded-For: 192.0.2.7|Host: o.p||",
        ),
        ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1|X-Forwarded-For: 192.0.2.7|Host: 10.0.0.1||"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\nX-Kept: 1\r\n\r\n",
            "GET / HTTP/1.1|X-Forwarded-For: 192.0.2.7|Host: a|X-Kept: 1||",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1|X-Forwarded-For: 192.0.2.7|Host: a|Connection: Upgrade|Upgrade: websocket||",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
            "GET / HTTP/1.1|X-Forwarded-For: 192.0.2.7|Host: a||",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: gopher\r\n\r\n",
            "POST / HTTP/1.1|X-Forwarded-For: 1.1.1.1, 192.0.2.7|Host: a|Transfer-Encoding: chunked|Expect: 100-continue||",
        ),
    ];
    for (given, want) in table {
        assert_eq!(judge(given).unwrap().unwrap(), want, "{given}");
    }
}

#[test]
fn refuses_what_could_be_read_in_two_ways() {
    let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
    let table = [
        (post("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400),
        (post("Content-Length: 1\r\nContent-Length: 1"), 400),
        (post("Content-Length: 1\r\nContent-Length: 2"), 400),
        (post("Content-Length: 1, 1"), 400),
        (post("Content-Length: +1"), 400),
        (post("Content-Length : 1"), 400),
        (post("Content-Length:"), 400),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
        (post("Transfer-Encoding: gzip, chunked"), 501),
        (post("Transfer-Encoding: xchunked"), 501),
        (post("X: a\r\n folded"), 400),
        (post(" X: a"), 400),
        (post("X\0: a"), 400),
        (post("X: a\rb"), 400),
        (post("Host: b"), 400),
        (post("Expect: wonders"), 417),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), 400),
        ("GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET /\r\n".into(), 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(LINE_BYTES_MAX)), 400),
        (post(&format!("X: {}", "x".repeat(LINE_BYTES_MAX))), 400),
        (post(&vec!["X: 1"; HEADER_LINES_MAX + 1].join("\r\n")), 400),
        (post(&format!("X-Forwarded-For: {}", vec!["1.1.1.1"; 31].join(","))), 463),
    ];
    for (given, status) in table {
        assert_eq!(judge(&given), Err(Refused(status)), "{:.200}", given);
    }
}

#[test]
fn waits_for_the_rest() {
    let whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for n in 0..whole.len() {
        assert_eq!(judge(&whole[..n]), Ok(None), "{n}");
    }
}

#[test]
fn attributes_change_the_head() {
    let defaults = LoadBalancerAttributes::default;
    let text = "GET / HTTP/1.1\r\nHost: a:99\r\nX_Odd: 1\r\n\r\n";
    let got = |attributes: LoadBalancerAttributes, port| judge_as(text, &attributes, port).unwrap().unwrap();
    assert_eq!(got(defaults(), 8080), "GET / HTTP/1.1|X-Forwarded-For: 192.0.2.7|Host: a:8080|X_Odd: 1||");
    let attributes =
        LoadBalancerAttributes { preserve_host_header: true, drop_invalid_header_fields: true, ..defaults() };
    assert_eq!(got(attributes, 8080), "GET / HTTP/1.1|X-Forwarded-For: 192.0.2.7|Host: a:99||");
    let attributes = LoadBalancerAttributes { xff_mode: XffMode::Remove, ..defaults() };
    assert_eq!(got(attributes, 80), "GET / HTTP/1.1|Host: a|X_Odd: 1||");
    let strict = LoadBalancerAttributes { desync_mode: DesyncMode::Strictest, ..defaults() };
    for bad in ["GET / HTTP/1.1\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"] {
        assert_eq!(judge_as(bad, &strict, 80), Err(Refused(400)));
        assert!(judge(bad).is_ok());
    }
}

#[test]
fn cookies_and_hosts() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: b=1; AWSALB=xyz\r\nCookie: c=2\r\n\r\n";
    let mut table = header_table();
    let request = parse(text, &mut table, [1, 1, 1, 1].into(), DesyncMode::Defensive).unwrap().unwrap();
    assert_eq!(request.cookie("AWSALB"), Some(&b"xyz"[..]));
    assert_eq!(request.cookie("c"), Some(&b"2"[..]));
    assert_eq!(request.cookie("AWS"), None);
    assert_eq!((without_port("a:1"), without_port("[::1]:8"), without_port("a")), ("a", "[::1]", "a"));
}

/// Lines that matter to framing, in good and bad shapes, among harmless and broken ones.
fn line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "Transfer-Encoding ",
        "Connection",
        "Host",
        "Expect",
        "Upgrade",
        "X-A",
        "X_B",
        "TE",
        "Trailer",
        "\tX",
        "",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "3",
            "03",
            "+3",
            "3, 3",
            "chunked",
            "Chunked",
            "chunked, chunked",
            "identity",
            "gzip",
            "close",
            "upgrade",
            "content-length",
            "transfer-encoding",
            "100-continue",
            "websocket",
            "a",
            "",
        ])
        .prop_map(str::to_owned),
        "[ -~\t]{0,12}",
    ];
    let end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n "]);
    (name, value, end).prop_map(|(n, v, e)| format!("{n}: {v}{e}"))
}

proptest! {
    /// Whatever is let through is read by the target exactly as by us: same method, target and end of the body, with at
    /// most one line that says where that is, and it is refused by nobody.
    #[test]
    fn a_passed_head_has_one_meaning(lines in prop::collection::vec(line(), 0..6), method in "(GET|POST|HEAD)") {
        let text = format!("{method} /p?q HTTP/1.1\r\nHost: a\r\n{}\r\n", lines.concat());
        let attributes = LoadBalancerAttributes::default();
        let mut table = header_table();
        let peer = SocketAddrV4::new([192, 0, 2, 7].into(), 4000);
        let Ok(Some(request)) = parse(text.as_bytes(), &mut table, *peer.ip(), attributes.desync_mode) else {
            return Ok(());
        };
        let passage = Passage { attributes: &attributes, peer, port: 80, forwarded_lines: b"", node_text: "n", traces: true, now: Timestamp::from_secs(0) };
        let mut out = Vec::new();
        prop_assert!(request.write_head(&mut out, &passage, &mut rand_pcg::Pcg64Mcg::seed_from_u64(1)).is_ok());
        let mut table = header_table();
        let strict = DesyncMode::Defensive;
        let again = parse(&out, &mut table, *peer.ip(), strict).ok().flatten().expect("our own heads are good");
        prop_assert_eq!(again.head_bytes, out.len());
        prop_assert_eq!((again.method, again.target, &again.body), (request.method, request.target, &request.body));
        let lower = String::from_utf8(out.clone()).unwrap().to_ascii_lowercase();
        let n = lower.matches("\r\ncontent-length:").count() + lower.matches("\r\ntransfer-encoding").count();
        prop_assert!(n <= 1 && lower.matches("\r\nhost:").count() == 1, "{}", lower);
    }

    /// Nothing that a client can send makes the parser panic.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut table = header_table();
        let _ = parse(&bytes, &mut table, [1, 1, 1, 1].into(), DesyncMode::Strictest);
        let mut table = header_table();
        let _ = crate::http::response::parse(&bytes, &mut table, false);
        let mut body = Body::Chunked(Chunked::new());
        let mut data = Vec::new();
        if let Ok(n) = body.take_data(&bytes, &mut data) {
            prop_assert!(n <= bytes.len() && data.len() <= n);
        }
    }
}
