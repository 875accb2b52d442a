//! Users who tag groups, among others with Puffer's own tags, have them publish metrics, and protect them from deletion.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::{chance, one_of};

pub(crate) struct Chores;

#[async_trait]
impl Actor for Chores {
    fn name(&self) -> &'static str {
        "chores"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(20..200))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(group) = stage.group(dice) else { return };
        match dice.random_range(0..8) {
            0..=3 => tag(stage, &group, dice).await,
            4 => {
                let params = [("Granularity", "1Minute")];
                stage.ask("EnableMetricsCollection", &group, &params).await;
            }
            5 => {
                let params = [("Metrics.member.1", "GroupDesiredCapacity")];
                stage.ask("DisableMetricsCollection", &group, &params).await;
            }
            6 => {
                let protection = one_of(dice, &["none", "prevent-force-deletion"]).unwrap_or(&"none");
                stage.ask("UpdateAutoScalingGroup", &group, &[("DeletionProtection", protection)]).await;
            }
            _ => {
                let warmup = one_of(dice, &["0", "10", "60", "-1"]).unwrap_or(&"0");
                let params = [("DefaultInstanceWarmup", *warmup), ("DefaultCooldown", "30")];
                stage.ask("UpdateAutoScalingGroup", &group, &params).await;
            }
        }
    }
}

async fn tag(stage: &Stage<'_>, group: &str, dice: &mut Pcg64) {
    let tags: [(&str, &[&str]); 7] = [
        ("puffer:metric-period", &["1", "5", "10"]),
        ("puffer:scale-in-datapoints", &["8", "15"]),
        ("puffer:scale-out-cooldown", &["0", "20"]),
        ("puffer:scale-in-cooldown", &["0", "60"]),
        ("puffer:on-demand-fallback", &["true", "false"]),
        ("puffer:cancel-drain", &["true", "false"]),
        ("team", &["blue", "green"]),
    ];
    let Some((key, values)) = one_of(dice, &tags) else { return };
    let mut params = vec![
        ("Tags.member.1.ResourceId", group),
        ("Tags.member.1.ResourceType", "auto-scaling-group"),
        ("Tags.member.1.Key", *key),
    ];
    if chance(dice, 0.25) {
        let _ = stage.client.autoscaling("DeleteTags", &params).await;
        return;
    }
    params.push(("Tags.member.1.Value", one_of(dice, values).unwrap_or(&"1")));
    params.push(("Tags.member.1.PropagateAtLaunch", if chance(dice, 0.5) { "true" } else { "false" }));
    let _ = stage.client.autoscaling("CreateOrUpdateTags", &params).await;
}
