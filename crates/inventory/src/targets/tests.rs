use puffer_core::ec2::InstanceState;
use puffer_core::elb::{Target, TargetState, TargetType};
use puffer_store::{Store, StoreError};

use super::*;
use crate::fixtures::{NOW, edit, instance, rule_to, store, target_group};

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Targets(#[from] TargetsError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

async fn try_register(store: &Store, tg: &str, targets: &[TargetDescription]) -> Result<(), TargetsError> {
    match store.transact::<_, Failure>(|tx| Ok(register(tx, tg, targets, NOW)?)).await {
        Err(Failure::Targets(error)) => Err(error),
        other => {
            let _: () = other.unwrap();
            Ok(())
        }
    }
}

async fn world() -> (tempfile::TempDir, Store) {
    let (dir, store) = store();
    edit(&store, |tx| {
        tx.put(target_group("tg", TargetType::Instance));
        tx.put(target_group("tg-ip", TargetType::Ip));
        tx.put(instance("i-run", InstanceState::Running, "10.0.0.4".parse().unwrap()));
        tx.put(instance("i-new", InstanceState::Pending, "10.0.0.5".parse().unwrap()));
        tx.put(instance("i-off", InstanceState::Stopped, "10.0.0.6".parse().unwrap()));
        let mut foreign = instance("i-far", InstanceState::Running, "10.0.0.7".parse().unwrap());
        foreign.vpc_id = "vpc-2".into();
        tx.put(foreign);
    })
    .await;
    (dir, store)
}

#[tokio::test]
async fn what_can_be_registered() {
    let (_dir, store) = world().await;
    let of = TargetDescription::of;
    let table: &[(&str, &[TargetDescription], Result<(), TargetsError>)] = &[
        ("tg", &[of("i-run"), of("i-new")], Ok(())),
        ("none", &[of("i-run")], Err(TargetsError::TargetGroupNotFound("none".into()))),
        ("tg", &[of("i-run"), of("i-x")], Err(TargetsError::Unknown(vec!["i-x".into()]))),
        ("tg", &[of("i-off")], Err(TargetsError::NotRunning(vec!["i-off".into()]))),
        (
            "tg",
            &[of("i-far")],
            Err(TargetsError::OtherVpc { vpc: "vpc-1".into(), targets: vec!["i-far".into()] }),
        ),
        ("tg-ip", &[of("10.1.2.3")], Ok(())),
        ("tg-ip", &[of("i-run")], Err(TargetsError::NoAddress("i-run".into()))),
    ];
    for (tg, targets, want) in table {
        assert_eq!(try_register(&store, tg, targets).await, *want, "{targets:?}");
    }
    assert_eq!(store.list_by::<Target>("target_group", "tg").len(), 2);
    let ip = store.get::<Target>("tg-ip|10.1.2.3|80").unwrap();
    assert_eq!((ip.zone.as_str(), ip.port), (ZONE_ALL, 80));
}

#[tokio::test]
async fn a_target_drains_comes_back_and_goes() {
    let (_dir, store) = world().await;
    edit(&store, |tx| tx.put(rule_to("tg"))).await;
    let one = [TargetDescription::of("i-run")];
    let health = || store.read(|r| health_of(r, "tg", "i-run")).map(|t| t.state);
    try_register(&store, "tg", &one).await.unwrap();
    assert_eq!(health(), Some(TargetState::Initial));
    edit(&store, |tx| deregister(tx, "tg", &one, NOW)).await.unwrap();
    assert_eq!(health(), Some(TargetState::Draining));
    try_register(&store, "tg", &one).await.unwrap();
    assert_eq!(health(), Some(TargetState::Initial));
    assert!(!edit(&store, |tx| drained(tx, "tg", "i-run", 80)).await, "it is registered again");
    edit(&store, |tx| deregister(tx, "tg", &one, NOW)).await.unwrap();
    assert!(edit(&store, |tx| drained(tx, "tg", "i-run", 80)).await);
    assert_eq!(health(), None);
    let again = edit(&store, |tx| deregister(tx, "tg", &one, NOW)).await;
    assert_eq!(again, Err(TargetsError::NotRegistered(vec!["i-run".into()])));
}

#[tokio::test]
async fn without_a_rule_targets_are_unused_and_go_at_once() {
    let (_dir, store) = world().await;
    let ports = [80u16, 81].map(|p| TargetDescription { port: Some(p), ..TargetDescription::of("i-run") });
    try_register(&store, "tg", &ports).await.unwrap();
    let target = store.read(|r| health_of(r, "tg", "i-run")).unwrap();
    assert_eq!((target.state, target.reason.as_deref()), (TargetState::Unused, Some("Target.NotInUse")));
    edit(&store, |tx| deregister(tx, "tg", &[TargetDescription::of("i-run")], NOW)).await.unwrap();
    assert!(store.list::<Target>().is_empty(), "no port given means every port");
}
