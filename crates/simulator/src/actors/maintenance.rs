//! Users with instance maintenance policies, of all four behaviours, and with maximum lifetimes; they change their minds.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::one_of;
use crate::plan::MAINTENANCE;

pub(crate) struct Maintenance;

#[async_trait]
impl Actor for Maintenance {
    fn name(&self) -> &'static str {
        "maintenance"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(20..200))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(group) = stage.group(dice) else { return };
        if dice.random_range(0..3) == 0 {
            let lifetime = one_of(dice, &["0", "86400", "90000"]).unwrap_or(&"0");
            return stage.ask("UpdateAutoScalingGroup", &group, &[("MaxInstanceLifetime", lifetime)]).await;
        }
        let (min, max) = one_of(dice, &MAINTENANCE).copied().unwrap_or_default();
        let (min, max) = (min.to_string(), max.to_string());
        let params = [
            ("InstanceMaintenancePolicy.MinHealthyPercentage", &*min),
            ("InstanceMaintenancePolicy.MaxHealthyPercentage", &*max),
        ];
        stage.ask("UpdateAutoScalingGroup", &group, &params).await;
    }
}
