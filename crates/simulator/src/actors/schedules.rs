//! Users with scheduled actions.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::chance;

pub(crate) struct Schedules;

#[async_trait]
impl Actor for Schedules {
    fn name(&self) -> &'static str {
        "schedules"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(30..300))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(group) = stage.group(dice) else { return };
        let named = ("AutoScalingGroupName", &*group);
        let name = format!("s{}", dice.random_range(0..3));
        if dice.random_range(0..4) == 0 {
            let params = [named, ("ScheduledActionName", &*name)];
            let _ = stage.client.autoscaling("DeleteScheduledAction", &params).await;
            return;
        }
        let soon = Duration::from_secs(dice.random_range(10..600));
        let start = (stage.world.time.wall() + soon).to_rfc3339_secs();
        let max = dice.random_range(0..=12_u32);
        let desired = dice.random_range(0..=max).to_string();
        let max = max.to_string();
        let params = [
            named,
            ("ScheduledActionName", &*name),
            ("StartTime", &*start),
            ("MinSize", "0"),
            ("MaxSize", &*max),
            ("DesiredCapacity", &*desired),
        ];
        if chance(dice, 0.7) {
            let _ = stage.client.autoscaling("PutScheduledUpdateGroupAction", &params).await;
        } else if chance(dice, 0.8) {
            let of_batch = |(k, v): &(&str, &str)| {
                (format!("ScheduledUpdateGroupActions.member.1.{k}"), (*v).to_owned())
            };
            let batch: Vec<(String, String)> = params[1..].iter().map(of_batch).collect();
            stage.ask("BatchPutScheduledUpdateGroupAction", &group, &crate::mix::borrowed(&batch)).await;
        } else {
            let names = [("ScheduledActionNames.member.1", "s0"), ("ScheduledActionNames.member.2", "s1")];
            stage.ask("BatchDeleteScheduledAction", &group, &names).await;
        }
    }
}
