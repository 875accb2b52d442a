//! Users who replace all instances of a group, and change their minds.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};

pub(crate) struct Refresh;

#[async_trait]
impl Actor for Refresh {
    fn name(&self) -> &'static str {
        "refresh"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(30..300))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(group) = stage.group(dice) else { return };
        let named = ("AutoScalingGroupName", &*group);
        let action = match dice.random_range(0..6) {
            0 => "CancelInstanceRefresh",
            1 => "RollbackInstanceRefresh",
            _ => {
                let healthy = dice.random_range(0..=100).to_string();
                let params = [
                    named,
                    ("Preferences.MinHealthyPercentage", &*healthy),
                    ("Preferences.InstanceWarmup", "5"),
                    ("Preferences.ScaleInProtectedInstances", "Refresh"),
                    ("Preferences.StandbyInstances", "Ignore"),
                ];
                let _ = stage.client.autoscaling("StartInstanceRefresh", &params).await;
                return;
            }
        };
        let _ = stage.client.autoscaling(action, &[named]).await;
    }
}
