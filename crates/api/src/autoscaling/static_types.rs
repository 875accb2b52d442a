//! The calls that list what the service knows.

use std::sync::Arc;

use puffer_core::autoscaling::{Group, LaunchConfiguration, process};
use puffer_shapes::autoscaling as shape;

use super::describe_groups::signed;
use super::metrics_collection::METRICS;
use super::paging;
use crate::{ApiError, Ctx, Registry};

/// AWS's default quota of groups; not enforced, because the limit here is the machine.
pub(super) const GROUPS_MAX: i32 = 500;
/// AWS's default quota of launch configurations.
pub(super) const LAUNCH_CONFIGURATIONS_MAX: i32 = 200;

/// Termination policies that take effect.
pub(super) const TERMINATION_POLICIES: &[&str] = &[
    "AllocationStrategy",
    "ClosestToNextInstanceHour",
    "Default",
    "NewestInstance",
    "OldestInstance",
    "OldestLaunchConfiguration",
    "OldestLaunchTemplate",
];

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::DescribeAdjustmentTypes, _>(adjustment_types);
    registry.serve::<shape::DescribeScalingProcessTypes, _>(process_types);
    registry.serve::<shape::DescribeMetricCollectionTypes, _>(metric_types);
    registry.serve::<shape::DescribeTerminationPolicyTypes, _>(termination_policies);
    registry.serve::<shape::DescribeLifecycleHookTypes, _>(hook_types);
    registry.serve::<shape::DescribeAutoScalingNotificationTypes, _>(notification_types);
    registry.serve::<shape::DescribeAccountLimits, _>(account_limits);
    registry.serve::<shape::DescribeAccountSettings, _>(account_settings);
    registry.serve::<shape::PutAccountSetting, _>(put_account_setting);
}

async fn adjustment_types(_: Arc<Ctx>, (): ()) -> Result<shape::DescribeAdjustmentTypesAnswer, ApiError> {
    let types = ["ChangeInCapacity", "ExactCapacity", "PercentChangeInCapacity"];
    Ok(shape::DescribeAdjustmentTypesAnswer {
        adjustment_types: Some(
            types.map(|t| shape::AdjustmentType { adjustment_type: Some(t.to_owned()) }).to_vec(),
        ),
    })
}

async fn process_types(_: Arc<Ctx>, (): ()) -> Result<shape::ProcessesType, ApiError> {
    let one = |name: &&str| shape::ProcessType { process_name: Some((*name).to_owned()) };
    Ok(shape::ProcessesType { processes: Some(process::ALL.iter().map(one).collect()) })
}

async fn metric_types(_: Arc<Ctx>, (): ()) -> Result<shape::DescribeMetricCollectionTypesAnswer, ApiError> {
    let one = |name: &&str| shape::MetricCollectionType { metric: Some((*name).to_owned()) };
    Ok(shape::DescribeMetricCollectionTypesAnswer {
        metrics: Some(METRICS.iter().map(one).collect()),
        granularities: Some(vec![shape::MetricGranularityType { granularity: Some("1Minute".to_owned()) }]),
    })
}

async fn termination_policies(
    _: Arc<Ctx>,
    (): (),
) -> Result<shape::DescribeTerminationPolicyTypesAnswer, ApiError> {
    Ok(shape::DescribeTerminationPolicyTypesAnswer {
        termination_policy_types: Some(owned(TERMINATION_POLICIES)),
    })
}

async fn hook_types(_: Arc<Ctx>, (): ()) -> Result<shape::DescribeLifecycleHookTypesAnswer, ApiError> {
    let types = ["autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"];
    Ok(shape::DescribeLifecycleHookTypesAnswer { lifecycle_hook_types: Some(owned(&types)) })
}

async fn notification_types(
    _: Arc<Ctx>,
    (): (),
) -> Result<shape::DescribeAutoScalingNotificationTypesAnswer, ApiError> {
    let types = [
        "autoscaling:EC2_INSTANCE_LAUNCH",
        "autoscaling:EC2_INSTANCE_LAUNCH_ERROR",
        "autoscaling:EC2_INSTANCE_TERMINATE",
        "autoscaling:EC2_INSTANCE_TERMINATE_ERROR",
        "autoscaling:TEST_NOTIFICATION",
    ];
    Ok(shape::DescribeAutoScalingNotificationTypesAnswer {
        auto_scaling_notification_types: Some(owned(&types)),
    })
}

async fn account_limits(cx: Arc<Ctx>, (): ()) -> Result<shape::DescribeAccountLimitsAnswer, ApiError> {
    let (groups, configurations) = cx.store.read(|r| (r.count::<Group>(), r.count::<LaunchConfiguration>()));
    let count = |n: usize| signed(u32::try_from(n).unwrap_or(u32::MAX));
    Ok(shape::DescribeAccountLimitsAnswer {
        max_number_of_auto_scaling_groups: Some(GROUPS_MAX),
        max_number_of_launch_configurations: Some(LAUNCH_CONFIGURATIONS_MAX),
        number_of_auto_scaling_groups: Some(count(groups)),
        number_of_launch_configurations: Some(count(configurations)),
    })
}

/// There is nothing that could be set for the account as a whole.
async fn account_settings(
    _: Arc<Ctx>,
    input: shape::DescribeAccountSettingsType,
) -> Result<shape::DescribeAccountSettingsAnswer, ApiError> {
    paging::empty(input.next_token.as_deref(), input.max_records)?;
    Ok(shape::DescribeAccountSettingsAnswer { settings: Some(Vec::new()), next_token: None })
}

async fn put_account_setting(
    _: Arc<Ctx>,
    input: shape::PutAccountSettingType,
) -> Result<shape::PutAccountSettingAnswer, ApiError> {
    let name = input.name.unwrap_or_default();
    Err(ApiError::validation(format!("{name} is no account setting of Puffer; there are none.")))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}
