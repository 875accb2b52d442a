//! Requests on their way: rules, heads, and the choice of a target.

use puffer_balancer::config::*;

use super::harness::*;

#[tokio::test]
async fn a_request_reaches_the_target_with_its_new_head() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    let local = client.stream.local_addr().unwrap().ip();
    let response =
        client.ask("GET /p?q HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nX-A: 1\r\n\r\n").await;
    assert_eq!((response.status(), response.get("connection")), (200, Some("keep-alive")));
    let (name, seen) = response.body.split_once('\n').unwrap();
    let seen = Message { head: seen.to_owned(), body: String::new() };
    assert_eq!((name, seen.start()), ("a", "GET /p?q HTTP/1.1"));
    assert_eq!(seen.get("x-forwarded-for"), Some(local.to_string().as_str()));
    assert_eq!((seen.get("x-forwarded-proto"), seen.get("x-forwarded-port")), (Some("http"), Some("80")));
    assert!(seen.get("x-amzn-trace-id").unwrap().starts_with("Root=1-"));
    assert_eq!((seen.get("host"), seen.get("x-a"), seen.get("connection")), (Some("h"), Some("1"), None));
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    // A second client uses the same connection to the target.
    assert_eq!(Peer::dial(address).await.get("/").await.status(), 200);
    assert_eq!(target.n_connections(), 1);
    let counters = balancer.counters_when(|c| c.request_count == 6).await;
    assert_eq!((counters.http_code_target_2xx, counters.new_connection_count), (6, 3));
}

#[tokio::test]
async fn connections_to_targets_come_from_the_node() {
    let target = Target::start(|_, mut peer| async move {
        let body = peer.stream.peer_addr().unwrap().ip().to_string();
        while peer.head().await.is_some() {
            peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        }
    })
    .await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    assert_eq!(Peer::dial(address).await.get("/").await.body, address.ip().to_string());
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    let one = |i: usize| format!("POST /{i} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nb{i:02}");
    client.send(&(0..20).map(one).collect::<String>()).await;
    for i in 0..20 {
        let response = client.message().await;
        assert!(
            response.body.contains(&format!("POST /{i} ")) && response.body.ends_with(&format!("b{i:02}"))
        );
    }
}

#[tokio::test]
async fn targets_take_turns() {
    let targets = [Target::echo("a").await, Target::echo("b").await];
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[targets[0].address, targets[1].address]).await;
    let mut client = Peer::dial(address).await;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(client.get("/").await.body[..1].to_owned());
    }
    assert!(names == ["a", "b", "a", "b"] || names == ["b", "a", "b", "a"], "{names:?}");
}

#[tokio::test]
async fn the_least_loaded_target_is_chosen() {
    // The first connection of each target never gets an answer.
    let stuck = || {
        Target::start(|n, mut peer| async move {
            while peer.head().await.is_some() {
                if n == 0 {
                    std::future::pending().await
                }
                peer.send("HTTP/1.1 204 x\r\n\r\n").await;
            }
        })
    };
    let targets = [stuck().await, Target::echo("b").await];
    let mut balancer = Balancer::start().await;
    let lor = |c: &mut BalancerConfig| {
        c.target_groups[0].attributes.algorithm = Algorithm::LeastOutstandingRequests
    };
    let address = balancer.serve_with(&[targets[0].address, targets[1].address], lor).await;
    let mut waiting = Peer::dial(address).await;
    waiting.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    balancer
        .report_when(|r| r.targets.iter().map(|t| t.in_flight).sum::<u32>() == 1 || r.targets.is_empty())
        .await;
    let mut client = Peer::dial(address).await;
    for _ in 0..6 {
        let response = client.get("/").await;
        assert!(response.body.starts_with('b'), "{response:?}");
    }
}

#[tokio::test]
async fn rules_choose_by_priority_and_answer_by_themselves() {
    let targets = [Target::echo("a").await, Target::echo("b").await];
    let mut balancer = Balancer::start().await;
    let rule = |conditions, action| RuleConfig {
        arn: "x".into(),
        priority: Some(1),
        conditions,
        actions: vec![action],
    };
    let path = |p: &str| vec![Condition::PathPattern { values: vec![p.into()] }];
    let address = balancer
        .serve_with(&[targets[0].address], |c| {
            c.target_groups.push(group("b", &[targets[1].address]));
            let fixed = FixedResponse {
                status_code: 418,
                content_type: Some("text/plain".into()),
                message_body: "tea".into(),
            };
            let redirect = Redirect {
                protocol: "HTTPS".into(),
                host: "#{host}".into(),
                port: "443".into(),
                path: "/#{path}".into(),
                query: "#{query}".into(),
                status_code: 301,
            };
            let rules = &mut c.load_balancers[0].listeners[0].rules;
            rules.insert(0, rule(path("/tea"), Action::FixedResponse(fixed)));
            rules.insert(1, rule(path("/go/*"), Action::Redirect(redirect)));
            let RuleConfig { actions, .. } = forward_rule(&[("b", 1)]);
            rules.insert(
                2,
                rule(vec![Condition::HostHeader { values: vec!["b.*".into()] }], actions[0].clone()),
            );
        })
        .await;
    let mut client = Peer::dial(address).await;
    let tea = client.get("/tea").await;
    assert_eq!((tea.status(), tea.body.as_str(), tea.get("server")), (418, "tea", Some("awselb/2.0")));
    let go = client.get("/go/x?y=1").await;
    assert_eq!((go.status(), go.get("location")), (301, Some("https://x/go/x?y=1")));
    assert!(client.ask("GET / HTTP/1.1\r\nHost: B.org:80\r\n\r\n").await.body.starts_with('b'));
    assert!(client.get("/").await.body.starts_with('a'));
    let counters = balancer.counters_when(|c| c.request_count == 2).await;
    assert_eq!((counters.http_fixed_response_count, counters.http_redirect_count), (1, 1));
    assert_eq!((counters.http_code_elb_3xx, counters.http_code_elb_4xx), (1, 1));
}

#[tokio::test]
async fn weights_share_requests_among_groups() {
    let targets = [Target::echo("a").await, Target::echo("b").await];
    let mut balancer = Balancer::start().await;
    let address = balancer
        .serve_with(&[targets[0].address], |c| {
            c.target_groups.push(group("b", &[targets[1].address]));
            c.load_balancers[0].listeners[0].rules = vec![forward_rule(&[("g", 1), ("b", 3)])];
        })
        .await;
    let mut client = Peer::dial(address).await;
    let mut n_b = 0;
    for _ in 0..400 {
        n_b += u32::from(client.get("/").await.body.starts_with('b'));
    }
    assert!((240..360).contains(&n_b), "{n_b} of 400");
    let report = balancer.report_when(|r| counters_of(r, None, None).request_count == 400).await;
    assert_eq!(counters_of(&report, Some("b"), Some("zone-a")).request_count, u64::from(n_b));
    assert_eq!(counters_of(&report, Some("g"), None).http_code_target_2xx, u64::from(400 - n_b));
}

#[tokio::test]
async fn a_cookie_keeps_a_client_on_its_target() {
    let targets = [Target::echo("a").await, Target::echo("b").await];
    let mut balancer = Balancer::start().await;
    let sticky = |c: &mut BalancerConfig| {
        c.target_groups[0].attributes.stickiness = StickinessConfig { enabled: true, duration_s: 60 };
    };
    let address = balancer.serve_with(&[targets[0].address, targets[1].address], sticky).await;
    let mut client = Peer::dial(address).await;
    let first = client.get("/").await;
    let cookie = first.get("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("AWSALB="), "{cookie}");
    for _ in 0..5 {
        let next = client.ask(&format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n")).await;
        assert_eq!(next.body[..1], first.body[..1]);
    }
    // The target leaves: the next one gets a cookie of its own.
    let leaving = usize::from(first.body.starts_with('b'));
    balancer.apply(|c| drop(c.target_groups[0].targets.remove(leaving))).await;
    let next = client.ask(&format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n")).await;
    assert_ne!(next.body[..1], first.body[..1]);
    assert!(!next.head.contains(&cookie));
}

#[tokio::test]
async fn several_workers_serve_the_same_address() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start_with(3).await;
    let address = balancer.serve(&[target.address]).await;
    for _ in 0..40 {
        assert_eq!(Peer::dial(address).await.get("/").await.status(), 200);
    }
    balancer.counters_when(|c| c.request_count == 40 && c.http_code_target_2xx == 40).await;
}
