//! Where messages end, whoever says so.

use super::harness::*;

#[tokio::test]
async fn responses_without_a_body_leave_the_connection_in_step() {
    let target = Target::start(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            let response = match head.split(' ').nth(1).unwrap() {
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
                "/304" => "HTTP/1.1 304 x\r\nContent-Length: 99\r\n\r\n",
                "/204" => "HTTP/1.1 204 x\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            };
            peer.send(response).await;
        }
    })
    .await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    client.send("HEAD /head HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.try_message(true).await.unwrap().get("content-length"), Some("99"));
    assert_eq!(client.get("/304").await.status(), 304);
    assert_eq!(client.get("/204").await.status(), 204);
    assert_eq!(client.get("/").await.body, "ok");
    assert_eq!(target.n_connections(), 1);
}

#[tokio::test]
async fn chunked_bodies_pass_both_ways() {
    let target = Target::start(|_, mut peer| async move {
        while let Some(request) = peer.try_message(false).await {
            assert_eq!(request.get("transfer-encoding"), Some("chunked"));
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n").await;
            peer.send(&request.body).await;
        }
    })
    .await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel").await;
        client.send("lo\r\n3;x=y\r\nabc\r\n").await;
        let response = client.ask("0\r\n\r\n").await;
        assert_eq!(response.body, "5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\n\r\n");
    }
    assert_eq!(target.n_connections(), 1);
}

#[tokio::test]
async fn big_bodies_pass_both_ways() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let client = Peer::dial(address).await;
    let body = format!("{}END", "0123456789abcdef".repeat(1 << 16));
    let request = format!("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (mut reads, mut writes) = client.stream.into_split();
    let sending = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut writes, request.as_bytes()).await.unwrap();
        writes
    });
    let mut got = Vec::new();
    within(async {
        while !got.ends_with(b"END") {
            assert!(tokio::io::AsyncReadExt::read_buf(&mut reads, &mut got).await.unwrap() > 0);
        }
    })
    .await;
    within(sending).await.unwrap();
    assert!(String::from_utf8(got).unwrap().ends_with(&body));
}

#[tokio::test]
async fn an_unframed_response_ends_with_the_connection() {
    let target = Target::says("HTTP/1.0 200 OK\r\n\r\nhello").await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    for _ in 0..2 {
        let response = client.get("/").await;
        assert_eq!(
            (response.get("transfer-encoding"), response.body.as_str()),
            (Some("chunked"), "5\r\nhello\r\n0\r\n\r\n")
        );
    }
    let old = Peer::dial(address).await.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!((old.get("connection"), old.body.as_str()), (Some("close"), "hello"));
}

#[tokio::test]
async fn old_clients_get_no_chunks() {
    let target =
        Target::says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            .await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let old = Peer::dial(address).await.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!((old.get("transfer-encoding"), old.body.as_str()), (None, "abcde"));
    let target = Target::echo("a").await;
    balancer.apply(|c| c.target_groups = vec![group("g", &[target.address])]).await;
    let mut client = Peer::dial(address).await;
    for _ in 0..2 {
        let response = client.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        assert_eq!(response.get("connection"), Some("keep-alive"));
    }
}

#[tokio::test]
async fn doubtful_requests_never_reach_a_target() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let post = |lines: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        )
    };
    let many = vec!["1.1.1.1"; 31].join(", ");
    let cases = [
        (post("Content-Length: 4\r\nTransfer-Encoding: chunked"), 400),
        (post("Content-Length: 4\r\nContent-Length: 5"), 400),
        (post("Transfer-Encoding: chunked\r\n folded: x"), 400),
        (post("Transfer-Encoding: chunked, identity"), 501),
        (post("Transfer-Encoding : chunked"), 400),
        (post(&format!("X-Forwarded-For: {many}")), 463),
        (post(&format!("X: {}", "x".repeat(17 << 10))), 400),
        (post(&(0..5).map(|i| format!("X{i}: {}\r\n", "x".repeat(15 << 10))).collect::<String>()), 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n".into(), 400),
    ];
    for (request, status) in &cases {
        let mut client = Peer::dial(address).await;
        // The balancer may close before it has read all of it.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, request.as_bytes()).await;
        let response = client.message().await;
        assert_eq!(
            (response.status(), response.get("connection")),
            (*status, Some("close")),
            "{request:.99}"
        );
        assert_eq!(client.rest().await, "", "{request:.99}");
    }
    assert_eq!(target.n_connections(), 0);
    balancer
        .counters_when(|c| c.http_code_elb_4xx == cases.len() as u64 - 1 && c.http_code_elb_5xx == 1)
        .await;
}

#[tokio::test]
async fn a_bad_chunk_in_the_middle_ends_the_request() {
    let target =
        Target::start(|_, mut peer| async move { assert_eq!(peer.rest().await.matches("abc").count(), 1) })
            .await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    balancer.report_when(|r| r.targets[0].in_flight == 1).await;
    assert_eq!(client.ask("zz\r\n").await.status(), 400);
    assert_eq!(client.rest().await, "");
    balancer.report_when(|r| r.targets[0].in_flight == 0).await;
}

#[tokio::test]
async fn a_client_may_wait_for_continue() {
    let target = Target::start(|_, mut peer| async move {
        let head = peer.head().await.unwrap();
        assert!(head.contains("Expect: 100-continue\r\n"));
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = peer.exactly(4).await;
        peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{body}")).await;
    })
    .await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    let interim =
        client.ask("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(interim.status(), 100);
    let response = client.ask("body").await;
    assert_eq!((response.status(), response.body.as_str()), (200, "body"));
}

#[tokio::test]
async fn a_target_may_answer_before_the_request_is_over() {
    let target = Target::start(|_, mut peer| async move {
        peer.head().await.unwrap();
        peer.send("HTTP/1.1 413 x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig").await;
    })
    .await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    let response = client.ask("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\npart").await;
    assert_eq!(
        (response.status(), response.get("connection"), response.body.as_str()),
        (413, Some("close"), "big")
    );
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn both_ways_may_stream_at_once() {
    let target = Target::start(|_, mut peer| async move {
        peer.head().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        while let Some(line) = peer.until("\r\n").await {
            peer.send(&line).await;
        }
    })
    .await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 200 "));
    for part in ["3\r\nabc\r\n", "1\r\nx\r\n", "0\r\n\r\n"] {
        client.send(part).await;
        assert_eq!(client.exactly(part.len()).await, part);
    }
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let target = Target::start(|_, mut peer| async move {
        let head = peer.head().await.unwrap();
        assert!(head.contains("Connection: Upgrade\r\nUpgrade: websocket\r\n"), "{head}");
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi")
            .await;
        while let Some(line) = peer.until("\n").await {
            peer.send(&line).await;
        }
        peer.send("bye").await;
    })
    .await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    client
        .send("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\none\n")
        .await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("Upgrade: websocket\r\n"), "{head}");
    assert_eq!(client.exactly(6).await, "hione\n");
    client.send("two\n").await;
    assert_eq!(client.exactly(4).await, "two\n");
    // A closed sending side is passed on, and the other side may still speak.
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
    assert_eq!(client.rest().await, "bye");
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_a_fault() {
    let target =
        Target::says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    assert_eq!(Peer::dial(address).await.get("/").await.status(), 502);
}
