//! Users who attach target groups and classic load balancers to groups and detach them, by both families of calls.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::chance;
use crate::setup::target_group_of;

pub(crate) struct Traffic;

#[async_trait]
impl Actor for Traffic {
    fn name(&self) -> &'static str {
        "traffic"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(30..250))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(plan) = stage.planned(dice).filter(|g| g.has_target_group) else { return };
        let Some(arn) = target_group_of(stage.world, &plan.name) else { return };
        let verb = if chance(dice, 0.6) { "Attach" } else { "Detach" };
        let by_sources = !chance(dice, 0.5);
        if plan.is_classic {
            let sources = [
                ("TrafficSources.member.1.Identifier", plan.name.as_str()),
                ("TrafficSources.member.1.Type", "elb"),
            ];
            let names = [("LoadBalancerNames.member.1", plan.name.as_str())];
            return match by_sources {
                true => stage.ask(&format!("{verb}TrafficSources"), &plan.name, &sources).await,
                false => stage.ask(&format!("{verb}LoadBalancers"), &plan.name, &names).await,
            };
        }
        if !by_sources {
            let params = [("TargetGroupARNs.member.1", &*arn)];
            return stage.ask(&format!("{verb}LoadBalancerTargetGroups"), &plan.name, &params).await;
        }
        let params =
            [("TrafficSources.member.1.Identifier", &*arn), ("TrafficSources.member.1.Type", "elbv2")];
        stage.ask(&format!("{verb}TrafficSources"), &plan.name, &params).await;
    }
}
