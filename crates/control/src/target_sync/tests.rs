use puffer_core::elb::TargetState;

use super::*;
use crate::elb_fixtures::{FakePlane, LB, NOW, TG, World, instance, target};

const ID: &str = "10.0.0.9";

fn sync(w: &World) -> TargetSync<FakePlane> {
    TargetSync::new(
        w.store.clone(),
        Arc::clone(&w.plane),
        w.clock.clone(),
        PortPolicy::default(),
        Arc::clone(&w.lost),
    )
}

fn state(w: &World) -> Option<(TargetState, Option<String>)> {
    w.store.get::<Target>(&Target::key_of(TG, ID, 80)).map(|t| (t.state, t.reason.clone()))
}

async fn world() -> World {
    let w = World::new();
    w.with_balancer().await;
    w.plane.state.lock().epoch = 1;
    w
}

async fn drain(w: &World) {
    w.edit(|tx| targets::deregister(tx, TG, &[targets::TargetDescription::of(ID)], NOW)).await.unwrap();
}

#[tokio::test]
async fn health_follows_the_report_and_only_changes_are_written() {
    let w = world().await;
    let sync = sync(&w);
    assert_eq!(sync.activate().await.n_changed, 0, "the data plane does not know it yet");
    w.plane.sees(ID, TargetState::Healthy, None, 0);
    assert_eq!(sync.activate().await.n_changed, 1);
    assert_eq!(state(&w), Some((TargetState::Healthy, None)));
    let commits = w.store.commit_stats().n_commits;
    assert_eq!(sync.activate().await.n_changed, 0);
    assert_eq!(w.store.commit_stats().n_commits, commits, "a healthy fleet costs no disk");
    w.plane.sees(ID, TargetState::Unhealthy, Some(Reason::ResponseCodeMismatch(500)), 0);
    sync.activate().await;
    let target = w.store.get::<Target>(&Target::key_of(TG, ID, 80)).unwrap();
    assert_eq!(target.description.as_deref(), Some("Health checks failed with these codes: [500]"));
    // A data plane that is away changes nothing that was known.
    w.plane.state.lock().epoch = 0;
    sync.activate().await;
    assert_eq!(state(&w).unwrap().0, TargetState::Unhealthy);
}

#[tokio::test]
async fn draining_ends_with_the_last_request_or_the_delay() {
    let w = world().await;
    let sync = sync(&w);
    w.plane.sees(ID, TargetState::Healthy, None, 0);
    drain(&w).await;
    sync.activate().await;
    assert!(state(&w).is_some(), "the data plane does not know of the draining yet");
    w.plane.sees(ID, TargetState::Draining, None, 2);
    sync.activate().await;
    assert_eq!(state(&w).unwrap().0, TargetState::Draining);
    assert_eq!(sync.period(), DRAIN_PERIOD);
    w.plane.sees(ID, TargetState::Draining, None, 0);
    assert_eq!(sync.activate().await.n_removed, 1);
    assert_eq!(state(&w), None);

    w.edit(|tx| tx.put(target(ID))).await;
    w.plane.sees(ID, TargetState::Draining, None, 1);
    drain(&w).await;
    sync.activate().await;
    assert!(state(&w).is_some());
    w.clock.advance(Duration::from_secs(300));
    sync.activate().await;
    assert_eq!(state(&w), None, "the deregistration delay is over");
}

#[tokio::test]
async fn use_and_disuse() {
    let w = world().await;
    let sync = sync(&w);
    for rule in ["rule-default", "rule-3", "rule-20"] {
        w.edit(|tx| tx.delete::<Rule>(rule)).await;
    }
    sync.activate().await;
    assert_eq!(state(&w), Some((TargetState::Unused, Some("Target.NotInUse".into()))));
    w.edit(crate::elb_fixtures::put_listener).await;
    sync.activate().await;
    assert_eq!(state(&w), Some((TargetState::Initial, Some("Elb.RegistrationInProgress".into()))));
    drain(&w).await;
    for rule in ["rule-default", "rule-3", "rule-20"] {
        w.edit(|tx| tx.delete::<Rule>(rule)).await;
    }
    sync.activate().await;
    assert_eq!(state(&w), None, "nothing can be under way where nothing forwards");
}

#[tokio::test]
async fn a_registration_is_not_undone_by_the_view_before_it() {
    let w = world().await;
    let sync = sync(&w);
    w.plane.sees(ID, TargetState::Draining, None, 0);
    sync.activate().await;
    assert_eq!(state(&w).unwrap().0, TargetState::Initial);
}

#[tokio::test]
async fn instances_that_stop_or_go() {
    use puffer_core::ec2::{Instance, InstanceState};
    use puffer_core::elb::TargetType;
    let w = world().await;
    let sync = sync(&w);
    w.edit(|tx| {
        tx.update::<TargetGroup>(TG, |g| g.target_type = TargetType::Instance);
        tx.delete::<Target>(&Target::key_of(TG, ID, 80));
        tx.put(instance(InstanceState::Running));
        tx.put(Target { id: "i-1".into(), ..target(ID) });
    })
    .await;
    let of = || w.store.get::<Target>(&Target::key_of(TG, "i-1", 80)).map(|t| (t.state, t.reason.clone()));
    w.plane.sees("i-1", TargetState::Healthy, None, 0);
    sync.activate().await;
    assert_eq!(of().unwrap().0, TargetState::Healthy);
    w.edit(|tx| tx.update::<Instance>("i-1", |i| i.state = InstanceState::Stopped)).await;
    sync.activate().await;
    assert_eq!(of(), Some((TargetState::Unused, Some("Target.InvalidState".into()))));
    w.edit(|tx| tx.update::<Instance>("i-1", |i| i.state = InstanceState::Terminated)).await;
    sync.activate().await;
    assert_eq!(of(), None, "a terminated instance is deregistered");
}

#[tokio::test(start_paused = true)]
async fn news_and_losses_wake_it() {
    let w = world().await;
    let sync = sync(&w);
    sync.wake().await;
    sync.activate().await;
    w.plane.sees(ID, TargetState::Healthy, None, 0);
    sync.wake().await;
    sync.activate().await;
    assert_eq!(state(&w).unwrap().0, TargetState::Healthy);
    assert!(w.store.get::<LoadBalancer>(LB).is_some());
    w.plane.state.lock().broken = true;
    w.lost.notified().await;
}
