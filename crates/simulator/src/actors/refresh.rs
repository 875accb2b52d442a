//! Users who replace all instances of a group, and change their minds.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::{chance, one_of};
use crate::mix::MixPlan;
use crate::setup::{AMI, OTHER_AMI};

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
                let params = if chance(dice, 0.3) { in_place(dice) } else { preferences(dice) };
                stage.ask("StartInstanceRefresh", &group, &crate::mix::borrowed(&params)).await;
                return;
            }
        };
        let _ = stage.client.autoscaling(action, &[named]).await;
    }
}

/// Root volumes of another image, or of the first one again. Groups without a mixed instances policy refuse it.
fn in_place(dice: &mut Pcg64) -> Vec<(String, String)> {
    let mut params = preferences(dice);
    params.retain(|(name, _)| !name.starts_with("DesiredConfiguration") && !name.contains("MaxHealthy"));
    params.push(("Strategy".into(), "ReplaceRootVolume".into()));
    let image = if chance(dice, 0.7) { OTHER_AMI } else { AMI };
    params.extend(MixPlan::of_image(dice, image).params("DesiredConfiguration.MixedInstancesPolicy", "1"));
    params
}

/// How somebody wants it: sometimes as the group's maintenance policy has it, sometimes otherwise, and sometimes to something new.
fn preferences(dice: &mut Pcg64) -> Vec<(String, String)> {
    let mut params: Vec<(String, String)> = Vec::new();
    let mut prefer = |name: &str, value: String| params.push((format!("Preferences.{name}"), value));
    prefer("InstanceWarmup", dice.random_range(0..20).to_string());
    prefer("ScaleInProtectedInstances", "Refresh".to_owned());
    prefer("StandbyInstances", (*one_of(dice, &["Ignore", "Terminate"]).unwrap_or(&"Ignore")).to_owned());
    match dice.random_range(0..3) {
        0 => {}
        1 => prefer("MinHealthyPercentage", dice.random_range(0..=100).to_string()),
        _ => {
            let min = dice.random_range(50..=100);
            prefer("MinHealthyPercentage", min.to_string());
            prefer("MaxHealthyPercentage", dice.random_range(100..=min + 100).to_string());
        }
    }
    if chance(dice, 0.3) {
        prefer("SkipMatching", "true".to_owned());
    }
    if chance(dice, 0.2) {
        prefer("CheckpointPercentages.member.1", "40".to_owned());
        prefer("CheckpointPercentages.member.2", "100".to_owned());
        prefer("CheckpointDelay", "20".to_owned());
    }
    if chance(dice, 0.2) {
        prefer("BakeTime", "30".to_owned());
    }
    match dice.random_range(0..6) {
        0 => {
            params.push(("DesiredConfiguration.LaunchTemplate.LaunchTemplateName".into(), "web".into()));
            params.push(("DesiredConfiguration.LaunchTemplate.Version".into(), "1".into()));
        }
        1 => {
            let mix = MixPlan::random(dice);
            params.extend(mix.params("DesiredConfiguration.MixedInstancesPolicy", "1"));
        }
        _ => {}
    }
    params
}
