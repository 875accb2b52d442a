//! Users who deal with single members: end, put in standby, detach, attach, protect.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::{chance, one_of};
use crate::setup::AMI;

pub(crate) struct Members;

#[async_trait]
impl Actor for Members {
    fn name(&self) -> &'static str {
        "members"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(5..90))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        match dice.random_range(0..6) {
            0 => terminate(stage, dice).await,
            1 => standby(stage, dice).await,
            2 => leave(stage, dice).await,
            3 => attach(stage, dice).await,
            _ => protect(stage, dice).await,
        }
    }
}

fn either(dice: &mut Pcg64) -> &'static str {
    if chance(dice, 0.5) { "true" } else { "false" }
}

async fn terminate(stage: &Stage<'_>, dice: &mut Pcg64) {
    let Some((_, id)) = stage.member(dice) else { return };
    let params = [("InstanceId", &*id), ("ShouldDecrementDesiredCapacity", either(dice))];
    let _ = stage.client.autoscaling("TerminateInstanceInAutoScalingGroup", &params).await;
}

async fn standby(stage: &Stage<'_>, dice: &mut Pcg64) {
    let Some((group, id)) = stage.member(dice) else { return };
    let named = [("AutoScalingGroupName", &*group), ("InstanceIds.member.1", &*id)];
    if chance(dice, 0.5) {
        let _ = stage.client.autoscaling("ExitStandby", &named).await;
        return;
    }
    let params = [named[0], named[1], ("ShouldDecrementDesiredCapacity", either(dice))];
    let _ = stage.client.autoscaling("EnterStandby", &params).await;
}

async fn leave(stage: &Stage<'_>, dice: &mut Pcg64) {
    let Some((group, id)) = stage.member(dice) else { return };
    let params = [
        ("AutoScalingGroupName", &*group),
        ("InstanceIds.member.1", &*id),
        ("ShouldDecrementDesiredCapacity", either(dice)),
    ];
    let _ = stage.client.autoscaling("DetachInstances", &params).await;
}

/// Attaches an instance that is in no group, or runs one for the next time.
async fn attach(stage: &Stage<'_>, dice: &mut Pcg64) {
    use puffer_core::ec2::InstanceState::Running;
    let Some(group) = stage.group(dice) else { return };
    let free: Vec<String> = {
        let view = &stage.world.state.lock().view;
        let is_free = |id: &str| !view.members.contains_key(id);
        view.instances
            .values()
            .filter(|i| i.state == Running && is_free(&i.id))
            .map(|i| i.id.clone())
            .collect()
    };
    let Some(id) = one_of(dice, &free) else {
        let params = [("ImageId", AMI), ("InstanceType", "t2.micro"), ("MinCount", "1"), ("MaxCount", "1")];
        let _ = stage.client.ec2("RunInstances", &params).await;
        return;
    };
    let params = [("AutoScalingGroupName", &*group), ("InstanceIds.member.1", &**id)];
    let _ = stage.client.autoscaling("AttachInstances", &params).await;
}

async fn protect(stage: &Stage<'_>, dice: &mut Pcg64) {
    let Some((group, id)) = stage.member(dice) else { return };
    let params = [
        ("AutoScalingGroupName", &*group),
        ("InstanceIds.member.1", &*id),
        ("ProtectedFromScaleIn", if chance(dice, 0.7) { "true" } else { "false" }),
    ];
    let _ = stage.client.autoscaling("SetInstanceProtection", &params).await;
}
