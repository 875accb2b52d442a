//! Single attributes of instances: metadata options, protection, monitoring and what else can be changed afterwards.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use puffer_core::ec2::{Instance, InstanceState, SecurityGroup, instance_types};
use puffer_inventory::instances::InstanceError;
use puffer_inventory::launch::{self, GROUPS_PER_INSTANCE_MAX, USER_DATA_BYTES_MAX};
use puffer_shapes::ec2 as shapes;
use puffer_store::Transaction;

use super::error::{dry_run, invalid_value, missing, unsupported};
use super::filter::Filters;
use super::instances::find;
use super::page::Page;
use super::parts::{boolean, flag, instance_ids, refuse, required, s, text, time};
use super::{instance_view, run_instances};
use crate::{ApiError, Ctx};

fn one_id(id: Option<String>) -> Result<String, ApiError> {
    instance_ids(Some(vec![required(id, "InstanceId")?]))?.pop().ok_or_else(|| missing("InstanceId"))
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeInstanceAttributeInput,
) -> Result<shapes::DescribeInstanceAttributeOutput, ApiError> {
    let id = one_id(input.instance_id)?;
    let attribute = required(input.attribute, "Attribute")?;
    cx.store.read(|r| {
        let i = find(r, std::slice::from_ref(&id))?.remove(0);
        let mut out = shapes::InstanceAttribute { instance_id: s(&id), ..Default::default() };
        match attribute.as_str() {
            "instanceType" => out.instance_type = text(s(&i.instance_type)),
            "userData" => out.user_data = text(i.user_data.clone()),
            "disableApiTermination" => out.disable_api_termination = boolean(i.termination_protected),
            "disableApiStop" => out.disable_api_stop = boolean(i.stop_protected),
            "instanceInitiatedShutdownBehavior" => {
                out.instance_initiated_shutdown_behavior =
                    text(s(if i.terminate_on_shutdown { "terminate" } else { "stop" }));
            }
            "rootDeviceName" => out.root_device_name = text(s(instance_view::ROOT_DEVICE)),
            "blockDeviceMapping" => {
                out.block_device_mappings = Some(vec![shapes::InstanceBlockDeviceMapping {
                    device_name: s(instance_view::ROOT_DEVICE),
                    ebs: Some(shapes::EbsInstanceBlockDevice {
                        attach_time: time(i.root_since()),
                        delete_on_termination: Some(true),
                        status: s("attached"),
                        volume_id: s(i.root_volume_id()),
                        ..Default::default()
                    }),
                }]);
            }
            "productCodes" => out.product_codes = Some(Vec::new()),
            "sourceDestCheck" => out.source_dest_check = boolean(i.source_dest_check),
            "groupSet" => out.groups = Some(instance_view::groups(r, &i.security_groups)),
            "ebsOptimized" => out.ebs_optimized = boolean(i.ebs_optimized),
            "enaSupport" => out.ena_support = boolean(true),
            "sriovNetSupport" => out.sriov_net_support = text(None),
            "kernel" => out.kernel_id = text(None),
            "ramdisk" => out.ramdisk_id = text(None),
            "enclaveOptions" => out.enclave_options = Some(shapes::EnclaveOptions { enabled: Some(false) }),
            other => {
                return Err(invalid_value(format!("Value ({other}) for parameter attribute is invalid.")));
            }
        }
        if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(out) }
    })
}

/// What is to be changed. A request names one attribute, either by a member of its own or by name and value.
enum Change {
    InstanceType(String),
    UserData(Option<String>),
    TerminationProtected(bool),
    StopProtected(bool),
    TerminateOnShutdown(bool),
    SourceDestCheck(bool),
    EbsOptimized(bool),
    Groups(Vec<String>),
}

fn parse_change(input: shapes::ModifyInstanceAttributeInput) -> Result<Change, ApiError> {
    refuse!(input;
        kernel => "Choosing a kernel",
        ramdisk => "Choosing a RAM disk",
        sriov_net_support => "Enhanced networking by SR-IOV",
        block_device_mappings => "Changing block devices",
        enclave_options => "Enclaves",
        ena_support => "Changing ENA support",
    );
    let mut changes = Vec::new();
    if let Some(v) = input.instance_type.and_then(|v| v.value) {
        changes.push(Change::InstanceType(v));
    }
    if let Some(v) = input.user_data {
        let bytes = v.value.map(|b| b.0).unwrap_or_default();
        if bytes.len() > USER_DATA_BYTES_MAX {
            return Err(invalid_value(format!("User data is limited to {USER_DATA_BYTES_MAX} bytes")));
        }
        changes.push(Change::UserData((!bytes.is_empty()).then(|| STANDARD.encode(bytes))));
    }
    if let Some(v) = flag(input.disable_api_termination.as_ref()) {
        changes.push(Change::TerminationProtected(v));
    }
    if let Some(v) = flag(input.disable_api_stop.as_ref()) {
        changes.push(Change::StopProtected(v));
    }
    if let Some(v) = input.instance_initiated_shutdown_behavior.and_then(|v| v.value) {
        changes.push(shutdown(v)?);
    }
    if let Some(v) = flag(input.source_dest_check.as_ref()) {
        changes.push(Change::SourceDestCheck(v));
    }
    if let Some(v) = flag(input.ebs_optimized.as_ref()) {
        changes.push(Change::EbsOptimized(v));
    }
    if let Some(v) = input.groups.filter(|g| !g.is_empty()) {
        changes.push(Change::Groups(v));
    }
    if let Some(attribute) = input.attribute {
        changes.push(named(&attribute, input.value.unwrap_or_default())?);
    }
    let change = changes.pop().ok_or_else(|| missing("Attribute"))?;
    if changes.is_empty() {
        Ok(change)
    } else {
        Err(super::error::combination(
            "Fields for multiple attribute types specified; one attribute per request.",
        ))
    }
}

fn shutdown(value: String) -> Result<Change, ApiError> {
    let value = run_instances::check_shutdown(Some(value))?;
    Ok(Change::TerminateOnShutdown(value.as_deref() == Some("terminate")))
}

fn named(attribute: &str, value: String) -> Result<Change, ApiError> {
    let truth = |value: &str| match value {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(invalid_value(format!("Value ({other}) for parameter value is invalid."))),
    };
    match attribute {
        "instanceType" => Ok(Change::InstanceType(value)),
        "userData" => Ok(Change::UserData(launch::check_user_data(Some(value))?)),
        "disableApiTermination" => Ok(Change::TerminationProtected(truth(&value)?)),
        "disableApiStop" => Ok(Change::StopProtected(truth(&value)?)),
        "instanceInitiatedShutdownBehavior" => shutdown(value),
        "sourceDestCheck" => Ok(Change::SourceDestCheck(truth(&value)?)),
        "ebsOptimized" => Ok(Change::EbsOptimized(truth(&value)?)),
        other => Err(invalid_value(format!("Value ({other}) for parameter attribute is invalid."))),
    }
}

fn apply(tx: &mut Transaction<'_>, id: &str, change: Change) -> Result<(), ApiError> {
    let found = tx.get::<Instance>(id).ok_or_else(|| InstanceError::NotFound(vec![id.to_owned()]))?;
    let mut i = Instance::clone(&found);
    let is_stopped = || {
        if found.state == InstanceState::Stopped {
            return Ok(());
        }
        Err(ApiError::sender(
            "IncorrectInstanceState",
            format!("The instance '{id}' is not in the 'stopped' state."),
        ))
    };
    match change {
        Change::InstanceType(name) => {
            is_stopped()?;
            if instance_types::find(&name).is_none() {
                return Err(invalid_value(format!("Invalid value '{name}' for InstanceType.")));
            }
            i.instance_type = name;
        }
        Change::UserData(data) => {
            is_stopped()?;
            i.user_data = data;
        }
        Change::TerminationProtected(v) => i.termination_protected = v,
        Change::StopProtected(v) => i.stop_protected = v,
        Change::TerminateOnShutdown(v) => i.terminate_on_shutdown = v,
        Change::SourceDestCheck(v) => i.source_dest_check = v,
        Change::EbsOptimized(v) => i.ebs_optimized = v,
        Change::Groups(groups) => {
            for group in &groups {
                match tx.get::<SecurityGroup>(group) {
                    Some(g) if g.vpc_id == i.vpc_id => {}
                    Some(_) => {
                        return Err(ApiError::sender(
                            "InvalidParameterValue",
                            format!("Security group {group} is not in the VPC of the instance."),
                        ));
                    }
                    None => {
                        return Err(ApiError::sender(
                            "InvalidGroup.NotFound",
                            format!("The security group '{group}' does not exist"),
                        ));
                    }
                }
            }
            if groups.len() > GROUPS_PER_INSTANCE_MAX {
                return Err(ApiError::sender(
                    "SecurityGroupsPerInstanceLimitExceeded",
                    format!("At most {GROUPS_PER_INSTANCE_MAX} security groups can be given to an instance."),
                ));
            }
            i.security_groups = groups;
        }
    }
    tx.put(i);
    Ok(())
}

pub(super) async fn modify(
    cx: Arc<Ctx>,
    mut input: shapes::ModifyInstanceAttributeInput,
) -> Result<(), ApiError> {
    let id = one_id(input.instance_id.take())?;
    let dry = input.dry_run == Some(true);
    let change = parse_change(input)?;
    cx.store
        .transact::<_, ApiError>(|tx| {
            apply(tx, &id, change)?;
            if dry { Err(dry_run()) } else { Ok(()) }
        })
        .await
}

pub(super) async fn modify_metadata(
    cx: Arc<Ctx>,
    input: shapes::ModifyInstanceMetadataOptionsInput,
) -> Result<shapes::ModifyInstanceMetadataOptionsOutput, ApiError> {
    let id = one_id(input.instance_id)?;
    if input.http_protocol_ipv6.as_deref() == Some("enabled") {
        return Err(unsupported("IPv6"));
    }
    let spec = run_instances::metadata_spec(
        input.http_endpoint,
        input.http_tokens,
        input.http_put_response_hop_limit,
        input.instance_metadata_tags,
    )?;
    let shown = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let changed = tx
                .update::<Instance>(&id, |i| i.metadata_options = spec.over(&i.metadata_options))
                .ok_or_else(|| InstanceError::NotFound(vec![id.clone()]))?;
            if input.dry_run == Some(true) {
                return Err(dry_run());
            }
            Ok(instance_view::metadata_options(&changed.metadata_options, true))
        })
        .await?;
    Ok(shapes::ModifyInstanceMetadataOptionsOutput {
        instance_id: s(id),
        instance_metadata_options: Some(shown),
    })
}

async fn set_monitoring(
    cx: &Ctx,
    ids: Option<Vec<String>>,
    dry: Option<bool>,
    on: bool,
) -> Result<Vec<shapes::InstanceMonitoring>, ApiError> {
    let ids = instance_ids(ids)?;
    cx.store
        .transact::<_, ApiError>(|tx| {
            let found = find(&tx.reader(), &ids)?;
            for i in found.iter().filter(|i| i.detailed_monitoring != on) {
                tx.update::<Instance>(&i.id, |i| i.detailed_monitoring = on);
            }
            if dry == Some(true) { Err(dry_run()) } else { Ok(()) }
        })
        .await?;
    let state = if on { "enabled" } else { "disabled" };
    let one = |id: &String| shapes::InstanceMonitoring {
        instance_id: s(id),
        monitoring: Some(shapes::Monitoring { state: s(state), ..Default::default() }),
    };
    Ok(ids.iter().map(one).collect())
}

pub(super) async fn monitor(
    cx: Arc<Ctx>,
    input: shapes::MonitorInstancesInput,
) -> Result<shapes::MonitorInstancesOutput, ApiError> {
    refuse!(input; metric_category_ids => "Choosing categories of metrics");
    let shown = set_monitoring(&cx, input.instance_ids, input.dry_run, true).await?;
    Ok(shapes::MonitorInstancesOutput { instance_monitorings: Some(shown) })
}

pub(super) async fn unmonitor(
    cx: Arc<Ctx>,
    input: shapes::UnmonitorInstancesInput,
) -> Result<shapes::UnmonitorInstancesOutput, ApiError> {
    refuse!(input; metric_category_ids => "Choosing categories of metrics");
    let shown = set_monitoring(&cx, input.instance_ids, input.dry_run, false).await?;
    Ok(shapes::UnmonitorInstancesOutput { instance_monitorings: Some(shown) })
}

/// Burstable instances run as `unlimited` would let them: CPU is not rationed by credits.
pub(super) async fn describe_credits(
    cx: Arc<Ctx>,
    input: shapes::DescribeInstanceCreditSpecificationsInput,
) -> Result<shapes::DescribeInstanceCreditSpecificationsOutput, ApiError> {
    let ids = instance_ids(input.instance_ids)?;
    let filters = Filters::parse(input.filters, &["instance-id"])?;
    let page = Page::parse(input.max_results, input.next_token)?;
    let mut found =
        cx.store.read(|r| if ids.is_empty() { Ok(r.list::<Instance>()) } else { find(r, &ids) })?;
    found.sort_by(|a, b| a.id.cmp(&b.id));
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    let none = puffer_core::Tags::new();
    let burstable = |i: &Instance| instance_types::find(&i.instance_type).is_some_and(|t| t.burstable);
    let shown = found
        .into_iter()
        .filter(|i| i.state.is_alive() && burstable(i) && filters.matches(&none, |_| i.id.as_str().into()));
    let (found, next_token) = page.cut(shown, |i| &i.id);
    let shown = found
        .iter()
        .map(|i| shapes::InstanceCreditSpecification { instance_id: s(&i.id), cpu_credits: s("unlimited") });
    Ok(shapes::DescribeInstanceCreditSpecificationsOutput {
        instance_credit_specifications: Some(shown.collect()),
        next_token,
    })
}
