use puffer_core::ec2::{Instance, RootTaskState, RootVolumeTask};

use super::*;
use crate::launch::{LaunchRequest, run_instances};
use crate::root_volumes::{self, RootRequest, TASKS_KEPT_MAX};
use crate::{instances, tags};

#[tokio::test]
async fn numbers_volumes_tasks_and_tags() {
    let (_dir, store, _) = account().await;
    let request = LaunchRequest::new("ami-0123456789abcdef0", "t2.micro");
    edit(&store, |tx| {
        let mut rng = rng();
        let id = run_instances(tx, &request, NOW, &mut rng).unwrap()[0].id.clone();
        let mut replace = |tx: &mut Transaction<'_>| {
            let request = RootRequest {
                instance_id: id.clone(),
                image_id: "ami-0fedcba9876543210".into(),
                ..Default::default()
            };
            root_volumes::begin(tx, request, NOW, &mut rng)
        };
        assert!(replace(tx).is_err(), "it does not run yet");
        instances::mark_running(tx, &id, 0, NOW).unwrap();
        let mut volumes =
            std::collections::BTreeSet::from([tx.get::<Instance>(&id).unwrap().root_volume_id()]);
        for n in 1..=TASKS_KEPT_MAX + 5 {
            let task = replace(tx).unwrap();
            assert!(replace(tx).is_err(), "one at a time");
            let wanted = tx.get::<Instance>(&id).unwrap().root_replacement.clone().unwrap();
            assert_eq!((wanted.serial as usize, &wanted.task_id), (n, &task.id));
            root_volumes::mark_replaced(tx, &id, &wanted, NOW);
            // A late report of the same one changes nothing.
            root_volumes::mark_replaced(tx, &id, &wanted, NOW);
            assert_eq!(tx.get::<RootVolumeTask>(&task.id).unwrap().state, RootTaskState::Succeeded);
            assert!(volumes.insert(tx.get::<Instance>(&id).unwrap().root_volume_id()));
            let kept = root_volumes::of_instance(&tx.reader(), &id);
            assert_eq!(kept.len(), n.min(TASKS_KEPT_MAX));
            assert!(kept.iter().any(|k| k.id == task.id));
        }
        let instance = tx.get::<Instance>(&id).unwrap();
        let volume = instance.root_volume_id();
        for old in volumes.iter().filter(|v| **v != volume) {
            assert!(root_volumes::owner_of(&tx.reader(), old).is_none());
            assert!(tags::change(tx, old, |_| ()).is_err());
        }
        let task = root_volumes::of_instance(&tx.reader(), &id).pop().unwrap();
        for resource in [&volume, &task.id] {
            tags::change(tx, resource, |t| drop(t.insert("k".into(), "v".into()))).unwrap();
        }
        let listed: Vec<_> = tags::list(&tx.reader()).into_iter().map(|t| t.resource_type).collect();
        assert_eq!(listed, ["replace-root-volume-task", "volume"]);
        root_volumes::forget(tx, &id);
        assert!(root_volumes::of_instance(&tx.reader(), &id).is_empty());
    })
    .await;
}
