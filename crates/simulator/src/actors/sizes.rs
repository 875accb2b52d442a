//! Users who set sizes: the wanted capacity, and the bounds with or without it.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::chance;

pub(crate) struct Sizes;

#[async_trait]
impl Actor for Sizes {
    fn name(&self) -> &'static str {
        "sizes"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(5..120))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(name) = stage.group(dice) else { return };
        let (min, max) = match stage.world.state.lock().view.groups.get(&name) {
            Some(g) => (g.min, g.max),
            None => return,
        };
        if chance(dice, 0.6) {
            // One beyond each bound, too: what is refused must change nothing.
            let desired = dice.random_range(min.saturating_sub(1)..=max + 1).to_string();
            let honour = if chance(dice, 0.3) { "true" } else { "false" };
            let params =
                [("AutoScalingGroupName", &*name), ("DesiredCapacity", &*desired), ("HonorCooldown", honour)];
            let _ = stage.client.autoscaling("SetDesiredCapacity", &params).await;
            return;
        }
        let max = dice.random_range(0..=12_u32);
        let min = dice.random_range(0..=max.min(4));
        let (max, min) = (max.to_string(), min.to_string());
        let mut params = vec![("AutoScalingGroupName", &*name), ("MaxSize", &*max), ("MinSize", &*min)];
        if chance(dice, 0.3) {
            params.push(("DesiredCapacity", &*max));
        }
        let _ = stage.client.autoscaling("UpdateAutoScalingGroup", &params).await;
    }
}
