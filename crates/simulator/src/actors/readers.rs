//! Users who ask what there is, page by page: whatever goes on, they get an answer.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::one_of;

pub(crate) struct Readers;

#[async_trait]
impl Actor for Readers {
    fn name(&self) -> &'static str {
        "readers"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(5..60))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(question) = one_of(dice, QUESTIONS) else { return };
        let group = stage.group(dice).unwrap_or_else(|| "nobody".to_owned());
        let page = dice.random_range(1..5).to_string();
        let mut params = Vec::new();
        match question.1 {
            About::All => {}
            About::Pages => params.push(("MaxRecords", &*page)),
            About::Group => params.push(("AutoScalingGroupName", &*group)),
            About::Forecast => params.extend([
                ("AutoScalingGroupName", &*group),
                ("PolicyName", "forecast"),
                ("StartTime", "2026-01-05T00:00:00Z"),
                ("EndTime", "2026-01-06T00:00:00Z"),
            ]),
        }
        let mut said = stage.client.autoscaling(question.0, &params).await;
        // The next pages, a few of them.
        for _ in 0..3 {
            let Ok(answer) = &said else { return };
            let Some(token) = answer.text("NextToken").map(str::to_owned) else { return };
            params.retain(|(name, _)| *name != "NextToken");
            let mut next = params.clone();
            next.push(("NextToken", &token));
            said = stage.client.autoscaling(question.0, &next).await;
        }
    }
}

/// What a question names.
#[derive(Clone, Copy)]
enum About {
    All,
    Pages,
    Group,
    Forecast,
}

const QUESTIONS: &[(&str, About)] = &[
    ("DescribeAccountLimits", About::All),
    ("DescribeAccountSettings", About::All),
    ("DescribeAdjustmentTypes", About::All),
    ("DescribeAutoScalingGroups", About::Pages),
    ("DescribeAutoScalingInstances", About::Pages),
    ("DescribeAutoScalingNotificationTypes", About::All),
    ("DescribeInstanceRefreshes", About::Group),
    ("DescribeLaunchConfigurations", About::Pages),
    ("DescribeLifecycleHookTypes", About::All),
    ("DescribeLifecycleHooks", About::Group),
    ("DescribeLoadBalancerTargetGroups", About::Group),
    ("DescribeLoadBalancers", About::Group),
    ("DescribeMetricCollectionTypes", About::All),
    ("DescribeNotificationConfigurations", About::Pages),
    ("DescribePolicies", About::Pages),
    ("DescribeScalingActivities", About::Pages),
    ("DescribeScalingProcessTypes", About::All),
    ("DescribeScheduledActions", About::Pages),
    ("DescribeTags", About::Pages),
    ("DescribeTerminationPolicyTypes", About::All),
    ("DescribeTrafficSources", About::Group),
    ("DescribeWarmPool", About::Group),
    ("GetPredictiveScalingForecast", About::Forecast),
];
