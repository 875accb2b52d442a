//! Changes while traffic flows.

use std::time::Duration;

use puffer_balancer::config::*;
use puffer_core::elb::TargetState;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::harness::*;

/// A target that answers each request when it is told to, and says when it has one.
async fn on_demand() -> (Target, tokio::sync::mpsc::UnboundedReceiver<UnboundedSender<&'static str>>) {
    let (arrived, arrivals) = unbounded_channel();
    let target = Target::start(move |_, mut peer| {
        let arrived = arrived.clone();
        async move {
            while peer.head().await.is_some() {
                let (answer, mut answers) = unbounded_channel::<&'static str>();
                arrived.send(answer).unwrap();
                let Some(body) = answers.recv().await else { return };
                peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
            }
        }
    })
    .await;
    (target, arrivals)
}

#[tokio::test]
async fn listeners_come_and_go_without_disturbing_others() {
    let (target, mut arrivals) = on_demand().await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut kept = Peer::dial(address).await;
    kept.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = within(arrivals.recv()).await.unwrap();
    let other = std::net::SocketAddrV4::new(*address.ip(), 8081);
    let second = |c: &mut BalancerConfig| {
        let listeners = &mut c.load_balancers[0].listeners;
        let fixed = FixedResponse { status_code: 200, content_type: None, message_body: "second".into() };
        let actions = vec![Action::FixedResponse(fixed)];
        let rule = RuleConfig { arn: "r2".into(), priority: None, conditions: vec![], actions };
        listeners.push(ListenerConfig {
            arn: "l2".into(),
            bind_port: 8081,
            rules: vec![rule],
            ..listeners[0].clone()
        });
    };
    for _ in 0..3 {
        balancer.apply(second).await;
        let mut client = Peer::dial(other).await;
        assert_eq!(client.get("/").await.body, "second");
        balancer.apply(|c| drop(c.load_balancers[0].listeners.pop())).await;
        // An idle connection of a listener that went is closed; new ones are refused.
        assert_eq!(client.rest().await, "");
        assert!(tokio::net::TcpStream::connect(other).await.is_err());
    }
    answer.send("done").unwrap();
    assert_eq!(kept.message().await.body, "done");
}

#[tokio::test]
async fn a_removed_listener_finishes_what_is_under_way() {
    let (target, mut arrivals) = on_demand().await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = within(arrivals.recv()).await.unwrap();
    balancer.apply(|c| c.load_balancers.clear()).await;
    answer.send("done").unwrap();
    let response = client.message().await;
    assert_eq!((response.body.as_str(), response.get("connection")), ("done", Some("close")));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn new_rules_hold_for_the_next_request_of_a_kept_connection() {
    let targets = [Target::echo("a").await, Target::echo("b").await];
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[targets[0].address]).await;
    let mut client = Peer::dial(address).await;
    assert!(client.get("/").await.body.starts_with('a'));
    balancer
        .apply(|c| {
            c.target_groups.push(group("b", &[targets[1].address]));
            c.load_balancers[0].listeners[0].rules = vec![forward_rule(&[("b", 1)])];
        })
        .await;
    assert!(client.get("/").await.body.starts_with('b'));
}

#[tokio::test]
async fn a_draining_target_finishes_and_takes_nothing_new() {
    let (slow, mut arrivals) = on_demand().await;
    let other = Target::echo("b").await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[slow.address]).await;
    let mut client = Peer::dial(address).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = within(arrivals.recv()).await.unwrap();
    balancer
        .apply(|c| {
            let mut targets = group("g", &[slow.address, other.address]).targets;
            targets[0].draining = true;
            c.target_groups[0].targets = targets;
        })
        .await;
    let report = balancer.client.report().await.unwrap();
    let leaving = target_of(&report, "t0");
    assert_eq!((leaving.state, leaving.in_flight), (TargetState::Draining, 1));
    assert_eq!(leaving.reason.unwrap().code(), "Target.DeregistrationInProgress");
    for _ in 0..4 {
        assert!(Peer::dial(address).await.get("/").await.body.starts_with('b'));
    }
    let waiting = balancer.client.wait_change(report.change, Duration::from_secs(9));
    answer.send("done").unwrap();
    assert!(within(waiting).await.unwrap() > report.change);
    assert_eq!(target_of(&balancer.client.report().await.unwrap(), "t0").in_flight, 0);
    assert_eq!(client.message().await.body, "done");
    // The client's own connection goes on, with another target.
    assert!(client.get("/").await.body.starts_with('b'));
    balancer.apply(|c| drop(c.target_groups[0].targets.remove(0))).await;
    assert_eq!(balancer.client.report().await.unwrap().targets.len(), 1);
}

#[tokio::test]
async fn the_end_of_the_delay_cuts_what_is_left() {
    let (slow, mut arrivals) = on_demand().await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[slow.address]).await;
    let mut client = Peer::dial(address).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let _answer = within(arrivals.recv()).await.unwrap();
    balancer
        .apply(|c| {
            c.target_groups[0].attributes.deregistration_delay_s = 0;
            c.target_groups[0].targets[0].draining = true;
        })
        .await;
    assert_eq!(client.message().await.status(), 502);
    balancer.report_when(|r| r.targets[0].in_flight == 0).await;
    assert_eq!(client.get("/").await.status(), 503);
}

#[tokio::test]
async fn a_target_that_is_taken_out_is_cut() {
    let (slow, mut arrivals) = on_demand().await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[slow.address]).await;
    let mut client = Peer::dial(address).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let _answer = within(arrivals.recv()).await.unwrap();
    balancer.apply(|c| c.target_groups[0].targets.clear()).await;
    assert_eq!(client.message().await.status(), 502);
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_under_way() {
    let (target, mut arrivals) = on_demand().await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut idle = Peer::dial(address).await;
    let mut client = Peer::dial(address).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = within(arrivals.recv()).await.unwrap();
    let stopping = tokio::spawn(async move {
        balancer.stop(Duration::from_secs(9)).await;
        balancer
    });
    assert_eq!(idle.rest().await, "");
    answer.send("done").unwrap();
    assert_eq!(client.message().await.body, "done");
    assert!(!within(stopping).await.unwrap().socket().exists());
}
