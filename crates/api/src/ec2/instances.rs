//! Instances: describing them, and asking them to stop, start, restart or end.

use std::sync::Arc;

use puffer_core::ec2::{
    Account, Image, Instance, InstanceLifecycle, SecurityGroup, private_dns_name, profile_arn,
};
use puffer_inventory::instances::{self, InstanceError, StateChange};
use puffer_shapes::ec2 as shapes;
use puffer_store::{Reader, Transaction};

use super::error::{combination, dry_run, missing, unsupported};
use super::filter::{Field, Filters};
use super::instance_view;
use super::page::Page;
use super::parts::{instance_ids, refuse, s};
use crate::{ApiError, Ctx};

/// Filters of `DescribeInstances`.
const FILTERS: &[&str] = &[
    "architecture",
    "availability-zone",
    "availability-zone-id",
    "block-device-mapping.device-name",
    "block-device-mapping.status",
    "block-device-mapping.volume-id",
    "client-token",
    "dns-name",
    "group-id",
    "group-name",
    "hypervisor",
    "iam-instance-profile.arn",
    "image-id",
    "instance-id",
    "instance-lifecycle",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "instance.group-name",
    "ip-address",
    "key-name",
    "launch-index",
    "launch-time",
    "metadata-options.http-tokens",
    "monitoring-state",
    "network-interface.addresses.private-ip-address",
    "network-interface.group-id",
    "network-interface.mac-address",
    "network-interface.network-interface-id",
    "network-interface.private-dns-name",
    "network-interface.subnet-id",
    "network-interface.vpc-id",
    "owner-id",
    "platform-details",
    "private-dns-name",
    "private-ip-address",
    "reservation-id",
    "root-device-name",
    "root-device-type",
    "source-dest-check",
    "spot-instance-request-id",
    "state-reason-code",
    "subnet-id",
    "tenancy",
    "virtualization-type",
    "vpc-id",
];

fn field(reader: &Reader<'_>, account: &Account, i: &Instance, name: &str) -> Field {
    let when_alive = |text: String| Field::from(i.state.is_alive().then_some(text));
    let group_names = || {
        let name = |id: &String| reader.get::<SecurityGroup>(id).map(|g| g.name.clone());
        i.security_groups.iter().filter_map(name).collect::<Vec<_>>()
    };
    match name {
        "architecture" => reader
            .get::<Image>(&i.image_id)
            .map_or_else(|| "x86_64".to_owned(), |m| m.architecture.clone())
            .into(),
        "availability-zone" => i.zone.as_str().into(),
        "availability-zone-id" => account.zone_id(&i.zone).into(),
        "block-device-mapping.device-name" => when_alive(instance_view::ROOT_DEVICE.into()),
        "block-device-mapping.status" => when_alive("attached".into()),
        "block-device-mapping.volume-id" => when_alive(i.root_volume_id()),
        "client-token" => i.client_token.clone().into(),
        "dns-name" => {
            instance_view::public_ip(i).map(|_| private_dns_name(i.private_ip, &account.region)).into()
        }
        "group-id" | "instance.group-id" | "network-interface.group-id" => i.security_groups.clone().into(),
        "group-name" | "instance.group-name" => group_names().into(),
        "hypervisor" => "xen".into(),
        "iam-instance-profile.arn" => {
            i.iam_instance_profile.as_ref().map(|p| profile_arn(&account.id, p)).into()
        }
        "image-id" => i.image_id.as_str().into(),
        "instance-id" => i.id.as_str().into(),
        "instance-lifecycle" => (i.lifecycle == InstanceLifecycle::Spot).then_some("spot").into(),
        "instance-state-code" => i.state.code().to_string().into(),
        "instance-state-name" => i.state.name().into(),
        "instance-type" => i.instance_type.as_str().into(),
        "ip-address" => instance_view::public_ip(i).into(),
        "key-name" => i.key_name.clone().into(),
        "launch-index" => i.ami_launch_index.to_string().into(),
        "launch-time" => i.launched_at.to_rfc3339_millis().into(),
        "metadata-options.http-tokens" => {
            if i.metadata_options.tokens_required { "required" } else { "optional" }.into()
        }
        "monitoring-state" => if i.detailed_monitoring { "enabled" } else { "disabled" }.into(),
        "network-interface.mac-address" => when_alive(i.mac.clone()),
        "network-interface.network-interface-id" => when_alive(i.network_interface_id.clone()),
        "owner-id" => account.id.as_str().into(),
        "platform-details" => "Linux/UNIX".into(),
        "private-dns-name" | "network-interface.private-dns-name" => {
            when_alive(private_dns_name(i.private_ip, &account.region))
        }
        "private-ip-address" | "network-interface.addresses.private-ip-address" => {
            when_alive(i.private_ip.to_string())
        }
        "reservation-id" => i.reservation_id.as_str().into(),
        "root-device-name" => instance_view::ROOT_DEVICE.into(),
        "root-device-type" => "ebs".into(),
        "spot-instance-request-id" => i.spot_request_id().into(),
        "source-dest-check" => i.source_dest_check.into(),
        "state-reason-code" => i.state_reason.as_ref().map(|r| r.code.clone()).into(),
        "subnet-id" | "network-interface.subnet-id" => when_alive(i.subnet_id.clone()),
        "tenancy" => "default".into(),
        "virtualization-type" => "hvm".into(),
        "vpc-id" | "network-interface.vpc-id" => when_alive(i.vpc_id.clone()),
        _ => Field::Many(Vec::new()),
    }
}

/// The account's record, which is there since the server's start.
pub(super) fn account(reader: &Reader<'_>) -> Result<Arc<Account>, ApiError> {
    reader.get::<Account>(Account::KEY).ok_or_else(|| ApiError::internal(&"the account is not set up"))
}

/// The instances with these ids, or else the error that names those that do not exist.
pub(super) fn find(reader: &Reader<'_>, ids: &[String]) -> Result<Vec<Arc<Instance>>, ApiError> {
    let missing: Vec<String> =
        ids.iter().filter(|id| reader.get::<Instance>(id).is_none()).cloned().collect();
    if !missing.is_empty() {
        return Err(InstanceError::NotFound(missing).into());
    }
    Ok(ids.iter().filter_map(|id| reader.get(id)).collect())
}

/// Instances that a describe call may be about: by id, by an indexed filter, or all.
fn candidates(
    reader: &Reader<'_>,
    ids: &[String],
    filters: &Filters,
) -> Result<Vec<Arc<Instance>>, ApiError> {
    if !ids.is_empty() {
        let mut found = find(reader, ids)?;
        found.sort_by(|a, b| a.id.cmp(&b.id));
        return Ok(found);
    }
    for (filter, index) in [
        ("tag:aws:autoscaling:groupName", "group"),
        ("instance-state-name", "state"),
        ("reservation-id", "reservation"),
    ] {
        if let Some(values) = filters.exact(filter) {
            let mut found: Vec<Arc<Instance>> =
                values.iter().flat_map(|v| reader.list_by::<Instance>(index, v)).collect();
            found.sort_by(|a, b| a.id.cmp(&b.id));
            found.dedup_by(|a, b| a.id == b.id);
            return Ok(found);
        }
    }
    Ok(reader.iter::<Instance>().cloned().collect())
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeInstancesInput,
) -> Result<shapes::DescribeInstancesOutput, ApiError> {
    let ids = instance_ids(input.instance_ids)?;
    if !ids.is_empty() && input.max_results.is_some() {
        return Err(combination("The parameter instancesSet cannot be used with the parameter maxResults"));
    }
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        let account = account(r)?;
        let all = candidates(r, &ids, &filters)?;
        let matching =
            all.into_iter().filter(|i| filters.matches(&i.tags, |name| field(r, &account, i, name)));
        let (found, next_token) = page.cut(matching, |i| &i.id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        Ok(shapes::DescribeInstancesOutput {
            reservations: Some(by_reservation(r, &account, &found)),
            next_token,
        })
    })
}

fn by_reservation(
    reader: &Reader<'_>,
    account: &Account,
    found: &[Arc<Instance>],
) -> Vec<shapes::Reservation> {
    let mut groups: Vec<(&str, Vec<&Instance>)> = Vec::new();
    let mut place_of: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for instance in found {
        let at = *place_of.entry(&instance.reservation_id).or_insert_with(|| {
            groups.push((&instance.reservation_id, Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(instance);
    }
    let one = |(id, mut instances): (&str, Vec<&Instance>)| {
        instances.sort_by_key(|i| i.ami_launch_index);
        instance_view::reservation(reader, account, id, instances.into_iter())
    };
    groups.into_iter().map(one).collect()
}

fn changes(changes: &[StateChange]) -> Option<Vec<shapes::InstanceStateChange>> {
    let one = |c: &StateChange| shapes::InstanceStateChange {
        instance_id: s(&c.instance.id),
        current_state: instance_view::state(c.instance.state),
        previous_state: instance_view::state(c.previous),
    };
    Some(changes.iter().map(one).collect())
}

/// One of the requests that change instances: one transaction over all of them.
async fn change(
    cx: &Ctx,
    ids: Option<Vec<String>>,
    dry: Option<bool>,
    request: impl FnOnce(&mut Transaction<'_>, &[String]) -> Result<Vec<StateChange>, InstanceError>,
) -> Result<Vec<StateChange>, ApiError> {
    let ids = instance_ids(ids)?;
    if ids.is_empty() {
        return Err(missing("InstanceId"));
    }
    cx.store
        .transact::<_, ApiError>(|tx| {
            let changed = request(tx, &ids)?;
            if dry == Some(true) { Err(dry_run()) } else { Ok(changed) }
        })
        .await
}

pub(super) async fn stop(
    cx: Arc<Ctx>,
    input: shapes::StopInstancesInput,
) -> Result<shapes::StopInstancesOutput, ApiError> {
    if input.hibernate == Some(true) {
        return Err(unsupported("Hibernation"));
    }
    let hard = input.force == Some(true) || input.skip_os_shutdown == Some(true);
    let now = cx.clock.now();
    let request = |tx: &mut Transaction<'_>, ids: &[String]| instances::request_stop(tx, ids, hard, now);
    let changed = change(&cx, input.instance_ids, input.dry_run, request).await?;
    Ok(shapes::StopInstancesOutput { stopping_instances: changes(&changed) })
}

pub(super) async fn start(
    cx: Arc<Ctx>,
    input: shapes::StartInstancesInput,
) -> Result<shapes::StartInstancesOutput, ApiError> {
    refuse!(input; additional_info => "Additional information");
    let now = cx.clock.now();
    let changed =
        change(&cx, input.instance_ids, input.dry_run, |tx, ids| instances::request_start(tx, ids, now))
            .await?;
    Ok(shapes::StartInstancesOutput { starting_instances: changes(&changed) })
}

pub(super) async fn reboot(cx: Arc<Ctx>, input: shapes::RebootInstancesInput) -> Result<(), ApiError> {
    change(&cx, input.instance_ids, input.dry_run, instances::request_reboot).await.map(|_| ())
}

/// No driver gives the guest of an instance that ends time to shut down, so `Force` and `SkipOsShutdown` change nothing.
pub(super) async fn terminate(
    cx: Arc<Ctx>,
    input: shapes::TerminateInstancesInput,
) -> Result<shapes::TerminateInstancesOutput, ApiError> {
    let now = cx.clock.now();
    let changed =
        change(&cx, input.instance_ids, input.dry_run, |tx, ids| instances::request_terminate(tx, ids, now))
            .await?;
    Ok(shapes::TerminateInstancesOutput { terminating_instances: changes(&changed) })
}

pub(super) async fn get_console_output(
    cx: Arc<Ctx>,
    input: shapes::GetConsoleOutputInput,
) -> Result<shapes::GetConsoleOutputOutput, ApiError> {
    use base64::Engine as _;
    let ids = instance_ids(input.instance_id.map(|id| vec![id]))?;
    let id = ids.first().cloned().ok_or_else(|| missing("InstanceId"))?;
    let instance = cx.store.read(|r| find(r, &ids))?.remove(0);
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    let output = cx.console.console_output(&id).await.map_err(|e| ApiError::internal(&e))?;
    let (bytes, at) = output.unwrap_or_default();
    Ok(shapes::GetConsoleOutputOutput {
        instance_id: s(&id),
        timestamp: super::parts::time(at.unwrap_or(instance.launched_at)),
        output: s(base64::engine::general_purpose::STANDARD.encode(bytes)),
    })
}
