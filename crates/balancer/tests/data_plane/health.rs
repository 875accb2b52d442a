//! Health checks and what follows from them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use puffer_balancer::config::*;
use puffer_core::elb::TargetState;

use super::harness::*;

/// A target whose checks get the status that is set; other requests get 200 and its name.
async fn checked(name: &'static str, status: Arc<AtomicU16>) -> Target {
    Target::start(move |_, mut peer| {
        let status = status.clone();
        async move {
            while let Some(head) = peer.head().await {
                let message = Message { head, body: String::new() };
                if message.start() != "GET /up HTTP/1.1" {
                    peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}")).await;
                    continue;
                }
                assert_eq!(message.get("user-agent"), Some("ELB-HealthChecker/2.0"));
                assert_eq!(message.get("host"), Some(peer.stream.local_addr().unwrap().to_string().as_str()));
                peer.send(&format!(
                    "HTTP/1.1 {} x\r\nContent-Length: 0\r\n\r\n",
                    status.load(Ordering::SeqCst)
                ))
                .await;
            }
        }
    })
    .await
}

fn quick(config: &mut BalancerConfig) {
    config.target_groups[0].health_check = HealthCheckConfig {
        path: "/up".into(),
        matcher: "200-299".into(),
        interval_ms: 50,
        timeout_ms: 2_000,
        healthy_threshold: 2,
        unhealthy_threshold: 2,
        ..HealthCheckConfig::default()
    };
}

#[tokio::test]
async fn a_target_becomes_healthy_unhealthy_and_healthy_again() {
    let status = Arc::new(AtomicU16::new(204));
    let target = checked("a", status.clone()).await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve_with(&[target.address], quick).await;
    let state = |wanted: TargetState| balancer.report_when(move |r| target_of(r, "t0").state == wanted);
    let report = state(TargetState::Healthy).await;
    assert_eq!(target_of(&report, "t0").reason, None);
    assert_eq!(
        report.hosts.iter().map(|h| (h.scope.zone.as_deref(), h.healthy)).collect::<Vec<_>>(),
        [(Some("zone-a"), 1), (None, 1)]
    );
    status.store(500, Ordering::SeqCst);
    let report = state(TargetState::Unhealthy).await;
    let reason = target_of(&report, "t0").reason.unwrap();
    assert_eq!(
        (reason.code(), reason.description().as_str()),
        ("Target.ResponseCodeMismatch", "Health checks failed with these codes: [500]")
    );
    assert_eq!(report.hosts.iter().map(|h| h.unhealthy).collect::<Vec<_>>(), [1, 1]);
    // Nobody is healthy, so everybody serves.
    assert_eq!(Peer::dial(address).await.get("/").await.body, "a");
    status.store(200, Ordering::SeqCst);
    state(TargetState::Healthy).await;
}

#[tokio::test]
async fn a_new_target_serves_soon_after_its_app_is_up_and_is_not_judged_by_the_questions_between() {
    /// More failures than make a target unhealthy.
    const FAILURES: u16 = 4;
    let asked = Arc::new(AtomicU16::new(0));
    let target = Target::start({
        let asked = asked.clone();
        move |_, mut peer| {
            let asked = asked.clone();
            async move {
                while peer.head().await.is_some() {
                    let up = asked.fetch_add(1, Ordering::SeqCst) >= FAILURES;
                    let status = if up { 200 } else { 503 };
                    peer.send(&format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n")).await;
                }
            }
        }
    })
    .await;
    let mut balancer = Balancer::start().await;
    let rarely = |c: &mut BalancerConfig| {
        quick(c);
        c.target_groups[0].health_check.interval_ms = 300_000;
    };
    balancer.serve_with(&[target.address], rarely).await;
    let report = balancer.report_when(|r| target_of(r, "t0").state != TargetState::Initial).await;
    assert_eq!(target_of(&report, "t0").state, TargetState::Healthy);
    assert_eq!(asked.load(Ordering::SeqCst), FAILURES + 1);
}

#[tokio::test]
async fn an_unhealthy_target_gets_nothing_while_another_is_healthy() {
    let bad = Arc::new(AtomicU16::new(500));
    let targets = [checked("a", bad.clone()).await, checked("b", Arc::new(AtomicU16::new(200))).await];
    let mut balancer = Balancer::start().await;
    let address = balancer.serve_with(&[targets[0].address, targets[1].address], quick).await;
    let states = |r: &puffer_balancer::Report| (target_of(r, "t0").state, target_of(r, "t1").state);
    balancer.report_when(|r| states(r) == (TargetState::Unhealthy, TargetState::Healthy)).await;
    let mut client = Peer::dial(address).await;
    for _ in 0..6 {
        assert_eq!(client.get("/").await.body, "b");
    }
}

#[tokio::test]
async fn a_target_that_refuses_fails_its_checks() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let std::net::SocketAddr::V4(nobody) = closed.local_addr().unwrap() else { unreachable!() };
    drop(closed);
    for protocol in [HealthCheckProtocol::Http, HealthCheckProtocol::Tcp] {
        let mut balancer = Balancer::start().await;
        let check = |c: &mut BalancerConfig| {
            quick(c);
            c.target_groups[0].health_check.protocol = protocol;
        };
        balancer.serve_with(&[nobody], check).await;
        let report = balancer.report_when(|r| target_of(r, "t0").state == TargetState::Unhealthy).await;
        assert_eq!(target_of(&report, "t0").reason.unwrap().code(), "Target.FailedHealthChecks");
    }
}

#[tokio::test]
async fn a_silent_target_times_out() {
    let target = Target::start(|_, mut peer| async move { drop(peer.rest().await) }).await;
    let mut balancer = Balancer::start().await;
    let check = |c: &mut BalancerConfig| {
        quick(c);
        c.target_groups[0].health_check.timeout_ms = 50;
    };
    balancer.serve_with(&[target.address], check).await;
    let report = balancer.report_when(|r| target_of(r, "t0").state == TargetState::Unhealthy).await;
    assert_eq!(target_of(&report, "t0").reason.unwrap().code(), "Target.Timeout");
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp_checks() {
    let target = Target::start(|_, mut peer| async move { drop(peer.rest().await) }).await;
    let mut balancer = Balancer::start().await;
    let check = |c: &mut BalancerConfig| {
        quick(c);
        c.target_groups[0].health_check.protocol = HealthCheckProtocol::Tcp;
    };
    balancer.serve_with(&[target.address], check).await;
    balancer.report_when(|r| target_of(r, "t0").state == TargetState::Healthy).await;
}

#[tokio::test]
async fn targets_that_nobody_uses_are_unused() {
    let target = checked("a", Arc::new(AtomicU16::new(200))).await;
    let mut balancer = Balancer::start().await;
    balancer
        .serve_with(&[target.address], |c| {
            quick(c);
            c.target_groups.push(TargetGroupConfig { arn: "idle".into(), ..c.target_groups[0].clone() });
            c.target_groups[1].targets[0].id = "nobody".into();
            let targets = &mut c.target_groups[0].targets;
            targets.push(TargetConfig { id: "afar".into(), zone: "zone-z".into(), ..targets[0].clone() });
        })
        .await;
    let report = balancer.report_when(|r| target_of(r, "t0").state == TargetState::Healthy).await;
    for id in ["nobody", "afar"] {
        let unused = target_of(&report, id);
        assert_eq!((unused.state, unused.reason.unwrap().code()), (TargetState::Unused, "Target.NotInUse"));
    }
}
