//! Drops scaling activities that nobody will ask for any more: those older than six weeks, and the oldest of a group
//! that has far too many. Without it, a group whose launches fail for months would fill the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use puffer_core::Clock;
use puffer_core::autoscaling::Activity;
use puffer_store::{Store, StoreError};

use crate::Reconciler;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(600);
/// How long activities are kept after their end (DescribeScalingActivities).
pub(crate) const KEPT: Duration = Duration::from_secs(42 * 86_400);
/// Activities of a group that are kept however young: at one a minute, about a week.
pub(crate) const KEPT_PER_GROUP: usize = 10_000;
/// Activities dropped in one transaction: bounds its length.
const DROPPED_AT_ONCE: usize = 1_000;

/// The reconciler.
pub struct ActivityPrune {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl ActivityPrune {
    /// Over the activities of this store.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> ActivityPrune {
        ActivityPrune { store, clock }
    }

    /// Ids of the activities to drop.
    fn outdated(&self, kept_per_group: usize) -> Vec<String> {
        let limit = self.clock.now() - KEPT;
        self.store.read(|r| {
            let mut of_group: BTreeMap<&str, Vec<&Arc<Activity>>> = BTreeMap::new();
            let mut outdated = Vec::new();
            for activity in r.iter::<Activity>().filter(|a| a.status.is_final()) {
                if activity.ended_at.is_some_and(|at| at < limit) {
                    outdated.push(activity.id.clone());
                } else {
                    of_group.entry(&activity.group).or_default().push(activity);
                }
            }
            for mut kept in of_group.into_values().filter(|kept| kept.len() > kept_per_group) {
                kept.sort_by_key(|a| a.ended_at);
                let excess = kept.len() - kept_per_group;
                outdated.extend(kept[..excess].iter().map(|a| a.id.clone()));
            }
            outdated
        })
    }

    async fn drop_all(&self, ids: &[String]) -> usize {
        let mut n = 0;
        for chunk in ids.chunks(DROPPED_AT_ONCE) {
            let dropped = self
                .store
                .transact::<_, StoreError>(|tx| {
                    Ok(chunk.iter().filter(|id| tx.delete::<Activity>(id.as_str())).count())
                })
                .await;
            match dropped {
                Ok(dropped) => n += dropped,
                Err(error) => {
                    tracing::warn!(%error, "old activities could not be dropped");
                    break;
                }
            }
        }
        n
    }
}

impl Reconciler for ActivityPrune {
    /// Activities dropped.
    type Status = usize;

    fn name(&self) -> &'static str {
        "activity_prune"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn wake(&self) {
        std::future::pending().await
    }

    async fn activate(&self) -> usize {
        let outdated = self.outdated(KEPT_PER_GROUP);
        self.drop_all(&outdated).await
    }
}

#[cfg(test)]
mod tests {
    use puffer_core::autoscaling::{ActivityStatus, texts};
    use puffer_core::{ManualClock, Timestamp};

    use super::*;

    fn activity(n: i64, status: ActivityStatus) -> Activity {
        let at = Timestamp::from_secs(n);
        Activity {
            id: format!("{n:05}"),
            group: "g".into(),
            group_arn: "arn".into(),
            instance_id: None,
            description: texts::launching("i-1"),
            cause: vec![],
            started_at: at,
            ended_at: status.is_final().then_some(at),
            status,
            status_message: None,
            progress: 100,
            details: String::new(),
            reasons: vec![],
        }
    }

    #[tokio::test]
    async fn the_old_and_the_many_go_and_what_is_open_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.redb"), &puffer_inventory::schema()).unwrap();
        let put = |tx: &mut puffer_store::Transaction<'_>| {
            tx.put(activity(0, ActivityStatus::InProgress));
            for n in 1..=5 {
                tx.put(activity(n, ActivityStatus::Successful));
            }
            Ok::<_, StoreError>(())
        };
        store.transact(put).await.unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(3) + KEPT));
        let prune = ActivityPrune::new(store.clone(), Arc::clone(&clock) as _);
        assert_eq!(prune.outdated(2), ["00001", "00002", "00003"]);
        assert_eq!(prune.activate().await, 2);
        let left: Vec<_> = store.list::<Activity>().iter().map(|a| a.id.clone()).collect();
        assert_eq!(left, ["00000", "00003", "00004", "00005"]);
    }
}
