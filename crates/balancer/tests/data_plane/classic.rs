//! Classic load balancers: listeners of bytes, ports by listener, stickiness of their own, no failing open.

use puffer_balancer::config::*;
use puffer_core::elb::TargetState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::*;

/// Turns the harness's balancer into a classic one.
fn classic(config: &mut BalancerConfig, protocol: ListenerProtocol, target_port: u16) {
    let lb = &mut config.load_balancers[0];
    lb.kind = LoadBalancerKind::Classic;
    lb.listeners[0].protocol = protocol;
    lb.listeners[0].classic =
        Some(ClassicListenerConfig { target_port, stickiness: None, proxy_protocol: false });
    let group = &mut config.target_groups[0];
    (lb.arn, group.arn) = ("lb".into(), "lb".into());
    lb.listeners[0].rules = vec![forward_rule(&[("lb", 1)])];
    group.targets.iter_mut().for_each(|t| t.port = 0);
    group.attributes.algorithm = Algorithm::LeastOutstandingRequests;
    group.attributes.fail_open = false;
}

fn listener(config: &mut BalancerConfig) -> &mut ClassicListenerConfig {
    config.load_balancers[0].listeners[0].classic.as_mut().unwrap()
}

/// A target that sends back all that it gets, with its name before it, once the client has finished.
async fn echo_at_the_end(name: &'static str) -> Target {
    Target::start(move |_, mut peer| async move {
        let mut got = Vec::new();
        if peer.stream.read_to_end(&mut got).await.is_ok() {
            let _ = peer.stream.write_all(&[name.as_bytes(), b":", &got].concat()).await;
        }
    })
    .await
}

async fn said(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    within(stream.read_to_string(&mut text)).await.unwrap();
    text
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_side_may_finish_first() {
    let target = echo_at_the_end("a").await;
    let mut balancer = Balancer::start().await;
    let tcp = |c: &mut BalancerConfig| classic(c, ListenerProtocol::Tcp, target.address.port());
    let address = balancer.serve_with(&[target.address], tcp).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"\0not HTTP\xff").await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = Vec::new();
    within(client.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"a:\0not HTTP\xff");
    let counters = balancer.counters_when(|c| c.processed_bytes > 0).await;
    assert_eq!((counters.request_count, counters.processed_bytes), (1, 22));
    balancer.counters_when(|c| c.active_connection_count == 0).await;
}

#[tokio::test]
async fn connections_take_turns_and_a_dead_target_is_passed_over() {
    let a = echo_at_the_end("a").await;
    let nobody = std::net::SocketAddrV4::new(own_address(), 1);
    let mut balancer = Balancer::start().await;
    // Nobody listens on the same port of the other one's address.
    let tcp = |c: &mut BalancerConfig| classic(c, ListenerProtocol::Tcp, a.address.port());
    let address = balancer.serve_with(&[a.address, nobody], tcp).await;
    for _ in 0..4 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(said(&mut client).await, "a:");
    }
    let counters = balancer.counters_when(|c| c.request_count == 4).await;
    assert!(counters.target_connection_error_count > 0, "{counters:?}");
    // Without any target a connection is closed.
    balancer.apply(|c| c.target_groups[0].targets.clear()).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    assert_eq!(said(&mut client).await, "");
}

#[tokio::test]
async fn silence_ends_a_connection_and_so_does_the_end_of_draining() {
    let target = echo_at_the_end("a").await;
    let mut balancer = Balancer::start().await;
    let tcp = |c: &mut BalancerConfig| {
        classic(c, ListenerProtocol::Tcp, target.address.port());
        c.load_balancers[0].attributes.idle_timeout_s = 1;
    };
    let address = balancer.serve_with(&[target.address], tcp).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    assert_eq!(said(&mut client).await, "", "closed after a second of silence");

    balancer.apply(|c| c.load_balancers[0].attributes.idle_timeout_s = 60).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    balancer.report_when(|r| target_of(r, "t0").in_flight == 1).await;
    balancer
        .apply(|c| {
            c.target_groups[0].attributes.deregistration_delay_s = 0;
            c.target_groups[0].targets[0].draining = true;
        })
        .await;
    assert_eq!(said(&mut client).await, "");
    balancer.report_when(|r| target_of(r, "t0").in_flight == 0).await;
}

#[tokio::test]
async fn the_proxy_protocol_tells_who_calls() {
    let target = echo_at_the_end("a").await;
    let mut balancer = Balancer::start().await;
    let tcp = |c: &mut BalancerConfig| {
        classic(c, ListenerProtocol::Tcp, target.address.port());
        listener(c).proxy_protocol = true;
    };
    let address = balancer.serve_with(&[target.address], tcp).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let port = client.local_addr().unwrap().port();
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    let want = format!("a:PROXY TCP4 127.0.0.1 {} {port} 80\r\nhello", address.ip());
    assert_eq!(said(&mut client).await, want);
}

#[tokio::test]
async fn requests_go_to_the_port_of_the_listener_and_never_to_the_unhealthy() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start().await;
    let http = |c: &mut BalancerConfig| {
        classic(c, ListenerProtocol::Http, target.address.port());
        c.target_groups[0].health_check = HealthCheckConfig {
            protocol: HealthCheckProtocol::Tcp,
            port: Some(target.address.port()),
            interval_ms: 50,
            first_threshold: 3,
            unhealthy_threshold: 2,
            ..HealthCheckConfig::default()
        };
    };
    let address = balancer.serve_with(&[target.address], http).await;
    balancer.report_when(|r| target_of(r, "t0").state == TargetState::Healthy).await;
    assert_eq!(Peer::dial(address).await.get("/").await.status(), 200);
    // The check now asks where nobody is; the target itself would still answer.
    balancer.apply(|c| c.target_groups[0].health_check.port = Some(1)).await;
    balancer.report_when(|r| target_of(r, "t0").state == TargetState::Unhealthy).await;
    assert_eq!(Peer::dial(address).await.get("/").await.status(), 503);
}

#[tokio::test]
async fn a_node_keeps_to_its_zone_unless_told_otherwise() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start().await;
    let elsewhere = |c: &mut BalancerConfig| {
        classic(c, ListenerProtocol::Http, target.address.port());
        let lb = &mut c.load_balancers[0];
        lb.nodes.push(NodeConfig { zone: "zone-b".into(), address: own_address(), deaf: false });
        c.target_groups[0].attributes.cross_zone = false;
        c.target_groups[0].targets[0].zone = "zone-b".into();
    };
    let address = balancer.serve_with(&[target.address], elsewhere).await;
    let other =
        std::net::SocketAddrV4::new(balancer.config.load_balancers[0].nodes[1].address, address.port());
    assert_eq!(Peer::dial(address).await.get("/").await.status(), 503);
    assert_eq!(Peer::dial(other).await.get("/").await.status(), 200);
    balancer.apply(|c| c.target_groups[0].attributes.cross_zone = true).await;
    assert_eq!(Peer::dial(address).await.get("/").await.status(), 200);
}

#[tokio::test]
async fn the_cookie_of_a_listener_is_set_once() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start().await;
    let sticky = |c: &mut BalancerConfig| {
        classic(c, ListenerProtocol::Http, target.address.port());
        listener(c).stickiness = Some(ClassicStickiness::LbCookie { duration_s: Some(60) });
    };
    let address = balancer.serve_with(&[target.address], sticky).await;
    let mut client = Peer::dial(address).await;
    let first = client.get("/").await;
    let cookie = first.get("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("AWSELB="), "{cookie}");
    assert!(first.get("set-cookie").unwrap().contains("EXPIRES="));
    let next = client.ask(&format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n")).await;
    assert_eq!((next.status(), next.get("set-cookie")), (200, None), "its end is not put off");
}

#[tokio::test]
async fn a_cookie_follows_the_applications() {
    let target = Target::start(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            let extra = if head.contains("/login") { "Set-Cookie: app=1; Path=/\r\n" } else { "" };
            peer.send(&format!("HTTP/1.1 200 OK\r\n{extra}Content-Length: 0\r\n\r\n")).await;
        }
    })
    .await;
    let mut balancer = Balancer::start().await;
    let sticky = |c: &mut BalancerConfig| {
        classic(c, ListenerProtocol::Http, target.address.port());
        listener(c).stickiness = Some(ClassicStickiness::AppCookie { name: "app".into() });
    };
    let address = balancer.serve_with(&[target.address], sticky).await;
    let mut client = Peer::dial(address).await;
    assert!(!client.get("/").await.head.contains("AWSELB"));
    let login = client.get("/login").await;
    assert!(login.head.contains("Set-Cookie: app=1") && login.head.contains("Set-Cookie: AWSELB="));
}

#[tokio::test]
async fn a_listener_of_bytes_cannot_answer_itself() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start().await;
    let tcp = |c: &mut BalancerConfig| classic(c, ListenerProtocol::Tcp, target.address.port());
    balancer.serve_with(&[target.address], tcp).await;
    let mut config = balancer.config.clone();
    config.generation += 1;
    config.load_balancers[0].listeners[0].rules[0].actions = vec![Action::FixedResponse(FixedResponse {
        status_code: 200,
        content_type: None,
        message_body: String::new(),
    })];
    let refused = within(balancer.client.apply(&config)).await;
    assert!(refused.is_err_and(|e| e.to_string().contains("HTTP")));
}
