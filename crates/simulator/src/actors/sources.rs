//! Users who change what a group launches from: a newer version of the template, a configuration, a mixed instances
//! policy, and back.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::{chance, one_of};
use crate::mix::{MixPlan, borrowed};
use crate::setup::AMI;

pub(crate) struct Sources;

#[async_trait]
impl Actor for Sources {
    fn name(&self) -> &'static str {
        "sources"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(20..200))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(group) = stage.group(dice) else { return };
        match dice.random_range(0..9) {
            0 => new_version(stage, dice).await,
            1 => {
                let version = dice.random_range(1..4).to_string();
                let params = [("LaunchTemplateName", "web"), ("SetDefaultVersion", &*version)];
                let _ = stage.client.ec2("ModifyLaunchTemplate", &params).await;
            }
            2 => configuration(stage, &group, dice).await,
            3 => {
                let version = one_of(dice, &["$Latest", "$Default", "1"]).unwrap_or(&"$Latest");
                let params =
                    [("LaunchTemplate.LaunchTemplateName", "web"), ("LaunchTemplate.Version", *version)];
                stage.ask("UpdateAutoScalingGroup", &group, &params).await;
            }
            4..=6 => {
                let params = MixPlan::random(dice).params("MixedInstancesPolicy", "$Latest");
                stage.ask("UpdateAutoScalingGroup", &group, &borrowed(&params)).await;
            }
            7 => {
                let price = one_of(dice, &["", "1.0", "0.5"]).unwrap_or(&"");
                let params = [("MixedInstancesPolicy.InstancesDistribution.SpotMaxPrice", *price)];
                stage.ask("UpdateAutoScalingGroup", &group, &params).await;
            }
            _ => {
                let rebalances = if chance(dice, 0.6) { "true" } else { "false" };
                stage.ask("UpdateAutoScalingGroup", &group, &[("CapacityRebalance", rebalances)]).await;
            }
        }
    }
}

async fn new_version(stage: &Stage<'_>, dice: &mut Pcg64) {
    let params = [
        ("LaunchTemplateName", "web"),
        ("LaunchTemplateData.ImageId", AMI),
        ("LaunchTemplateData.InstanceType", one_of(dice, &["t2.micro", "t3.micro"]).unwrap_or(&"t2.micro")),
        ("LaunchTemplateData.Monitoring.Enabled", "true"),
    ];
    let _ = stage.client.ec2("CreateLaunchTemplateVersion", &params).await;
}

/// Makes a configuration and uses it, or deletes one that may be in use.
async fn configuration(stage: &Stage<'_>, group: &str, dice: &mut Pcg64) {
    let name = format!("lc{}", dice.random_range(0..3));
    if chance(dice, 0.25) {
        let params = [("LaunchConfigurationName", &*name)];
        let _ = stage.client.autoscaling("DeleteLaunchConfiguration", &params).await;
        return;
    }
    let params = [("LaunchConfigurationName", &*name), ("ImageId", AMI), ("InstanceType", "t2.micro")];
    let _ = stage.client.autoscaling("CreateLaunchConfiguration", &params).await;
    stage.ask("UpdateAutoScalingGroup", group, &[("LaunchConfigurationName", &name)]).await;
}
