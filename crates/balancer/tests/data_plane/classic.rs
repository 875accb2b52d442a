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

/// An app that starts a session of its own when somebody logs in.
async fn app() -> Target {
    Target::start(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            let extra = match head.contains("/login") {
                true => "Set-Cookie: app=1; Path=/shop; Max-Age=60; Secure; HttpOnly; SameSite=Lax\r\n",
                false => "",
            };
            peer.send(&format!("HTTP/1.1 200 OK\r\n{extra}Content-Length: 0\r\n\r\n")).await;
        }
    })
    .await
}

/// The value that an answer gives `AWSELB`.
fn elb_cookie(answer: &Message) -> Option<&str> {
    let mut lines = answer.head.lines().filter_map(|l| l.strip_prefix("Set-Cookie: AWSELB="));
    lines.next().and_then(|l| l.split(';').next())
}

#[tokio::test]
async fn a_cookie_follows_the_applications() {
    let target = app().await;
    let mut balancer = Balancer::start().await;
    let sticky = |c: &mut BalancerConfig| {
        classic(c, ListenerProtocol::Http, target.address.port());
        listener(c).stickiness = Some(ClassicStickiness::AppCookie { name: "app".into() });
    };
    let address = balancer.serve_with(&[target.address], sticky).await;
    let mut client = Peer::dial(address).await;
    assert_eq!(elb_cookie(&client.get("/").await), None);
    let login = client.get("/login").await;
    let first = elb_cookie(&login).unwrap().to_owned();
    let attributes = ";Path=/shop;Max-Age=60;Secure;HttpOnly";
    for line in [format!("AWSELB={first}{attributes}\r\n"), format!("{first}{attributes};SameSite=None\r\n")]
    {
        assert!(login.head.contains(&line), "{}", login.head);
    }
    let with = |path: &str, cookie: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nCookie: app=1; AWSELB={cookie}\r\n\r\n")
    };
    assert_eq!(elb_cookie(&client.ask(&with("/", &first)).await), None, "who is kept needs no cookie");
    let again = client.ask(&with("/login", &first)).await;
    assert_eq!(elb_cookie(&again), Some(first.as_str()), "but it lasts as long as the application's");

    // Its instance is gone: the session is the next one's from now on.
    balancer.apply(|c| c.target_groups[0].targets[0].id = "second".into()).await;
    let moved = client.ask(&with("/", &first)).await;
    let second = elb_cookie(&moved).unwrap().to_owned();
    assert!(moved.status() == 200 && second != first && moved.head.contains(&format!("{second};PATH=/\r\n")));
    assert_eq!(elb_cookie(&client.ask(&with("/", &second)).await), None);
    // So it is if the instance is still there, but cannot be connected.
    balancer
        .apply(|c| {
            let targets = &mut c.target_groups[0].targets;
            targets.push(TargetConfig { id: "third".into(), ..targets[0].clone() });
            targets[0].address = own_address();
        })
        .await;
    let moved = client.ask(&with("/", &second)).await;
    assert_eq!(moved.status(), 200);
    assert!(elb_cookie(&moved).is_some_and(|third| third != second));
}

#[tokio::test]
async fn a_request_finds_another_target_if_one_cannot_be_connected() {
    let a = Target::echo("a").await;
    let nobody = std::net::SocketAddrV4::new(own_address(), 1);
    let mut balancer = Balancer::start().await;
    let http = |c: &mut BalancerConfig| {
        classic(c, ListenerProtocol::Http, a.address.port());
        listener(c).stickiness = Some(ClassicStickiness::LbCookie { duration_s: None });
    };
    let address = balancer.serve_with(&[a.address, nobody], http).await;
    let mut cookies = Vec::new();
    for _ in 0..4 {
        let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
        let answer = Peer::dial(address).await.ask(post).await;
        assert!(answer.status() == 200 && answer.body.ends_with("hello"), "{answer:?}");
        cookies.push(elb_cookie(&answer).unwrap().to_owned());
    }
    cookies.dedup();
    assert_eq!(cookies.len(), 1, "the cookie names who answered: {cookies:?}");
    let counters = balancer.counters_when(|c| c.request_count == 4).await;
    assert!(counters.target_connection_error_count > 0, "{counters:?}");
    // Nobody is tried twice.
    let before = counters.target_connection_error_count;
    balancer.apply(|c| drop(c.target_groups[0].targets.remove(0))).await;
    assert_eq!(Peer::dial(address).await.get("/").await.status(), 502);
    let counters = balancer.counters_when(|c| c.request_count == 5).await;
    assert_eq!(counters.target_connection_error_count, before + 1);
}

#[tokio::test]
async fn who_is_taken_out_while_being_connected_is_no_failure() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // Accepts nobody, and one waiting connection is all that the kernel takes.
    let full = socket.listen(0).unwrap();
    let std::net::SocketAddr::V4(address_of_full) = full.local_addr().unwrap() else { unreachable!() };
    let _waiting = TcpStream::connect(address_of_full).await.unwrap();
    let mut balancer = Balancer::start().await;
    let tcp = |c: &mut BalancerConfig| classic(c, ListenerProtocol::Tcp, address_of_full.port());
    let address = balancer.serve_with(&[address_of_full], tcp).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    balancer.report_when(|r| target_of(r, "t0").in_flight == 1).await;
    balancer.apply(|c| c.target_groups[0].targets.clear()).await;
    assert_eq!(said(&mut client).await, "");
    let counters = balancer.counters_when(|c| c.active_connection_count == 0).await;
    assert_eq!((counters.request_count, counters.target_connection_error_count), (0, 0));
}

#[tokio::test]
async fn a_new_process_serves_after_the_first_check() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start().await;
    let http = |c: &mut BalancerConfig| {
        classic(c, ListenerProtocol::Http, target.address.port());
        c.target_groups[0].health_check = HealthCheckConfig {
            port: Some(target.address.port()),
            healthy_threshold: 10,
            ..HealthCheckConfig::default()
        };
    };
    let address = balancer.serve_with(&[target.address], http).await;
    balancer.report_when(|r| target_of(r, "t0").state == TargetState::Healthy).await;
    balancer.restart().await;
    balancer.apply(|_| ()).await;
    balancer.report_when(|r| target_of(r, "t0").state == TargetState::Healthy).await;
    assert_eq!(Peer::dial(address).await.get("/").await.status(), 200);
}

#[tokio::test]
async fn checks_and_requests_look_as_from_a_classic_load_balancer() {
    let target = Target::start(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            let is_check = head.contains("User-Agent: ELB-HealthChecker/1.0\r\n");
            let status = if is_check || head.contains("/seen") { 200 } else { 500 };
            peer.send(&format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{head}", head.len())).await;
        }
    })
    .await;
    let mut balancer = Balancer::start().await;
    let http = |c: &mut BalancerConfig| {
        classic(c, ListenerProtocol::Http, target.address.port());
        c.target_groups[0].health_check =
            HealthCheckConfig { port: Some(target.address.port()), ..HealthCheckConfig::default() };
    };
    let address = balancer.serve_with(&[target.address], http).await;
    balancer.report_when(|r| target_of(r, "t0").state == TargetState::Healthy).await;
    let mut client = Peer::dial(address).await;
    let seen = client.get("/seen").await;
    assert!(seen.status() == 200 && seen.body.contains("X-Forwarded-Proto"), "{seen:?}");
    assert!(!seen.body.to_ascii_lowercase().contains("x-amzn-trace-id"), "{seen:?}");
    let own = client.ask("GET /seen HTTP/1.1\r\nHost: x\r\nX-Amzn-Trace-Id: Root=mine\r\n\r\n").await;
    assert!(own.body.contains("X-Amzn-Trace-Id: Root=mine\r\n"), "{own:?}");
}

#[tokio::test]
async fn nodes_that_keep_to_their_zones_do_not_share_turns() {
    let targets =
        [Target::echo("a").await, Target::echo("b").await, Target::echo("c").await, Target::echo("d").await];
    let mut balancer = Balancer::start().await;
    let two_zones = |c: &mut BalancerConfig| {
        c.load_balancers[0].nodes.push(NodeConfig {
            zone: "zone-b".into(),
            address: own_address(),
            deaf: false,
        });
        c.target_groups[0].attributes.cross_zone = false;
        c.target_groups[0].targets[2..].iter_mut().for_each(|t| t.zone = "zone-b".into());
    };
    let address = balancer.serve_with(&targets.each_ref().map(|t| t.address), two_zones).await;
    let other =
        std::net::SocketAddrV4::new(balancer.config.load_balancers[0].nodes[1].address, address.port());
    let (mut here, mut there) = (Peer::dial(address).await, Peer::dial(other).await);
    let mut asked = Vec::new();
    for _ in 0..4 {
        asked.push(here.get("/").await.body[..1].to_owned());
        asked.push(there.get("/").await.body[..1].to_owned());
    }
    asked.sort_unstable();
    assert_eq!(asked.concat(), "aabbccdd");
}

/// A target that sends back each piece at once.
async fn parrot() -> Target {
    Target::start(|_, mut peer| async move {
        let mut piece = [0; 1024];
        while let Ok(n @ 1..) = peer.stream.read(&mut piece).await {
            if peer.stream.write_all(&piece[..n]).await.is_err() {
                return;
            }
        }
    })
    .await
}

async fn is_carried(client: &mut TcpStream) {
    within(client.write_all(b"ping")).await.unwrap();
    let mut back = [0; 4];
    within(client.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"ping");
}

#[tokio::test]
async fn a_connection_outlives_its_listener_but_not_for_ever() {
    for limit in [std::time::Duration::from_secs(3600), std::time::Duration::from_millis(100)] {
        let target = parrot().await;
        let mut balancer = Balancer::start_as(|o| o.finish_limit = limit).await;
        let tcp = |c: &mut BalancerConfig| classic(c, ListenerProtocol::Tcp, target.address.port());
        let address = balancer.serve_with(&[target.address], tcp).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        is_carried(&mut client).await;
        balancer.apply(|c| c.load_balancers[0].listeners.clear()).await;
        if limit.as_secs() > 0 {
            is_carried(&mut client).await;
        } else {
            assert_eq!(said(&mut client).await, "");
            balancer.counters_when(|c| c.active_connection_count == 0).await;
        }
    }
}

#[tokio::test]
async fn a_connection_goes_on_until_the_end_of_draining() {
    let target = parrot().await;
    let mut balancer = Balancer::start().await;
    let tcp = |c: &mut BalancerConfig| classic(c, ListenerProtocol::Tcp, target.address.port());
    let address = balancer.serve_with(&[target.address], tcp).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    is_carried(&mut client).await;
    let drain = |delay_s: u32, draining: bool| {
        move |c: &mut BalancerConfig| {
            c.target_groups[0].attributes.deregistration_delay_s = delay_s;
            c.target_groups[0].targets[0].draining = draining;
        }
    };
    balancer.apply(drain(3600, true)).await;
    is_carried(&mut client).await;
    let mut late = TcpStream::connect(address).await.unwrap();
    assert_eq!(said(&mut late).await, "", "nobody takes new ones");
    balancer.apply(drain(1, false)).await;
    let began = tokio::time::Instant::now();
    balancer.apply(drain(1, true)).await;
    assert_eq!(said(&mut client).await, "");
    assert!(began.elapsed() >= std::time::Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_target_may_finish_first() {
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let target = Target::start(move |_, mut peer| {
        let heard = heard.clone();
        async move {
            peer.send("bye").await;
            peer.stream.shutdown().await.unwrap();
            heard.send(peer.rest().await).unwrap();
        }
    })
    .await;
    let mut balancer = Balancer::start().await;
    let tcp = |c: &mut BalancerConfig| classic(c, ListenerProtocol::Tcp, target.address.port());
    let address = balancer.serve_with(&[target.address], tcp).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    assert_eq!(said(&mut client).await, "bye");
    client.write_all(b"but I go on").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(within(hears.recv()).await.unwrap(), "but I go on");
}

#[tokio::test]
async fn a_slow_reader_gets_all_of_what_no_buffer_holds() {
    const BYTES: usize = 16 << 20;
    let byte = |at: usize| (at / 7 + at / 65_537) as u8;
    let target = Target::start(move |_, mut peer| async move {
        let all: Vec<u8> = (0..BYTES).map(byte).collect();
        peer.stream.write_all(&all).await.unwrap();
    })
    .await;
    let mut balancer = Balancer::start().await;
    let tcp = |c: &mut BalancerConfig| classic(c, ListenerProtocol::Tcp, target.address.port());
    let address = balancer.serve_with(&[target.address], tcp).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(address.into()).await.unwrap();
    let (mut piece, mut n_read) = (vec![0; 8 << 10], 0);
    while let n @ 1.. = within(client.read(&mut piece)).await.unwrap() {
        assert!(piece[..n].iter().enumerate().all(|(i, b)| *b == byte(n_read + i)), "wrong after {n_read}");
        n_read += n;
        tokio::task::yield_now().await;
    }
    assert_eq!(n_read, BYTES);
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
