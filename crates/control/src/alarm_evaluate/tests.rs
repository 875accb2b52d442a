use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use puffer_core::alarm::{
    Alarm, AlarmState, Comparison, HistoryItem, MetricId, MetricQuery, MetricSource, TreatMissingData, Unit,
};
use puffer_core::{ManualClock, Timestamp};
use puffer_inventory::alarms::{self, StateChange};
use puffer_metrics::{Metrics, Options, Sample};
use puffer_store::{Store, StoreError};

use super::*;
use crate::FiredAlarm;

const START: Timestamp = Timestamp::from_secs(1_795_219_200);
const POLICY: &str =
    "arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:1:autoScalingGroupName/g:policyName/p";

#[derive(Default)]
struct Recorder {
    repeat_s: Option<u32>,
    fired: Mutex<Vec<FiredAlarm>>,
}

#[async_trait]
impl AlarmAction for Recorder {
    fn takes(&self, action: &str) -> bool {
        action.contains(":scalingPolicy:") || action.contains(":sns:")
    }

    fn repeat_s(&self, _action: &str) -> Option<u32> {
        self.repeat_s
    }

    async fn run(&self, fired: Vec<FiredAlarm>) -> Vec<ActionOutcome> {
        let outcome = ActionOutcome { succeeded: true, summary: "done".into() };
        let outcomes = vec![outcome; fired.len()];
        self.fired.lock().extend(fired);
        outcomes
    }
}

struct World {
    clock: Arc<ManualClock>,
    store: Store,
    metrics: Metrics,
    actions: Arc<Recorder>,
    evaluate: AlarmEvaluate,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    world_of(Some(60))
}

/// A world whose actions are repeated, or not.
fn world_of(repeat_s: Option<u32>) -> World {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let store = Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap();
    let metrics =
        Metrics::open(&dir.path().join("metrics.redb"), Arc::clone(&clock) as _, Options::default()).unwrap();
    let actions = Arc::new(Recorder { repeat_s, ..Recorder::default() });
    let evaluate = AlarmEvaluate::new(
        store.clone(),
        metrics.clone(),
        Arc::clone(&clock) as _,
        vec![Arc::clone(&actions) as _],
    );
    World { clock, store, metrics, actions, evaluate, _dir: dir }
}

fn metric() -> MetricId {
    MetricId::new("AWS/EC2", "CPUUtilization", &[("AutoScalingGroupName", "g")])
}

fn stat(id: &str, name: &str, period_s: u32, return_data: bool) -> MetricQuery {
    MetricQuery {
        id: id.into(),
        source: MetricSource::Stat {
            metric: MetricId { name: name.into(), ..metric() },
            statistic: "Average".into(),
            period_s,
            unit: None,
        },
        label: None,
        return_data,
    }
}

pub(crate) fn alarm(name: &str, period_s: u32, n: u32) -> Alarm {
    Alarm {
        name: name.into(),
        arn: format!("arn:aws:cloudwatch:us-east-1:123456789012:alarm:{name}"),
        description: None,
        actions_enabled: true,
        ok_actions: vec![],
        alarm_actions: vec![POLICY.into()],
        insufficient_data_actions: vec![],
        queries: vec![stat("m1", "CPUUtilization", period_s, true)],
        plain: true,
        period_s,
        evaluation_periods: n,
        datapoints_to_alarm: None,
        threshold: 50.0,
        comparison: Comparison::GreaterThanThreshold,
        treat_missing_data: TreatMissingData::Missing,
        ignore_low_samples: false,
        state: AlarmState::InsufficientData,
        state_reason: "Unchecked: Initial alarm creation".into(),
        state_reason_data: None,
        state_updated_at: START,
        state_transitioned_at: START,
        state_before: Default::default(),
        has_transitioned: false,
        configured_at: START,
        actions_done_for: Some(START),
        owner: None,
        tags: Default::default(),
    }
}

impl World {
    async fn put(&self, alarm: Alarm) {
        let put = |tx: &mut puffer_store::Transaction<'_>| {
            alarms::put(tx, alarm);
            Ok::<_, StoreError>(())
        };
        self.store.transact(put).await.unwrap();
    }

    fn state(&self, name: &str) -> AlarmState {
        self.store.get::<Alarm>(name).unwrap().state
    }

    /// Lets `seconds` pass; each second is a turn.
    async fn pass(&self, seconds: u64) -> AlarmStatus {
        let mut total = AlarmStatus::default();
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            let s = self.evaluate.activate().await;
            total.n_alarms = s.n_alarms;
            total.n_evaluated += s.n_evaluated;
            total.n_transitions += s.n_transitions;
            total.n_actions += s.n_actions;
        }
        total
    }

    fn now_s(&self) -> i64 {
        self.clock.now().as_secs()
    }

    fn load(&self, value: f64, resolution_s: u32) {
        let at =
            self.clock.now().floor_to(i64::from(resolution_s)) - Duration::from_secs(u64::from(resolution_s));
        self.metrics.put(&metric(), Unit::Percent, at, Sample::Value(value), resolution_s).unwrap();
    }

    fn history(&self, name: &str) -> Vec<String> {
        self.store.list_by::<HistoryItem>("alarm", name).iter().map(|i| i.summary.clone()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_alarm_goes_off_acts_each_minute_and_calms_down() {
    let w = world();
    w.put(alarm("high", 60, 3)).await;
    for minute in 0..6 {
        w.clock.set(START + Duration::from_secs(60 * (minute + 1)));
        w.load(80.0, 60);
        w.pass(59).await;
    }
    assert_eq!(w.state("high"), AlarmState::Alarm);
    let alarm = w.store.get::<Alarm>("high").unwrap();
    assert!(
        alarm.state_reason.starts_with("Threshold Crossed: 3 out of the last 3 datapoints [80.0 ("),
        "{}",
        alarm.state_reason
    );
    {
        let fired = w.actions.fired.lock();
        // In the third minute it went off; then once in each of the three that followed.
        assert_eq!(fired.len(), 4, "{fired:?}");
        assert_eq!((fired[0].value, fired[0].threshold), (Some(80.0), 50.0));
        let gaps: Vec<i64> = fired.windows(2).map(|f| f[1].at.as_secs() - f[0].at.as_secs()).collect();
        assert_eq!(gaps, [60, 60, 60]);
    }
    for _ in 0..2 {
        w.clock.set(w.clock.now().floor_to(60) + Duration::from_secs(60));
        w.load(10.0, 60);
        w.pass(59).await;
    }
    assert_eq!(w.state("high"), AlarmState::Ok);
    let history = w.history("high");
    assert_eq!(
        history,
        [
            "Alarm \"high\" created".to_owned(),
            "Alarm updated from INSUFFICIENT_DATA to ALARM".to_owned(),
            format!("Successfully executed action {POLICY}"),
            "Alarm updated from ALARM to OK".to_owned(),
        ]
    );
    // Silence: in the end it knows nothing.
    w.pass(10 * 60).await;
    assert_eq!(w.state("high"), AlarmState::InsufficientData);
}

#[tokio::test(start_paused = true)]
async fn periods_of_a_second_are_evaluated_each_second() {
    let w = world_of(Some(1));
    w.put(alarm("fast", 1, 2)).await;
    w.pass(5).await;
    let mut acted_at = None;
    let began = w.now_s();
    for _ in 0..6 {
        w.clock.advance(Duration::from_secs(1));
        w.load(90.0, 1);
        let status = w.evaluate.activate().await;
        assert_eq!(status.n_evaluated, 1);
        if status.n_actions > 0 && acted_at.is_none() {
            acted_at = Some(w.now_s() - began);
        }
    }
    assert_eq!(acted_at, Some(2));
    // Repeated each second while the state lasts.
    assert_eq!(w.actions.fired.lock().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn short_periods_repeat_no_more_often_than_their_actions_ask() {
    for period_s in [10, 30] {
        let w = world();
        w.put(alarm("quick", period_s, 1)).await;
        for _ in 0..3 * 60 {
            w.load(90.0, period_s);
            w.pass(1).await;
        }
        let fired = w.actions.fired.lock();
        let gaps: Vec<i64> = fired.windows(2).map(|f| f[1].at.as_secs() - f[0].at.as_secs()).collect();
        assert!(gaps.len() >= 2 && gaps.iter().all(|gap| *gap == 60), "{period_s} s: {gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_delays_no_evaluation() {
    let w = world();
    w.put(alarm("slow", 60, 3)).await;
    assert!(w.pass(90).await.n_evaluated >= 1);
    w.clock.set(w.clock.now() - Duration::from_secs(3600));
    assert_eq!(w.pass(1).await.n_evaluated, 1, "at once");
    assert_eq!(w.pass(120).await.n_evaluated, 2, "and each minute again");
}

#[tokio::test(start_paused = true)]
async fn only_due_alarms_are_touched() {
    let w = world();
    for i in 0..200 {
        w.put(alarm(&format!("a{i}"), 60, 3)).await;
    }
    assert_eq!(w.pass(1).await.n_evaluated, 200);
    // Each once a minute from then on, in its place.
    w.clock.set(START + Duration::from_secs(119));
    w.evaluate.activate().await;
    let minute = w.pass(60).await;
    assert_eq!((minute.n_alarms, minute.n_evaluated, minute.n_transitions), (200, 200, 0));
    assert_eq!(w.pass(40).await.n_evaluated, 200);
    let (before, quiet) = (w.store.commit_stats().n_commits, w.pass(120).await);
    assert_eq!(quiet.n_evaluated, 400);
    assert_eq!(w.store.commit_stats().n_commits, before, "nothing changed, so nothing is written");
}

#[tokio::test(start_paused = true)]
async fn a_state_set_by_hand_acts_at_once_and_lasts_until_the_next_turn() {
    let w = world();
    w.put(alarm("hand", 60, 1)).await;
    w.clock.set(START + Duration::from_secs(60));
    w.load(10.0, 60);
    w.pass(30).await;
    assert_eq!(w.state("hand"), AlarmState::Ok);
    let change = StateChange {
        state: AlarmState::Alarm,
        reason: "testing".into(),
        reason_data: None,
        at: w.clock.now() + Duration::from_millis(10),
    };
    w.store
        .transact::<_, StoreError>(|tx| {
            alarms::set_state(tx, "hand", change).unwrap();
            Ok(())
        })
        .await
        .unwrap();
    let status = w.pass(1).await;
    assert_eq!((status.n_actions, status.n_evaluated), (1, 0));
    assert_eq!(w.state("hand"), AlarmState::Alarm);
    w.pass(60).await;
    assert_eq!(w.state("hand"), AlarmState::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_state_set_by_hand_before_the_first_turn_acts_too() {
    let w = world();
    w.pass(1).await;
    w.put(Alarm { insufficient_data_actions: vec![POLICY.into()], ..alarm("hand", 60, 1) }).await;
    let change = StateChange {
        state: AlarmState::Alarm,
        reason: "testing".into(),
        reason_data: None,
        at: w.clock.now() + Duration::from_millis(10),
    };
    w.store
        .transact::<_, StoreError>(|tx| {
            alarms::set_state(tx, "hand", change).unwrap();
            Ok(())
        })
        .await
        .unwrap();
    // Its first turn is at once, too, and finds no data.
    w.pass(1).await;
    assert_eq!(w.state("hand"), AlarmState::InsufficientData);
    let states: Vec<_> = w.actions.fired.lock().iter().map(|f| f.state).collect();
    assert_eq!(states, [AlarmState::Alarm, AlarmState::InsufficientData]);
}

#[tokio::test(start_paused = true)]
async fn being_made_is_no_transition() {
    let w = world();
    w.put(Alarm { insufficient_data_actions: vec![POLICY.into()], ..alarm("new", 60, 1) }).await;
    w.pass(120).await;
    assert_eq!(w.state("new"), AlarmState::InsufficientData);
    assert_eq!(w.actions.fired.lock().len(), 0);
    w.clock.set(w.clock.now().floor_to(60) + Duration::from_secs(60));
    w.load(10.0, 60);
    w.pass(59).await;
    assert_eq!(w.state("new"), AlarmState::Ok);
    // Silence is a transition now.
    w.pass(10 * 60).await;
    assert_eq!(w.state("new"), AlarmState::InsufficientData);
    assert!(!w.actions.fired.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn expressions_are_watched_too_and_disabled_actions_stay_quiet() {
    let w = world();
    let mut maths = alarm("maths", 60, 1);
    maths.plain = false;
    maths.actions_enabled = false;
    maths.queries = vec![
        stat("m1", "CPUUtilization", 60, false),
        stat("m2", "Other", 60, false),
        MetricQuery {
            id: "e1".into(),
            source: MetricSource::Expression { expression: "m1 + FILL(m2, 30)".into(), period_s: None },
            label: None,
            return_data: true,
        },
    ];
    w.put(maths).await;
    w.clock.set(START + Duration::from_secs(60));
    w.load(30.0, 60);
    w.pass(30).await;
    assert_eq!(w.state("maths"), AlarmState::Alarm);
    assert_eq!(w.actions.fired.lock().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn actions_that_are_not_repeated_run_once_for_a_transition_even_after_a_restart() {
    const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:t";
    let mut w = world_of(None);
    let mut once = alarm("once", 60, 1);
    once.alarm_actions = vec![TOPIC.into()];
    once.insufficient_data_actions = vec![TOPIC.into()];
    w.put(once.clone()).await;
    w.pass(59).await;
    assert_eq!(w.actions.fired.lock().len(), 0, "the state of its creation is no transition");
    for minute in 1..4 {
        w.clock.set(START + Duration::from_secs(60 * minute));
        w.load(80.0, 60);
        w.pass(59).await;
    }
    assert_eq!(w.state("once"), AlarmState::Alarm);
    assert_eq!(w.actions.fired.lock().len(), 1);
    // As after a restart: nothing is known but what is recorded.
    w.evaluate = AlarmEvaluate::new(
        w.store.clone(),
        w.metrics.clone(),
        Arc::clone(&w.clock) as _,
        vec![Arc::clone(&w.actions) as _],
    );
    w.clock.set(w.clock.now().floor_to(60) + Duration::from_secs(60));
    w.load(80.0, 60);
    w.pass(59).await;
    assert_eq!(w.actions.fired.lock().len(), 1);
    // Another setting of an alarm that is in ALARM already sets nothing off.
    once.configured_at = w.clock.now();
    w.put(once).await;
    w.pass(1).await;
    assert_eq!(w.actions.fired.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn deleted_alarms_are_forgotten() {
    let w = world();
    w.put(alarm("gone", 60, 1)).await;
    assert_eq!(w.pass(1).await.n_alarms, 1);
    w.store
        .transact::<_, StoreError>(|tx| {
            alarms::delete(tx, "gone", START);
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(w.pass(61).await, AlarmStatus::default());
}
