//! Lifecycle hooks: an instance on its way into or out of service waits until somebody says that it may go on.
//!
//! All hooks of a transition begin together, each with a token of its own, and the instance goes on when all have ended
//! well. An action ends when it is completed, or when its heartbeat runs out: then the hook's default result holds. A
//! heartbeat restarts the clock, up to a ceiling. What a time-out means is not written down when it happens but follows from
//! the clock, so a server that was away draws the same conclusion later.
//! Source: EC2 Auto Scaling guide, "Amazon EC2 Auto Scaling lifecycle hooks" and "How lifecycle hooks work".

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Mutation, Timestamp};

/// Hooks of a group (AWS's quota).
pub const HOOKS_PER_GROUP_MAX: usize = 50;
/// `HeartbeatTimeout` when a hook does not say.
pub const HEARTBEAT_DEFAULT_S: u32 = 3600;
/// Shortest `HeartbeatTimeout`.
pub const HEARTBEAT_MIN_S: u32 = 30;
/// Longest `HeartbeatTimeout`.
pub const HEARTBEAT_MAX_S: u32 = 7200;
/// Longest wait whatever the heartbeats: two days …
pub const WAIT_MAX_S: u32 = 48 * 3600;
/// … or so many heartbeat time-outs, whichever is less.
pub const HEARTBEATS_MAX: u32 = 100;

/// Which way an instance is going (`LifecycleTransition`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transition {
    /// Into service, or into the warm pool.
    Launching,
    /// Out of service, or out of the warm pool.
    Terminating,
}

impl Transition {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Transition::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Transition::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }

    /// From AWS's name.
    pub fn parse(name: &str) -> Option<Transition> {
        [Transition::Launching, Transition::Terminating].into_iter().find(|t| t.name() == name)
    }
}

/// What becomes of an instance after a hook (`LifecycleActionResult`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookResult {
    /// It goes on.
    Continue,
    /// It is given up: a launch ends, a termination skips what is left to wait for.
    Abandon,
}

impl HookResult {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            HookResult::Continue => "CONTINUE",
            HookResult::Abandon => "ABANDON",
        }
    }

    /// From AWS's name.
    pub fn parse(name: &str) -> Option<HookResult> {
        [HookResult::Continue, HookResult::Abandon].into_iter().find(|r| r.name() == name)
    }
}

/// A lifecycle hook of a group, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleHook {
    /// Which way.
    pub transition: Transition,
    /// `HeartbeatTimeout`.
    pub heartbeat_s: u32,
    /// `DefaultResult`.
    pub default_result: HookResult,
    /// `NotificationTargetARN`: who is told of the wait.
    pub target: Option<String>,
    /// `RoleARN`, as given.
    pub role: Option<String>,
    /// `NotificationMetadata`, as given.
    pub metadata: Option<String>,
}

impl LifecycleHook {
    /// A hook with AWS's defaults.
    pub fn new(transition: Transition) -> LifecycleHook {
        LifecycleHook {
            transition,
            heartbeat_s: HEARTBEAT_DEFAULT_S,
            default_result: HookResult::Abandon,
            target: None,
            role: None,
            metadata: None,
        }
    }

    /// `GlobalTimeout`: the longest wait, heartbeats included.
    pub fn global_timeout_s(&self) -> u32 {
        self.heartbeat_s.saturating_mul(HEARTBEATS_MAX).min(WAIT_MAX_S)
    }
}

/// The hooks of one transition, by name.
pub fn of_transition(
    hooks: &BTreeMap<String, LifecycleHook>,
    transition: Transition,
) -> impl Iterator<Item = (&String, &LifecycleHook)> {
    hooks.iter().filter(move |(_, hook)| hook.transition == transition)
}

/// One instance's wait for one hook. It carries the hook's settings as they were, so that a hook changed meanwhile bends no
/// wait that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookAction {
    /// The hook's name.
    pub hook: String,
    /// `LifecycleActionToken`, a UUID.
    pub token: String,
    /// The hook's heartbeat.
    pub heartbeat_s: u32,
    /// The hook's default.
    pub default_result: HookResult,
    /// When the default result holds unless a heartbeat comes.
    pub expires_at: Timestamp,
    /// Heartbeats move `expires_at` no further than this.
    pub ceiling_at: Timestamp,
    /// What somebody said.
    pub result: Option<HookResult>,
}

impl HookAction {
    /// Begins now.
    pub fn begin(name: &str, hook: &LifecycleHook, token: String, now: Timestamp) -> HookAction {
        HookAction {
            hook: name.to_owned(),
            token,
            heartbeat_s: hook.heartbeat_s,
            default_result: hook.default_result,
            expires_at: now + seconds(hook.heartbeat_s),
            ceiling_at: now + seconds(hook.global_timeout_s()),
            result: None,
        }
    }

    /// Nobody has completed it and its time has not run out.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.result.is_none() && now < self.expires_at
    }

    /// Restarts the clock.
    pub fn beat(&mut self, now: Timestamp) {
        self.expires_at = (now + seconds(self.heartbeat_s)).min(self.ceiling_at);
    }

    /// How it ended, if it has: the result, and whether by running out of time.
    fn ended(&self, now: Timestamp) -> Option<(HookResult, bool)> {
        match self.result {
            Some(result) => Some((result, false)),
            None if now >= self.expires_at && !Mutation::NeverTimeOutHook.is_on() => {
                Some((self.default_result, true))
            }
            None => None,
        }
    }
}

fn seconds(s: u32) -> Duration {
    Duration::from_secs(s.into())
}

/// Where a member stands with the hooks of the transition it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum HookStand {
    /// They are to come, if there are any.
    #[default]
    Due,
    /// Waiting for these.
    Waiting(Vec<HookAction>),
    /// Behind it, or not for it: attached instances and those that come out of standby pass by.
    Done,
}

impl HookStand {
    /// The actions it waits for.
    pub fn actions(&self) -> &[HookAction] {
        match self {
            HookStand::Waiting(actions) => actions,
            HookStand::Due | HookStand::Done => &[],
        }
    }
}

/// What the actions of a wait come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Some are open; the first runs out then.
    Wait(Timestamp),
    /// All ended well.
    Proceed,
    /// One was abandoned: AWS's message.
    Abandoned(String),
}

/// Judges a wait. One abandoned action decides it, whatever the others say or might have said.
pub fn judge(actions: &[HookAction], now: Timestamp) -> Verdict {
    let mut next: Option<Timestamp> = None;
    for action in actions {
        match action.ended(now) {
            Some((HookResult::Abandon, by_time)) => {
                return Verdict::Abandoned(message(&action.token, by_time));
            }
            Some((HookResult::Continue, _)) => {}
            // One whose time never runs out is looked at again when somebody completes it.
            None if Mutation::NeverTimeOutHook.is_on() => {
                next = Some(next.unwrap_or(now + seconds(u32::MAX)))
            }
            None => next = Some(next.map_or(action.expires_at, |n| n.min(action.expires_at))),
        }
    }
    next.map_or(Verdict::Proceed, Verdict::Wait)
}

fn message(token: &str, by_time: bool) -> String {
    let why = if by_time { "Heartbeat Timeout" } else { "Lifecycle Action Completed with ABANDON Result" };
    format!(
        "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token {token} was abandoned: {why}"
    )
}

/// What a hook that is deleted says for those who wait for it: nobody else will.
pub fn result_of_deletion(transition: Transition) -> HookResult {
    match transition {
        Transition::Launching => HookResult::Abandon,
        Transition::Terminating => HookResult::Continue,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_000);

    fn action(token: &str, heartbeat_s: u32, default_result: HookResult) -> HookAction {
        let hook = LifecycleHook { heartbeat_s, default_result, ..LifecycleHook::new(Transition::Launching) };
        HookAction::begin("h", &hook, token.into(), START)
    }

    fn at(s: i64) -> Timestamp {
        Timestamp::from_secs(1_000 + s)
    }

    #[test]
    fn waits_end_by_word_or_by_time() {
        use HookResult::{Abandon, Continue};
        let said = |result| HookAction { result: Some(result), ..action("said", 60, Abandon) };
        let open = |s, default| action("open", s, default);
        let abandoned = |token: &str, by_time| Verdict::Abandoned(message(token, by_time));
        let table = [
            (vec![], 0, Verdict::Proceed),
            (vec![open(60, Abandon)], 59, Verdict::Wait(at(60))),
            (vec![open(60, Abandon)], 60, abandoned("open", true)),
            (vec![open(60, Continue)], 60, Verdict::Proceed),
            (vec![said(Continue)], 0, Verdict::Proceed),
            (vec![said(Abandon)], 0, abandoned("said", false)),
            (vec![said(Continue), open(60, Continue)], 10, Verdict::Wait(at(60))),
            (vec![open(90, Continue), open(30, Continue)], 10, Verdict::Wait(at(30))),
            (vec![open(90, Continue), open(30, Continue)], 40, Verdict::Wait(at(90))),
            (vec![open(90, Continue), said(Abandon)], 10, abandoned("said", false)),
        ];
        for (actions, s, want) in table {
            assert_eq!(judge(&actions, at(s)), want, "{actions:?} after {s}");
        }
    }

    #[test]
    fn the_ceiling_is_the_lesser_of_two_days_and_a_hundred_heartbeats() {
        for (heartbeat_s, want) in [(30, 3_000), (1_728, 172_800), (7_200, 172_800)] {
            let hook = LifecycleHook { heartbeat_s, ..LifecycleHook::new(Transition::Launching) };
            assert_eq!(hook.global_timeout_s(), want);
        }
    }

    proptest! {
        /// However often somebody beats, the wait ends.
        #[test]
        fn every_wait_ends(heartbeat_s in HEARTBEAT_MIN_S..=HEARTBEAT_MAX_S, gaps in prop::collection::vec(1u32..7200, 0..400)) {
            let mut a = action("t", heartbeat_s, HookResult::Continue);
            let mut now = START;
            for gap in gaps {
                now = now + seconds(gap);
                if a.is_active(now) {
                    a.beat(now);
                }
                prop_assert!(a.expires_at <= a.ceiling_at);
            }
            prop_assert_eq!(judge(&[a], START + seconds(WAIT_MAX_S)), Verdict::Proceed);
        }

        /// Time never turns an ended wait back into an open one.
        #[test]
        fn verdicts_are_final(heartbeats in prop::collection::vec((30u32..7200, any::<bool>()), 1..6), first in 0i64..8000, later in 0i64..8000) {
            let actions: Vec<_> = heartbeats
                .iter()
                .map(|(s, go)| action("t", *s, if *go { HookResult::Continue } else { HookResult::Abandon }))
                .collect();
            let earlier = judge(&actions, at(first));
            let after = judge(&actions, at(first + later));
            match earlier {
                Verdict::Wait(until) => prop_assert!(at(first) < until),
                Verdict::Proceed => prop_assert_eq!(after, Verdict::Proceed),
                Verdict::Abandoned(_) => prop_assert!(matches!(after, Verdict::Abandoned(_))),
            }
        }
    }
}
