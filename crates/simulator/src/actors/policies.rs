//! Users who put, delete and execute policies, predictive ones among them.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage, predictions};
use crate::dice::{chance, one_of};
use crate::plan::PolicyPlan;
use crate::setup::put_policies;

pub(crate) struct Policies;

#[async_trait]
impl Actor for Policies {
    fn name(&self) -> &'static str {
        "policies"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(10..150))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(name) = stage.group(dice) else { return };
        let Some(plan) = stage.world.plan.groups.iter().find(|g| g.name == name) else { return };
        match dice.random_range(0..9) {
            0 => {
                let Some(policy) = one_of(dice, &["cpu", "net", "out", "in", "forecast"]) else { return };
                let params = [("AutoScalingGroupName", &*name), ("PolicyName", *policy)];
                let _ = stage.client.autoscaling("DeletePolicy", &params).await;
            }
            1 => drop(put_policies(&stage.client, plan).await),
            2 => predictions::put(stage, &name).await,
            _ => {
                let Some(policy) = one_of(dice, &["out", "in"]) else { return };
                let value = dice.random_range(0..100).to_string();
                let mut params = vec![("AutoScalingGroupName", &*name), ("PolicyName", *policy)];
                match plan.policy {
                    PolicyPlan::Step => {
                        params.extend([("MetricValue", &*value), ("BreachThreshold", "50")]);
                    }
                    // Some cannot wait.
                    _ => params.push(("HonorCooldown", if chance(dice, 0.7) { "true" } else { "false" })),
                }
                let _ = stage.client.autoscaling("ExecutePolicy", &params).await;
            }
        }
    }
}
