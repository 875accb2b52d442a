use puffer_core::ManualClock;
use puffer_core::autoscaling::schedule::{Due, Sizes, Timing};
use puffer_core::autoscaling::{
    Activity, ActivityStatus, Group, GroupStatus, InstanceSource, SuspendedProcess, process,
};
use puffer_inventory::scheduled_actions::{ScheduleError, Wanted, put, remove};

use super::*;

struct World {
    dir: tempfile::TempDir,
    store: Store,
    clock: Arc<ManualClock>,
    run: ScheduleRun,
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("s.redb"), &puffer_inventory::schema()).unwrap()
}

fn runner(store: &Store, clock: &Arc<ManualClock>) -> ScheduleRun {
    ScheduleRun::new(store.clone(), Arc::clone(clock) as _, Box::new(Pcg64::seed_from_u64(1)))
}

/// A Saturday.
const START: &str = "2026-11-21T07:00:00Z";

impl World {
    async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let clock = Arc::new(ManualClock::new(Timestamp::parse_rfc3339(START).unwrap()));
        let run = runner(&store, &clock);
        let world = World { dir, store, clock, run };
        world.group("g", |_| ()).await;
        world
    }

    /// The process dies, and starts again after `down`.
    fn restart(self, down: Duration) -> World {
        let World { dir, store, clock, run } = self;
        drop((store, run));
        clock.advance(down);
        let store = open(&dir);
        let run = runner(&store, &clock);
        World { dir, store, clock, run }
    }

    async fn group(&self, name: &str, change: impl FnOnce(&mut Group)) {
        let source = InstanceSource::LaunchConfiguration("lc".into());
        let mut group = Group::new(name, "u", "arn:g", source, self.clock.now());
        (group.min, group.max, group.desired) = (1, 10, 2);
        change(&mut group);
        self.edit(|tx| drop(tx.put(group))).await;
    }

    async fn change(&self, change: impl FnOnce(&mut Group)) {
        self.edit(|tx| drop(tx.update("g", change))).await;
    }

    async fn edit(&self, body: impl FnOnce(&mut puffer_store::Transaction<'_>)) {
        let edit = |tx: &mut puffer_store::Transaction<'_>| {
            body(tx);
            Ok::<_, StoreError>(())
        };
        self.store.transact(edit).await.unwrap();
    }

    async fn put(&self, name: &str, timing: Timing<'_>, sizes: (Option<u32>, Option<u32>, Option<u32>)) {
        self.try_put(name, timing, sizes).await.unwrap();
    }

    async fn try_put(
        &self,
        name: &str,
        timing: Timing<'_>,
        (min, max, desired): (Option<u32>, Option<u32>, Option<u32>),
    ) -> Result<(), ScheduleError> {
        let wanted = Wanted { name, arn: "arn".into(), timing, sizes: Sizes { min, max, desired } };
        let now = self.clock.now();
        self.store.transact(|tx| put(tx, "g", &wanted, now).map(drop)).await
    }

    fn at(&self, after: Duration) -> Timestamp {
        self.clock.now() + after
    }

    async fn pass(&self, time: Duration) -> ScheduleRunStatus {
        self.clock.advance(time);
        self.run.activate().await
    }

    fn sizes(&self) -> (u32, u32, u32) {
        let g = self.store.get::<Group>("g").unwrap();
        (g.min, g.max, g.desired)
    }

    fn action(&self, name: &str) -> Option<Arc<ScheduledAction>> {
        self.store.get(&format!("g/{name}"))
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn daily(pattern: &str) -> Timing<'_> {
    Timing { recurrence: Some(pattern), ..Timing::default() }
}

#[tokio::test]
async fn a_single_action_runs_once_and_vanishes() {
    let w = World::new().await;
    let timing = Timing { start: Some(w.at(HOUR)), ..Timing::default() };
    w.put("once", timing, (Some(4), Some(20), Some(6))).await;
    assert_eq!(w.pass(HOUR - Duration::from_millis(1)).await, ScheduleRunStatus::default());
    assert_eq!(w.sizes(), (1, 10, 2));
    assert_eq!(w.pass(Duration::from_millis(1)).await.done, 1);
    assert_eq!(w.sizes(), (4, 20, 6));
    assert!(w.action("once").is_none());
    let group = w.store.get::<Group>("g").unwrap();
    assert_eq!(
        group.desired_cause[0].text,
        "a scheduled action update of AutoScalingGroup constraints to min: 4, max: 20, desired: 6 changing the desired \
         capacity from 2 to 6"
    );
    assert_eq!(w.pass(HOUR).await, ScheduleRunStatus::default());
}

#[tokio::test]
async fn a_recurring_action_runs_at_each_time_until_its_end() {
    let w = World::new().await;
    let end = w.at(HOUR * 49 + HOUR / 4);
    w.put("up", Timing { end: Some(end), ..daily("0 8 * * *") }, (None, None, Some(5))).await;
    w.put("down", daily("30 8 * * *"), (None, None, Some(1))).await;
    for _ in 0..2 {
        w.pass(HOUR).await;
        assert_eq!(w.sizes().2, 5);
        w.pass(HOUR / 2).await;
        assert_eq!(w.sizes().2, 1);
        w.pass(HOUR * 22 + HOUR / 2).await;
    }
    // After the third morning nothing is left, and the action vanishes at its end.
    w.pass(HOUR).await;
    assert_eq!(w.sizes().2, 5);
    assert_eq!(w.action("up").map(|a| a.due), Some(Due::Expire(end)));
    w.pass(HOUR / 2).await;
    assert!(w.action("up").is_none());
    assert_eq!(w.sizes().2, 1);
}

#[tokio::test]
async fn what_is_due_together_runs_in_order() {
    let w = World::new().await;
    w.put("first", daily("0 9 * * *"), (None, None, Some(7))).await;
    // Another start time now, the same time from tomorrow on.
    let start = Some(w.at(HOUR));
    w.put("second", Timing { start, ..daily("0 9 * * *") }, (None, Some(3), None)).await;
    let same = w.try_put("third", daily("0 9 * * 6"), (None, None, Some(1))).await.unwrap_err();
    assert!(matches!(same, ScheduleError::SameTime(name) if name == "first"));
    w.pass(HOUR).await;
    assert_eq!(w.sizes(), (1, 3, 2));
    w.change(|g| g.max = 10).await;
    assert_eq!(w.pass(HOUR).await.done, 2);
    assert_eq!(w.sizes(), (1, 3, 3), "7 first, then the bound of 3");
}

#[tokio::test]
async fn suspended_actions_are_not_made_up_for() {
    let w = World::new().await;
    w.put("up", daily("0 8 * * *"), (None, None, Some(5))).await;
    let suspended = SuspendedProcess { name: process::SCHEDULED_ACTIONS.into(), reason: String::new() };
    w.change(|g| g.suspended.push(suspended)).await;
    assert_eq!(w.pass(HOUR).await.passed_over, 1);
    w.change(|g| g.suspended.clear()).await;
    assert_eq!(w.pass(HOUR).await, ScheduleRunStatus::default());
    assert_eq!(w.sizes().2, 2);
    assert_eq!(w.pass(HOUR * 23).await.done, 1);
    assert_eq!(w.sizes().2, 5);
}

#[tokio::test]
async fn a_short_outage_is_made_up_for_and_a_long_one_is_not() {
    let w = World::new().await;
    w.put("up", daily("0 8 * * *"), (None, None, Some(5))).await;
    w.put("once", Timing { start: Some(w.at(HOUR * 30)), ..Timing::default() }, (None, None, Some(9))).await;
    let w = w.restart(HOUR + Duration::from_secs(120));
    assert_eq!(w.run.activate().await.done, 1);
    assert_eq!(w.sizes().2, 5);
    w.change(|g| g.desired = 2).await;
    let w = w.restart(HOUR * 48);
    assert_eq!(w.run.activate().await.passed_over, 2);
    assert_eq!(w.sizes().2, 2);
    assert!(w.action("once").is_none());
    assert_eq!(w.action("up").unwrap().due.at().to_rfc3339_secs(), "2026-11-24T08:00:00Z");
}

#[tokio::test]
async fn bounds_that_contradict_the_group_are_a_failed_activity() {
    let w = World::new().await;
    w.put("odd", daily("0 8 * * *"), (Some(11), None, None)).await;
    assert_eq!(w.pass(HOUR).await.failed, 1);
    assert_eq!(w.sizes(), (1, 10, 2));
    let activity = &w.store.list_by::<Activity>("group", "g")[0];
    assert_eq!(
        (activity.status, &*activity.description),
        (ActivityStatus::Failed, "Executing scheduled action: odd")
    );
    assert_eq!(
        activity.status_message.as_deref(),
        Some("Min bound, 11, must be less than or equal to max bound, 10")
    );
}

#[tokio::test]
async fn removal_limits_and_groups_on_their_way_out() {
    let w = World::new().await;
    for n in 0..125 {
        let timing = Timing { start: Some(w.at(Duration::from_secs(60 + n))), ..Timing::default() };
        w.put(&format!("a{n}"), timing, (None, None, Some(3))).await;
    }
    let one_more = w.try_put("b", daily("0 8 * * *"), (None, None, Some(3))).await;
    assert!(matches!(one_more, Err(ScheduleError::TooMany)));
    // Another one of a name that exists is no more.
    w.put("a0", daily("0 8 * * *"), (None, None, Some(4))).await;
    w.store.transact::<_, ScheduleError>(|tx| remove(tx, "g", "a1")).await.unwrap();
    w.change(|g| g.status = GroupStatus::Deleting).await;
    assert_eq!(w.pass(HOUR * 2).await.done, 0);
    assert_eq!(w.sizes().2, 2);
}

#[tokio::test(start_paused = true)]
async fn it_wakes_by_itself_when_something_is_due() {
    let w = World::new().await;
    w.run.activate().await;
    w.put("up", daily("1 7 * * *"), (None, None, Some(5))).await;
    // First because of the new action, then because its time comes.
    w.run.wake().await;
    w.run.activate().await;
    let began = tokio::time::Instant::now();
    w.run.wake().await;
    assert_eq!(began.elapsed().as_secs(), 60);
}
