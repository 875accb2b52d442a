use async_trait::async_trait;
use puffer_core::alarm::{HistoryItem, Rule, SuppressorSettings};
use puffer_core::{ManualClock, Tags};

use super::*;

const START: Timestamp = Timestamp::from_secs(1_795_219_200);
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:t";

#[derive(Default)]
struct Recorder {
    fired: Mutex<Vec<(String, AlarmState)>>,
}

#[async_trait]
impl AlarmAction for Recorder {
    fn takes(&self, action: &str) -> bool {
        action == TOPIC
    }

    async fn run(&self, fired: Vec<FiredAlarm>) -> Vec<ActionOutcome> {
        self.fired.lock().extend(fired.iter().map(|f| (f.alarm.clone(), f.state)));
        vec![ActionOutcome { succeeded: true, summary: String::new() }; fired.len()]
    }
}

struct World {
    clock: Arc<ManualClock>,
    store: Store,
    actions: Arc<Recorder>,
    evaluate: CompositeEvaluate,
    _dir: tempfile::TempDir,
}

fn arn(name: &str) -> String {
    format!("arn:aws:cloudwatch:us-east-1:123456789012:alarm:{name}")
}

/// A composite alarm that tells the topic of ALARM and OK.
fn composite(name: &str, rule: &str) -> CompositeAlarm {
    CompositeAlarm {
        name: name.into(),
        arn: arn(name),
        description: None,
        rule_text: rule.into(),
        rule: Rule::parse(rule).unwrap(),
        actions_enabled: true,
        ok_actions: vec![TOPIC.into()],
        alarm_actions: vec![TOPIC.into()],
        insufficient_data_actions: vec![],
        suppressor: None,
        state: AlarmState::InsufficientData,
        state_reason: String::new(),
        state_reason_data: None,
        state_updated_at: START,
        state_transitioned_at: START,
        state_before: Default::default(),
        configured_at: START,
        actions_done_for: Some(START),
        suppressed_by: None,
        tags: Tags::new(),
    }
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let store = Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap();
    let actions = Arc::new(Recorder::default());
    let evaluate =
        CompositeEvaluate::new(store.clone(), Arc::clone(&clock) as _, vec![Arc::clone(&actions) as _]);
    World { clock, store, actions, evaluate, _dir: dir }
}

impl World {
    async fn put(&self, alarm: CompositeAlarm) {
        let put = |tx: &mut Transaction<'_>| Ok::<_, StoreError>(composites::put(tx, alarm));
        self.store.transact(put).await.unwrap();
    }

    /// Makes or moves the metric alarm, and lets the composites follow, a second later.
    async fn metric(&self, name: &str, state: AlarmState) {
        self.clock.advance(Duration::from_secs(1));
        let now = self.clock.now();
        let write = |tx: &mut Transaction<'_>| {
            if tx.get::<Alarm>(name).is_none() {
                tx.put(crate::alarm_evaluate::tests::alarm(name, 60, 1));
            }
            let change = StateChange { state, reason: "said so".into(), reason_data: None, at: now };
            alarms::set_state(tx, name, change);
            Ok::<_, StoreError>(())
        };
        self.store.transact(write).await.unwrap();
        self.settle().await;
    }

    async fn settle(&self) {
        // Each activation's own writes wake it once more.
        for _ in 0..3 {
            self.evaluate.activate().await;
        }
    }

    fn get(&self, name: &str) -> Arc<CompositeAlarm> {
        self.store.get::<CompositeAlarm>(name).unwrap()
    }

    fn fired(&self) -> Vec<(String, AlarmState)> {
        std::mem::take(&mut *self.actions.fired.lock())
    }
}

use AlarmState as S;

#[tokio::test(start_paused = true)]
async fn moves_go_up_and_set_off_actions_once() {
    let w = world();
    w.metric("a", S::Ok).await;
    w.put(composite("low", "ALARM(a) OR ALARM(b)")).await;
    w.put(composite("top", "ALARM(low) AND NOT OK(a)")).await;
    w.settle().await;
    assert_eq!((w.get("low").state, w.get("top").state), (S::Ok, S::Ok));
    assert_eq!(
        w.get("low").state_reason,
        format!("{} was created and its alarm rule evaluates to OK", arn("low"))
    );
    assert_eq!(w.fired(), [("low".into(), S::Ok), ("top".into(), S::Ok)]);
    w.metric("a", S::Alarm).await;
    assert_eq!((w.get("low").state, w.get("top").state), (S::Alarm, S::Alarm));
    let reason = &w.get("top").state_reason;
    assert!(reason.starts_with(&format!("{} transitioned to ALARM at ", arn("a"))), "{reason}");
    assert_eq!(w.fired(), [("low".into(), S::Alarm), ("top".into(), S::Alarm)]);
    w.settle().await;
    assert_eq!(w.fired(), []);
    let history = w.store.list_by::<HistoryItem>("alarm", "low");
    assert!(history.iter().all(|i| i.composite));
    assert_eq!(history.last().unwrap().summary, format!("Successfully executed action {TOPIC}"));
    // As after a restart: what has run does not run again.
    let again =
        CompositeEvaluate::new(w.store.clone(), Arc::clone(&w.clock) as _, vec![Arc::clone(&w.actions) as _]);
    assert_eq!(again.activate().await, CompositeStatus::default());
}

#[tokio::test(start_paused = true)]
async fn a_suppressor_holds_actions_back() {
    let w = world();
    w.metric("a", S::Ok).await;
    w.metric("s", S::Ok).await;
    let mut alarm = composite("c", "ALARM(a)");
    alarm.suppressor = Some(SuppressorSettings::new("s", 60, 120));
    w.put(alarm).await;
    w.settle().await;
    assert_eq!(w.get("c").suppressed_by, Some(SuppressedBy::WaitPeriod));
    w.clock.advance(Duration::from_secs(60));
    w.settle().await;
    assert_eq!(w.fired(), [("c".into(), S::Ok)]);

    // The suppressor comes within the wait, stays, and goes; then the extension passes.
    w.metric("a", S::Alarm).await;
    w.metric("s", S::Alarm).await;
    assert_eq!(w.get("c").suppressed_by, Some(SuppressedBy::Alarm));
    w.clock.advance(Duration::from_secs(3600));
    w.settle().await;
    w.metric("s", S::Ok).await;
    assert_eq!(w.get("c").suppressed_by, Some(SuppressedBy::ExtensionPeriod));
    assert_eq!(w.fired(), []);
    w.clock.advance(Duration::from_secs(120));
    w.settle().await;
    assert_eq!(w.fired(), [("c".into(), S::Alarm)]);
    assert_eq!(w.get("c").suppressed_by, None);
}

#[tokio::test(start_paused = true)]
async fn one_that_depends_on_itself_is_not_evaluated_and_a_state_set_by_hand_lasts() {
    let w = world();
    w.put(composite("x", "ALARM(y) OR TRUE")).await;
    w.put(composite("y", "ALARM(x)")).await;
    w.settle().await;
    assert_eq!((w.get("x").state, w.get("y").state), (S::InsufficientData, S::InsufficientData));

    w.metric("a", S::Ok).await;
    w.put(composite("c", "ALARM(a)")).await;
    w.settle().await;
    let by_hand = StateChange {
        state: S::Alarm,
        reason: "test".into(),
        reason_data: None,
        at: w.clock.now() + Duration::from_millis(1),
    };
    w.store
        .transact::<_, StoreError>(|tx| {
            composites::set_state(tx, "c", by_hand);
            Ok(())
        })
        .await
        .unwrap();
    w.settle().await;
    assert_eq!(w.get("c").state, S::Alarm);
    assert_eq!(w.fired(), [("c".into(), S::Ok), ("c".into(), S::Alarm)]);
    w.metric("a", S::InsufficientData).await;
    assert_eq!(w.get("c").state, S::Ok);
}
