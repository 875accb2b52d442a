use proptest::prelude::*;
use puffer_core::ec2::{Instance, InstanceIntent as Intent, InstanceState as State, StateReason};

use super::*;
use crate::instances::{self, InstanceError};
use crate::launch::{LaunchRequest, run_instances};
use crate::tags;

async fn one(store: &Store) -> String {
    let request = LaunchRequest::new("ami-0123456789abcdef0", "t2.micro");
    edit(store, |tx| run_instances(tx, &request, NOW, &mut rng()).unwrap()[0].id.clone()).await
}

fn state(store: &Store, id: &str) -> State {
    store.get::<Instance>(id).unwrap().state
}

#[tokio::test]
async fn requests_move_states_as_ec2_does() {
    let (_dir, store, _) = account().await;
    let id = one(&store).await;
    let ids = [id.clone()];
    edit(&store, |tx| {
        let refused = instances::request_stop(tx, &ids, false, NOW);
        assert!(matches!(refused, Err(InstanceError::IncorrectState { what: "stopped", .. })));
        instances::mark_running(tx, &id, 0, NOW).unwrap();
        let changed = instances::request_stop(tx, &ids, false, NOW).unwrap().remove(0);
        assert_eq!((changed.previous, changed.instance.state), (State::Running, State::Stopping));
        assert_eq!(
            changed.instance.transition_reason.as_deref(),
            Some("User initiated (2026-11-21 03:28:00 GMT)")
        );
        assert!(instances::request_start(tx, &ids, NOW).is_err());
        instances::mark_stopped(tx, &id, None).unwrap();
        let started = instances::request_start(tx, &ids, NOW).unwrap().remove(0);
        assert_eq!((started.previous, started.instance.state), (State::Stopped, State::Pending));
        let ended = instances::request_terminate(tx, &ids, NOW).unwrap().remove(0);
        assert_eq!((ended.previous, ended.instance.state), (State::Pending, State::ShuttingDown));
        // A late report of the launch changes nothing.
        assert!(instances::mark_running(tx, &id, 0, NOW).is_none());
        instances::mark_terminated(tx, &id, None, NOW).unwrap();
        let again = instances::request_terminate(tx, &ids, NOW).unwrap().remove(0);
        assert_eq!((again.previous, again.instance.state), (State::Terminated, State::Terminated));
    })
    .await;
    assert_eq!(state(&store, &id), State::Terminated);
}

#[tokio::test]
async fn protection_and_unknown_ids_refuse_all() {
    let (_dir, store, _) = account().await;
    let (a, b) = (one(&store).await, {
        let request = LaunchRequest {
            termination_protected: true,
            stop_protected: true,
            ..LaunchRequest::new("ami-0123456789abcdef0", "t2.micro")
        };
        edit(&store, |tx| {
            use rand_pcg::rand_core::SeedableRng;
            let made = run_instances(tx, &request, NOW, &mut Pcg64::seed_from_u64(2)).unwrap();
            instances::mark_running(tx, &made[0].id, 0, NOW);
            made[0].id.clone()
        })
        .await
    });
    let both = [a.clone(), b.clone()];
    let refused = store.transact(|tx| instances::request_terminate(tx, &both, NOW)).await.unwrap_err();
    assert!(matches!(refused, InstanceError::TerminationProtected(id) if id == b));
    let refused = store.transact(|tx| instances::request_stop(tx, &both[1..], false, NOW)).await.unwrap_err();
    assert!(matches!(refused, InstanceError::StopProtected(id) if id == b));
    let unknown = [a.clone(), "i-1".to_owned(), "i-2".to_owned()];
    let refused = store.transact(|tx| instances::request_reboot(tx, &unknown)).await.unwrap_err();
    assert_eq!(refused.to_string(), "The instance IDs 'i-1, i-2' do not exist");
    assert_eq!(state(&store, &a), State::Pending);
    // Auto Scaling ends protected instances too.
    edit(&store, |tx| instances::terminate(tx, &b, NOW)).await.unwrap();
    assert_eq!(state(&store, &b), State::ShuttingDown);
}

#[tokio::test]
async fn tags_reach_every_kind_of_resource() {
    let (_dir, store, account) = account().await;
    let id = one(&store).await;
    let instance = store.get::<Instance>(&id).unwrap();
    let ids = [
        id.clone(),
        instance.root_volume_id(),
        instance.network_interface_id.clone(),
        account.default_vpc_id.clone().unwrap(),
        instance.subnet_id.clone(),
        instance.security_groups[0].clone(),
    ];
    edit(&store, |tx| {
        for id in &ids {
            tags::change(tx, id, |t| drop(t.insert("k".into(), "v".into()))).unwrap();
        }
        assert!(tags::change(tx, "vpc-1", |_| ()).is_err());
        assert!(tags::change(tx, "what", |_| ()).is_err());
    })
    .await;
    let listed: Vec<String> = store.read(tags::list).into_iter().map(|t| t.resource_id).collect();
    assert_eq!(listed.len(), ids.len());
    assert!(ids.iter().all(|id| listed.contains(id)));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Stop,
    Start,
    Terminate,
    Running,
    Stopped,
    Ending,
    Terminated,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is asked and reported in whatever order: what is terminated stays so, what is on its way out never comes
    /// back, and intent and state agree.
    #[test]
    fn no_history_revives_an_ended_instance(steps in prop::collection::vec(
        prop::sample::select(vec![Step::Stop, Step::Start, Step::Terminate, Step::Running, Step::Stopped, Step::Ending, Step::Terminated]), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_dir, store, _) = account().await;
            let id = one(&store).await;
            let ids = [id.clone()];
            edit(&store, |tx| {
                let mut before = tx.get::<Instance>(&id).unwrap().state;
                for step in steps {
                    match step {
                        Step::Stop => drop(instances::request_stop(tx, &ids, false, NOW)),
                        Step::Start => drop(instances::request_start(tx, &ids, NOW)),
                        Step::Terminate => drop(instances::request_terminate(tx, &ids, NOW)),
                        Step::Running => drop(instances::mark_running(tx, &id, 0, NOW)),
                        Step::Stopped => drop(instances::mark_stopped(tx, &id, None)),
                        Step::Ending => drop(instances::mark_ending(tx, &id, StateReason { code: "x".into(), message: "x".into() })),
                        Step::Terminated => drop(instances::mark_terminated(tx, &id, None, NOW)),
                    }
                    let now = tx.get::<Instance>(&id).unwrap();
                    match before {
                        State::Terminated => assert_eq!(now.state, State::Terminated),
                        State::ShuttingDown => assert!(matches!(now.state, State::ShuttingDown | State::Terminated)),
                        _ => {}
                    }
                    let agree = match now.state {
                        State::Pending | State::Running => now.intent == Intent::Run,
                        State::Stopping | State::Stopped => now.intent == Intent::Stop,
                        State::ShuttingDown | State::Terminated => now.intent == Intent::Terminate,
                    };
                    assert!(agree, "{step:?} gave {:?} with {:?}", now.state, now.intent);
                    before = now.state;
                }
            }).await;
        });
    }
}
