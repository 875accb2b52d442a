//! Users who change the zones of a group, how it is distributed over them, and shift it away from one.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::{chance, one_of};
use crate::operator;
use crate::plan::ZONES;
use crate::setup::subnets_of;

pub(crate) struct ZoneSettings;

#[async_trait]
impl Actor for ZoneSettings {
    fn name(&self) -> &'static str {
        "zone-settings"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(20..200))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(group) = stage.group(dice) else { return };
        match dice.random_range(0..7) {
            0..=1 => {
                let first = dice.random_range(0..ZONES.len());
                let n = dice.random_range(1..=ZONES.len());
                let zones: Vec<&str> = (0..n).map(|i| ZONES[(first + i) % ZONES.len()]).collect();
                let subnets = subnets_of(stage.world, &zones).join(",");
                stage.ask("UpdateAutoScalingGroup", &group, &[("VPCZoneIdentifier", &subnets)]).await;
            }
            2 => {
                let strategy =
                    one_of(dice, &["balanced-only", "balanced-best-effort"]).unwrap_or(&"balanced-only");
                let params = [("AvailabilityZoneDistribution.CapacityDistributionStrategy", *strategy)];
                stage.ask("UpdateAutoScalingGroup", &group, &params).await;
            }
            3..=4 => {
                let policy = "AvailabilityZoneImpairmentPolicy";
                let (enabled, behaviour) = (
                    format!("{policy}.ZonalShiftEnabled"),
                    format!("{policy}.ImpairedZoneHealthCheckBehavior"),
                );
                let how =
                    one_of(dice, &["IgnoreUnhealthy", "ReplaceUnhealthy"]).unwrap_or(&"ReplaceUnhealthy");
                let follows = if chance(dice, 0.8) { "true" } else { "false" };
                stage.ask("UpdateAutoScalingGroup", &group, &[(&enabled, follows), (&behaviour, how)]).await;
            }
            _ => {
                let time = Duration::from_secs(dice.random_range(30..600));
                let zone = one_of(dice, &ZONES).filter(|_| chance(dice, 0.7));
                operator::shift(stage.world, &group, zone.map(|z| (*z, time))).await;
            }
        }
    }
}
