//! Users with lifecycle hooks: some answer them, some answer late, some never.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::one_of;

const TRANSITIONS: [(&str, &str); 2] = [
    ("launching", "autoscaling:EC2_INSTANCE_LAUNCHING"),
    ("terminating", "autoscaling:EC2_INSTANCE_TERMINATING"),
];

pub(crate) struct Hooks;

#[async_trait]
impl Actor for Hooks {
    fn name(&self) -> &'static str {
        "hooks"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(5..90))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        // Some never answer: their hooks must end by time.
        let silent = stage.world.plan.seed.is_multiple_of(2);
        match dice.random_range(0..10) {
            0..=1 => put(stage, dice).await,
            2 if dice.random_range(0..3) == 0 => retain(stage, dice).await,
            2 => delete(stage, dice).await,
            _ if silent => {}
            _ => answer(stage, dice).await,
        }
    }
}

async fn put(stage: &Stage<'_>, dice: &mut Pcg64) {
    let Some(group) = stage.group(dice) else { return };
    let Some((name, transition)) = one_of(dice, &TRANSITIONS) else { return };
    let heartbeat = dice.random_range(30..90).to_string();
    let params = [
        ("AutoScalingGroupName", &*group),
        ("LifecycleHookName", *name),
        ("LifecycleTransition", *transition),
        ("HeartbeatTimeout", &*heartbeat),
        ("DefaultResult", one_of(dice, &["CONTINUE", "ABANDON"]).unwrap_or(&"CONTINUE")),
    ];
    let _ = stage.client.autoscaling("PutLifecycleHook", &params).await;
}

/// What becomes of instances whose termination hook is abandoned.
async fn retain(stage: &Stage<'_>, dice: &mut Pcg64) {
    let Some(group) = stage.group(dice) else { return };
    let what = one_of(dice, &["retain", "terminate"]).unwrap_or(&"terminate");
    let params = [("InstanceLifecyclePolicy.RetentionTriggers.TerminateHookAbandon", *what)];
    stage.ask("UpdateAutoScalingGroup", &group, &params).await;
}

async fn delete(stage: &Stage<'_>, dice: &mut Pcg64) {
    let Some(group) = stage.group(dice) else { return };
    let Some((name, _)) = one_of(dice, &TRANSITIONS) else { return };
    let params = [("AutoScalingGroupName", &*group), ("LifecycleHookName", *name)];
    let _ = stage.client.autoscaling("DeleteLifecycleHook", &params).await;
}

/// Completes a wait or asks for more time.
async fn answer(stage: &Stage<'_>, dice: &mut Pcg64) {
    use puffer_core::autoscaling::LifecycleState as S;
    let waiting: Vec<(String, String, &str)> = {
        let view = &stage.world.state.lock().view;
        let hook = |state: S| match state {
            S::PendingWait | S::WarmedPendingWait => Some("launching"),
            S::TerminatingWait | S::ReplacingRootVolumeWait | S::WarmedTerminatingWait => Some("terminating"),
            _ => None,
        };
        let found = |m: &std::sync::Arc<puffer_core::autoscaling::Member>| {
            Some((m.group.clone(), m.instance_id.clone(), hook(m.state)?))
        };
        view.members.values().filter_map(found).collect()
    };
    let Some((group, id, hook)) = one_of(dice, &waiting) else { return };
    let named = [("AutoScalingGroupName", &**group), ("LifecycleHookName", *hook), ("InstanceId", &**id)];
    if dice.random_range(0..4) == 0 {
        let _ = stage.client.autoscaling("RecordLifecycleActionHeartbeat", &named).await;
        return;
    }
    let result = one_of(dice, &["CONTINUE", "CONTINUE", "ABANDON"]).unwrap_or(&"CONTINUE");
    let mut params = named.to_vec();
    params.push(("LifecycleActionResult", result));
    let _ = stage.client.autoscaling("CompleteLifecycleAction", &params).await;
}
