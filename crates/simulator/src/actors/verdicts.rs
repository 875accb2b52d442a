//! Users whose own checks call instances unhealthy.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::chance;

pub(crate) struct Verdicts;

#[async_trait]
impl Actor for Verdicts {
    fn name(&self) -> &'static str {
        "verdicts"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(10..150))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some((_, id)) = stage.member(dice) else { return };
        let params = [
            ("InstanceId", &*id),
            ("HealthStatus", if chance(dice, 0.8) { "Unhealthy" } else { "Healthy" }),
            ("ShouldRespectGracePeriod", if chance(dice, 0.5) { "true" } else { "false" }),
        ];
        let _ = stage.client.autoscaling("SetInstanceHealth", &params).await;
    }
}
