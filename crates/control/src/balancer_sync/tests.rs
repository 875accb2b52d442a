use std::net::SocketAddrV4;

use puffer_balancer::{BindError, Counters, Histogram, Scope, ScopeCounters};

use super::*;
use crate::elb_fixtures::{FakePlane, LB, NOW, World, hold};

fn sync(w: &World) -> BalancerSync<FakePlane> {
    let low = |port: u16| if port < 1024 { port + 8000 } else { port };
    BalancerSync::new(
        w.store.clone(),
        Arc::clone(&w.plane),
        w.clock.clone(),
        PortPolicy::by(low),
        Arc::clone(&w.lost),
    )
}

fn state(w: &World) -> (LoadBalancerState, Option<String>) {
    let balancer = w.store.get::<LoadBalancer>(LB).unwrap();
    (balancer.state, balancer.state_reason.clone())
}

#[tokio::test]
async fn the_snapshot_says_everything() {
    let w = World::new();
    w.with_balancer().await;
    w.edit(|tx| {
        tx.update::<LoadBalancer>(LB, |b| {
            b.attributes.insert("idle_timeout.timeout_seconds".into(), "5".into());
        });
        tx.update::<TargetGroup>(crate::elb_fixtures::TG, |g| {
            g.tags.insert("puffer:health-check-period".into(), "1".into());
        });
    })
    .await;
    let config = w.store.read(|r| snapshot(r, PortPolicy::by(|p| p + 1)));
    let lb = &config.load_balancers[0];
    assert_eq!(lb.attributes.idle_timeout_s, 5);
    assert_eq!((lb.listeners[0].port, lb.listeners[0].bind_port), (80, 81));
    let order: Vec<_> = lb.listeners[0].rules.iter().map(|r| r.priority).collect();
    assert_eq!(order, [Some(3), Some(20), None], "the default rule is tried last");
    let group = &config.target_groups[0];
    assert_eq!(group.health_check.interval_ms, 1000, "the tag goes below AWS's shortest interval");
    assert_eq!(group.targets[0].port, 80, "addresses outside of Puffer mean the port they say");
    assert!(lb.nodes.iter().all(|n| !n.deaf));
    let zone = lb.nodes[0].zone.clone();
    w.edit(|tx| tx.put(ZoneCondition { zone: zone.clone(), down_since: NOW })).await;
    let config = w.store.read(|r| snapshot(r, PortPolicy::by(|p| p + 1)));
    assert!(config.load_balancers[0].nodes.iter().all(|n| n.deaf == (n.zone == zone)));
}

#[tokio::test]
async fn a_classic_load_balancer_is_one_target_group_that_listeners_ask_on_their_ports() {
    use puffer_balancer::config::{
        ClassicStickiness, HealthCheckProtocol, ListenerProtocol, LoadBalancerKind,
    };
    use puffer_core::elb::classic::{
        CheckTarget, ClassicHealthCheck, ClassicListener, Policy, PolicyKind, Protocol, WHOLE_INSTANCE,
    };
    let w = World::new();
    let like = crate::elb_fixtures::balancer();
    let arn = "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/old";
    let listener =
        |port, protocol, instance_port, policies| ClassicListener { port, protocol, instance_port, policies };
    let classic = ClassicLoadBalancer {
        name: "old".into(),
        arn: arn.into(),
        dns_name: like.dns_name,
        scheme: like.scheme,
        vpc_id: like.vpc_id,
        nodes: like.nodes,
        security_groups: Vec::new(),
        listeners: vec![
            listener(80, Protocol::Http, 8080, vec!["sticky".into()]),
            listener(25, Protocol::Tcp, 2525, Vec::new()),
        ],
        health_check: ClassicHealthCheck {
            target: CheckTarget::Http { port: 81, path: "/up".into() },
            ..ClassicHealthCheck::of_new(80)
        },
        attributes: Default::default(),
        policies: vec![
            Policy { name: "sticky".into(), kind: PolicyKind::LbCookie { expiration_s: Some(9) } },
            Policy { name: "proxy".into(), kind: PolicyKind::ProxyProtocol { on: true } },
        ],
        backend_policies: [(2525, vec!["proxy".to_owned()])].into(),
        created_at: NOW,
        tags: Default::default(),
    };
    w.edit(|tx| {
        puffer_inventory::classic::put(tx, classic);
        tx.put(crate::elb_fixtures::instance(puffer_core::ec2::InstanceState::Running));
        let one = puffer_inventory::targets::TargetDescription::of("i-1");
        puffer_inventory::targets::register(tx, arn, &[one], NOW)
    })
    .await
    .unwrap();
    let config = w.store.read(|r| snapshot(r, PortPolicy::by(|p| p + 1)));
    let lb = &config.load_balancers[0];
    assert_eq!((lb.kind, lb.arn.as_str()), (LoadBalancerKind::Classic, arn));
    let [http, tcp] = [0, 1].map(|at: usize| lb.listeners[at].classic.clone().unwrap());
    assert_eq!(lb.listeners[1].protocol, ListenerProtocol::Tcp);
    assert_eq!((lb.listeners[0].bind_port, http.target_port, tcp.target_port), (81, 8081, 2526));
    assert_eq!(http.stickiness, Some(ClassicStickiness::LbCookie { duration_s: Some(9) }));
    assert!(tcp.proxy_protocol && !http.proxy_protocol);
    let group = &config.target_groups[0];
    assert_eq!((group.targets[0].id.as_str(), group.targets[0].port), ("i-1", WHOLE_INSTANCE));
    let check = &group.health_check;
    assert_eq!((check.protocol, check.port), (HealthCheckProtocol::Http, Some(82)));
    assert_eq!(check.healthy_threshold, 10);
    assert!(!group.attributes.fail_open && !group.attributes.cross_zone);
    assert_eq!(group.attributes.deregistration_delay_s, 0);
}

#[tokio::test]
async fn a_balancer_becomes_active_and_nothing_is_applied_twice() {
    let w = World::new();
    let sync = sync(&w);
    sync.activate().await;
    assert_eq!(w.plane.state.lock().n_started, 0, "without a load balancer no process is started");
    w.with_balancer().await;
    assert_eq!(sync.activate().await.applied, Some(1));
    assert_eq!(state(&w), (LoadBalancerState::Active, None));
    assert_eq!(sync.activate().await.applied, None);
    assert_eq!(w.plane.state.lock().applied.len(), 1);
}

#[tokio::test]
async fn a_new_process_gets_everything_again() {
    let w = World::new();
    w.with_balancer().await;
    let sync = sync(&w);
    sync.activate().await;
    w.plane.state.lock().epoch = 0;
    assert_eq!(sync.activate().await.applied, Some(2), "generations never go back");
    assert_eq!(w.plane.state.lock().n_started, 2);
    // A control plane that starts later goes on from the running generation.
    let later = self::sync(&w);
    assert_eq!(later.activate().await.applied, Some(3));
}

#[tokio::test]
async fn a_taken_port_is_visible_and_tried_again() {
    let w = World::new();
    w.with_balancer().await;
    let sync = sync(&w);
    w.plane.state.lock().bind_errors = vec![BindError {
        listener: "listener".into(),
        address: SocketAddrV4::new([10, 0, 0, 250].into(), 80),
        error: "Address already in use".into(),
    }];
    sync.activate().await;
    let (now, reason) = state(&w);
    assert_eq!(now, LoadBalancerState::ActiveImpaired);
    assert_eq!(reason.as_deref(), Some("Not listening on 10.0.0.250:80: Address already in use"));
    assert_eq!(sync.period(), RETRY);
    w.plane.state.lock().bind_errors.clear();
    sync.activate().await;
    assert_eq!(state(&w), (LoadBalancerState::Active, None));
    assert_eq!(sync.period(), PERIOD);
}

#[tokio::test]
async fn a_missing_data_plane_impairs_what_was_active() {
    let w = World::new();
    w.with_balancer().await;
    let sync = sync(&w);
    w.plane.state.lock().broken = true;
    assert!(sync.activate().await.error.is_some());
    assert_eq!(state(&w).0, LoadBalancerState::Provisioning, "it never worked, so it is on its way");
    w.plane.state.lock().broken = false;
    sync.activate().await;
    w.plane.state.lock().broken = true;
    w.edit(|tx| tx.delete::<Rule>("rule-3")).await;
    sync.activate().await;
    assert_eq!(state(&w).0, LoadBalancerState::ActiveImpaired);
    w.plane.state.lock().broken = false;
    sync.activate().await;
    assert_eq!(state(&w), (LoadBalancerState::Active, None));
}

#[tokio::test]
async fn addresses_become_free_after_their_last_connection() {
    let w = World::new();
    w.with_balancer().await;
    w.edit(|tx| tx.put(hold())).await;
    let sync = sync(&w);
    sync.activate().await;
    let connections = |n| ScopeCounters {
        scope: Scope { load_balancer: LB.into(), target_group: None, zone: None },
        counters: Counters { active_connection_count: n, ..Counters::default() },
        response_time: Histogram::default(),
    };
    w.plane.state.lock().counters = vec![connections(1)];
    w.edit(|tx| {
        tx.delete::<LoadBalancer>(LB);
        nodes::release(tx, "subnet-a", hold().address, NOW);
    })
    .await;
    sync.activate().await;
    assert_eq!(w.store.list::<AddressHold>().len(), 1, "a connection is open");
    assert_eq!(sync.period(), RETRY);
    w.plane.state.lock().counters = vec![connections(0)];
    sync.activate().await;
    assert!(w.store.list::<AddressHold>().is_empty());
}

#[tokio::test]
async fn a_connection_holds_an_address_for_a_while_only() {
    let w = World::new();
    w.edit(|tx| {
        tx.put(hold());
        nodes::release(tx, "subnet-a", hold().address, NOW);
    })
    .await;
    w.plane.state.lock().epoch = 1;
    w.plane.state.lock().counters = vec![ScopeCounters {
        scope: Scope { load_balancer: LB.into(), target_group: None, zone: None },
        counters: Counters { active_connection_count: 1, ..Counters::default() },
        response_time: Histogram::default(),
    }];
    let sync = sync(&w);
    sync.activate().await;
    assert_eq!(w.store.list::<AddressHold>().len(), 1);
    w.clock.advance(RELEASE_GRACE);
    sync.activate().await;
    assert!(w.store.list::<AddressHold>().is_empty());
}

#[tokio::test]
async fn a_change_wakes_it() {
    let w = World::new();
    let sync = sync(&w);
    sync.wake().await;
    w.with_balancer().await;
    tokio::time::timeout(Duration::from_secs(5), sync.wake()).await.unwrap();
    w.lost.notify_one();
    tokio::time::timeout(Duration::from_secs(5), sync.wake()).await.unwrap();
}
