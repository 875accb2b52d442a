//! Users who delete groups, with or without force, and make them again under the same name.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::{chance, one_of};
use crate::setup::{make_group, put_policies};

pub(crate) struct Groups;

#[async_trait]
impl Actor for Groups {
    fn name(&self) -> &'static str {
        "groups"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(60..400))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let plans = &stage.world.plan.groups;
        let Some(plan) = one_of(dice, plans) else { return };
        let exists = stage.world.state.lock().view.groups.contains_key(&plan.name);
        if exists {
            let force = if chance(dice, 0.7) { "true" } else { "false" };
            let params = [("AutoScalingGroupName", &*plan.name), ("ForceDelete", force)];
            let _ = stage.client.autoscaling("DeleteAutoScalingGroup", &params).await;
        } else if make_group(stage.world, &stage.client, plan).await.is_ok() {
            let _ = put_policies(&stage.client, plan).await;
        }
    }
}
