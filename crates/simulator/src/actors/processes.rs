//! Users who suspend processes, and resume them.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::{chance, one_of};

const PROCESSES: &[&str] = &[
    "Launch",
    "Terminate",
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "InstanceRefresh",
];

pub(crate) struct Processes;

#[async_trait]
impl Actor for Processes {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(20..150))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(name) = stage.group(dice) else { return };
        let Some(process) = one_of(dice, PROCESSES) else { return };
        let action = if chance(dice, 0.4) { "SuspendProcesses" } else { "ResumeProcesses" };
        let params = [("AutoScalingGroupName", &*name), ("ScalingProcesses.member.1", *process)];
        let _ = stage.client.autoscaling(action, &params).await;
    }
}
