//! Subnets.

use std::sync::Arc;

use puffer_core::ec2::{Account, Subnet};
use puffer_inventory::addresses;
use puffer_inventory::networks::{self, NetworkError};
use puffer_shapes::ec2 as shapes;
use puffer_store::Reader;

use super::error::{combination, dry_run, unsupported};
use super::filter::{Field, Filters};
use super::instances::account;
use super::page::Page;
use super::parts::{check_ids, flag, refuse, required, s, show_tags, tags_of_kind};
use super::vpcs::parse_block;
use crate::{ApiError, Ctx};

const FILTERS: &[&str] = &[
    "availability-zone",
    "availability-zone-id",
    "availabilityZone",
    "availabilityZoneId",
    "available-ip-address-count",
    "cidr",
    "cidr-block",
    "cidrBlock",
    "default-for-az",
    "defaultForAz",
    "map-public-ip-on-launch",
    "owner-id",
    "state",
    "subnet-arn",
    "subnet-id",
    "vpc-id",
];

fn arn(account: &Account, id: &str) -> String {
    format!("arn:aws:ec2:{}:{}:subnet/{id}", account.region, account.id)
}

fn field(reader: &Reader<'_>, account: &Account, n: &Subnet, name: &str) -> Field {
    match name {
        "availability-zone" | "availabilityZone" => n.zone.as_str().into(),
        "availability-zone-id" | "availabilityZoneId" => account.zone_id(&n.zone).into(),
        "available-ip-address-count" => addresses::n_free(reader, n).to_string().into(),
        "cidr" | "cidr-block" | "cidrBlock" => n.cidr.to_string().into(),
        "default-for-az" | "defaultForAz" => n.default_for_az.into(),
        "map-public-ip-on-launch" => n.map_public_ip.into(),
        "owner-id" => account.id.as_str().into(),
        "state" => "available".into(),
        "subnet-arn" => arn(account, &n.id).into(),
        "subnet-id" => n.id.as_str().into(),
        "vpc-id" => n.vpc_id.as_str().into(),
        _ => Field::Many(Vec::new()),
    }
}

fn show(reader: &Reader<'_>, account: &Account, n: &Subnet) -> shapes::Subnet {
    shapes::Subnet {
        availability_zone: s(&n.zone),
        availability_zone_id: s(account.zone_id(&n.zone)),
        map_customer_owned_ip_on_launch: Some(false),
        owner_id: s(&account.id),
        assign_ipv6_address_on_creation: Some(false),
        ipv6_cidr_block_association_set: Some(Vec::new()),
        tags: show_tags(&n.tags),
        subnet_arn: s(arn(account, &n.id)),
        enable_dns64: Some(false),
        ipv6_native: Some(false),
        private_dns_name_options_on_launch: Some(shapes::PrivateDnsNameOptionsOnLaunch {
            hostname_type: s("ip-name"),
            enable_resource_name_dns_a_record: Some(false),
            enable_resource_name_dns_aaaa_record: Some(false),
        }),
        subnet_id: s(&n.id),
        state: s("available"),
        vpc_id: s(&n.vpc_id),
        cidr_block: s(n.cidr.to_string()),
        available_ip_address_count: i32::try_from(addresses::n_free(reader, n)).ok(),
        default_for_az: Some(n.default_for_az),
        map_public_ip_on_launch: Some(n.map_public_ip),
        ..Default::default()
    }
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateSubnetInput,
) -> Result<shapes::CreateSubnetOutput, ApiError> {
    refuse!(input;
        ipv6_cidr_block => "IPv6",
        outpost_arn => "Outposts",
        ipv4_ipam_pool_id => "IP Address Manager",
        ipv6_ipam_pool_id => "IPv6",
        ipv4_netmask_length => "IP Address Manager",
        ipv6_netmask_length => "IPv6",
    );
    if input.ipv6_native == Some(true) {
        return Err(unsupported("IPv6"));
    }
    let vpc_id = required(input.vpc_id, "VpcId")?;
    let cidr = parse_block(&required(input.cidr_block, "CidrBlock")?)?;
    let tags = tags_of_kind(input.tag_specifications, "subnet")?;
    let (zone, zone_id) = (input.availability_zone, input.availability_zone_id);
    let now = cx.clock.now();
    let subnet = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let account = account(&tx.reader())?;
            let by_id = |id: &String| {
                account
                    .zones
                    .iter()
                    .find(|z| account.zone_id(z) == *id)
                    .cloned()
                    .unwrap_or_else(|| id.clone())
            };
            let zone = zone.clone().or_else(|| zone_id.as_ref().map(by_id));
            let subnet =
                networks::create_subnet(tx, &vpc_id, cidr, zone.as_deref(), tags, now, &mut **cx.rng.lock())?;
            if input.dry_run == Some(true) {
                return Err(dry_run());
            }
            Ok(show(&tx.reader(), &account, &subnet))
        })
        .await?;
    Ok(shapes::CreateSubnetOutput { subnet: Some(subnet) })
}

pub(super) async fn delete(cx: Arc<Ctx>, input: shapes::DeleteSubnetInput) -> Result<(), ApiError> {
    let id = required(input.subnet_id, "SubnetId")?;
    cx.store
        .transact::<_, ApiError>(|tx| {
            networks::delete_subnet(tx, &id)?;
            if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(()) }
        })
        .await
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeSubnetsInput,
) -> Result<shapes::DescribeSubnetsOutput, ApiError> {
    let ids = input.subnet_ids.unwrap_or_default();
    check_ids("subnet", "InvalidSubnetID.Malformed", &ids)?;
    if !ids.is_empty() && input.max_results.is_some() {
        return Err(combination("The parameter subnetIds cannot be used with the parameter maxResults"));
    }
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        let account = account(r)?;
        if let Some(unknown) = ids.iter().find(|id| r.get::<Subnet>(id).is_none()) {
            return Err(NetworkError::SubnetNotFound(unknown.clone()).into());
        }
        let matching = r.iter::<Subnet>().filter(|n| {
            (ids.is_empty() || ids.contains(&n.id))
                && filters.matches(&n.tags, |name| field(r, &account, n, name))
        });
        let (found, next_token) = page.cut(matching, |n| &n.id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let subnets = found.into_iter().map(|n| show(r, &account, n)).collect();
        Ok(shapes::DescribeSubnetsOutput { subnets: Some(subnets), next_token })
    })
}

pub(super) async fn modify_attribute(
    cx: Arc<Ctx>,
    input: shapes::ModifySubnetAttributeInput,
) -> Result<(), ApiError> {
    let id = required(input.subnet_id, "SubnetId")?;
    refuse!(input;
        customer_owned_ipv4_pool => "Outposts",
        enable_lni_at_device_index => "Outposts",
        disable_lni_at_device_index => "Outposts",
        private_dns_hostname_type_on_launch => "Choosing host names",
    );
    for (on, what) in [
        (flag(input.assign_ipv6_address_on_creation.as_ref()), "IPv6"),
        (flag(input.enable_dns64.as_ref()), "IPv6"),
        (flag(input.map_customer_owned_ip_on_launch.as_ref()), "Outposts"),
        (flag(input.enable_resource_name_dns_a_record_on_launch.as_ref()), "Resource names in DNS"),
        (flag(input.enable_resource_name_dns_aaaa_record_on_launch.as_ref()), "IPv6"),
    ] {
        if on == Some(true) {
            return Err(unsupported(what));
        }
    }
    let map = flag(input.map_public_ip_on_launch.as_ref());
    cx.store
        .transact::<_, ApiError>(|tx| {
            tx.update::<Subnet>(&id, |n| n.map_public_ip = map.unwrap_or(n.map_public_ip))
                .ok_or_else(|| NetworkError::SubnetNotFound(id.clone()))?;
            Ok(())
        })
        .await
}
