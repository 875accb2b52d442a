//! The one region, its zones, and what the account may have.

use std::sync::Arc;

use puffer_core::Tags;
use puffer_core::ec2::Account;
use puffer_shapes::ec2 as shapes;

use super::error::{dry_run, invalid_value};
use super::filter::{Field, Filters};
use super::instances::account;
use super::parts::s;
use crate::{ApiError, Ctx};

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeRegionsInput,
) -> Result<shapes::DescribeRegionsOutput, ApiError> {
    let names = input.region_names.unwrap_or_default();
    if let Some(unknown) = names.iter().find(|n| **n != cx.region) {
        return Err(invalid_value(format!("Invalid region name: '{unknown}'")));
    }
    let filters = Filters::parse(input.filters, &["endpoint", "opt-in-status", "region-name"])?;
    let endpoint = format!("ec2.{}.amazonaws.com", cx.region);
    let shown = filters.matches(&Tags::new(), |name| match name {
        "endpoint" => Field::from(endpoint.as_str()),
        "opt-in-status" => Field::from("opt-in-not-required"),
        _ => Field::from(cx.region.as_str()),
    });
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    let region = shapes::Region {
        opt_in_status: s("opt-in-not-required"),
        region_name: s(&cx.region),
        endpoint: s(&endpoint),
        ..Default::default()
    };
    Ok(shapes::DescribeRegionsOutput { regions: Some(if shown { vec![region] } else { Vec::new() }) })
}

fn zone_field(account: &Account, zone: &str, name: &str) -> Field {
    match name {
        "group-name" | "network-border-group" | "region-name" => account.region.as_str().into(),
        "opt-in-status" => "opt-in-not-required".into(),
        "state" => "available".into(),
        "zone-id" => account.zone_id(zone).into(),
        "zone-name" => zone.into(),
        "zone-type" => "availability-zone".into(),
        _ => Field::Many(Vec::new()),
    }
}

pub(super) async fn describe_zones(
    cx: Arc<Ctx>,
    input: shapes::DescribeAvailabilityZonesInput,
) -> Result<shapes::DescribeAvailabilityZonesOutput, ApiError> {
    const FILTERS: &[&str] = &[
        "group-name",
        "network-border-group",
        "opt-in-status",
        "region-name",
        "state",
        "zone-id",
        "zone-name",
        "zone-type",
    ];
    let filters = Filters::parse(input.filters, FILTERS)?;
    let account = cx.store.read(account)?;
    let (names, ids) = (input.zone_names.unwrap_or_default(), input.zone_ids.unwrap_or_default());
    let known_ids: Vec<String> = account.zones.iter().map(|z| account.zone_id(z)).collect();
    let unknown =
        names.iter().find(|n| !account.zones.contains(n)).or(ids.iter().find(|i| !known_ids.contains(i)));
    if let Some(unknown) = unknown {
        return Err(invalid_value(format!("Invalid availability zone: [{unknown}]")));
    }
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    let no_tags = Tags::new();
    let wanted = |zone: &&String| {
        (names.is_empty() || names.contains(zone))
            && (ids.is_empty() || ids.contains(&account.zone_id(zone)))
            && filters.matches(&no_tags, |name| zone_field(&account, zone, name))
    };
    let show = |zone: &String| shapes::AvailabilityZone {
        opt_in_status: s("opt-in-not-required"),
        region_name: s(&account.region),
        zone_name: s(zone),
        zone_id: s(account.zone_id(zone)),
        group_name: s(format!("{}-zg-1", account.region)),
        network_border_group: s(&account.region),
        zone_type: s("availability-zone"),
        messages: Some(Vec::new()),
        state: s("available"),
        ..Default::default()
    };
    Ok(shapes::DescribeAvailabilityZonesOutput {
        availability_zones: Some(account.zones.iter().filter(wanted).map(show).collect()),
    })
}

pub(super) async fn describe_account_attributes(
    cx: Arc<Ctx>,
    input: shapes::DescribeAccountAttributesInput,
) -> Result<shapes::DescribeAccountAttributesOutput, ApiError> {
    let account = cx.store.read(account)?;
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    let all = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", account.default_vpc_id.clone().unwrap_or_else(|| "none".into())),
        ("max-instances", puffer_inventory::launch::INSTANCES_PER_LAUNCH_MAX.to_string()),
        (
            "vpc-max-security-groups-per-interface",
            puffer_inventory::launch::GROUPS_PER_INSTANCE_MAX.to_string(),
        ),
        ("max-elastic-ips", "0".to_owned()),
        ("vpc-max-elastic-ips", "0".to_owned()),
    ];
    let wanted = input.attribute_names.unwrap_or_default();
    if let Some(unknown) = wanted.iter().find(|w| !all.iter().any(|(n, _)| n == w)) {
        return Err(invalid_value(format!("Value ({unknown}) for parameter attribute is invalid.")));
    }
    let show = |(name, value): &(&str, String)| shapes::AccountAttribute {
        attribute_name: s(*name),
        attribute_values: Some(vec![shapes::AccountAttributeValue { attribute_value: s(value) }]),
    };
    let chosen = all.iter().filter(|(n, _)| wanted.is_empty() || wanted.iter().any(|w| w == n));
    Ok(shapes::DescribeAccountAttributesOutput { account_attributes: Some(chosen.map(show).collect()) })
}
