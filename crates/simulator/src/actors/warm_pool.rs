//! Users who keep a warm pool, sometimes beside a mixed instances policy.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::{chance, one_of};
use crate::mix::{MixPlan, borrowed};

pub(crate) struct WarmPool;

#[async_trait]
impl Actor for WarmPool {
    fn name(&self) -> &'static str {
        "warm-pool"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(40..400))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(group) = stage.group(dice) else { return };
        let named = ("AutoScalingGroupName", &*group);
        if dice.random_range(0..3) == 0 {
            let params = [named, ("ForceDelete", "true")];
            let _ = stage.client.autoscaling("DeleteWarmPool", &params).await;
            return;
        }
        if chance(dice, 0.25) {
            let mix = MixPlan::on_demand(dice).params("MixedInstancesPolicy", "$Latest");
            stage.ask("UpdateAutoScalingGroup", &group, &borrowed(&mix)).await;
        }
        let min = dice.random_range(0..4).to_string();
        let prepared = dice.random_range(0..14).to_string();
        let params = [
            named,
            ("MinSize", &*min),
            ("MaxGroupPreparedCapacity", &*prepared),
            ("PoolState", one_of(dice, &["Stopped", "Running"]).unwrap_or(&"Stopped")),
            ("InstanceReusePolicy.ReuseOnScaleIn", one_of(dice, &["true", "false"]).unwrap_or(&"false")),
        ];
        let _ = stage.client.autoscaling("PutWarmPool", &params).await;
    }
}
