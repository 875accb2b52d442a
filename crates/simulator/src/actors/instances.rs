//! Users who go past Auto Scaling and stop, end or reboot instances, or replace their root volumes, by EC2.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};

pub(crate) struct Instances;

#[async_trait]
impl Actor for Instances {
    fn name(&self) -> &'static str {
        "instances"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(15..200))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some((_, id)) = stage.member(dice) else { return };
        let action = match dice.random_range(0..6) {
            0..=1 => "TerminateInstances",
            2 => "StopInstances",
            3 => "StartInstances",
            4 => {
                let params = [("InstanceId", &*id), ("DeleteReplacedRootVolume", "true")];
                let _ = stage.client.ec2("CreateReplaceRootVolumeTask", &params).await;
                return;
            }
            _ => "RebootInstances",
        };
        let _ = stage.client.ec2(action, &[("InstanceId.1", &id)]).await;
    }
}
