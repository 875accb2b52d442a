//! Users who launch instances into a group at once, and ask again with the token of before.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::{chance, one_of};
use crate::plan::ZONES;

pub(crate) struct Launches;

#[async_trait]
impl Actor for Launches {
    fn name(&self) -> &'static str {
        "launches"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(15..150))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(group) = stage.group(dice) else { return };
        let units = dice.random_range(1..4).to_string();
        let token = format!("token-{}", dice.random_range(0..20));
        let mut params = vec![("RequestedCapacity", &*units), ("ClientToken", &*token)];
        if chance(dice, 0.8) {
            params.push(("AvailabilityZones.member.1", one_of(dice, &ZONES).unwrap_or(&ZONES[0])));
        }
        if chance(dice, 0.5) {
            params.push(("RetryStrategy", "retry-with-group-configuration"));
        }
        stage.ask("LaunchInstances", &group, &params).await;
    }
}
