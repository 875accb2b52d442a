//! VPCs.

use std::sync::Arc;

use puffer_core::ec2::{Account, Cidr, Vpc};
use puffer_inventory::bootstrap::DEFAULT_SUBNET_PREFIX;
use puffer_inventory::networks::{self, NetworkError};
use puffer_shapes::ec2 as shapes;
use puffer_store::Reader;

use super::error::{combination, dry_run, invalid_value, unsupported};
use super::filter::{Field, Filters};
use super::instances::account;
use super::page::Page;
use super::parts::{boolean, check_ids, flag, refuse, required, s, show_tags, tags_of_kind};
use crate::{ApiError, Ctx};

/// Block of a default VPC made by request, unless the server's address space is elsewhere.
const DEFAULT_VPC_BLOCKS: [&str; 2] = ["172.31.0.0/16", "127.31.0.0/16"];

const FILTERS: &[&str] = &[
    "cidr",
    "cidr-block-association.association-id",
    "cidr-block-association.cidr-block",
    "cidr-block-association.state",
    "dhcp-options-id",
    "is-default",
    "isDefault",
    "owner-id",
    "state",
    "vpc-id",
];

fn field(account: &Account, v: &Vpc, name: &str) -> Field {
    match name {
        "cidr" | "cidr-block-association.cidr-block" => v.cidr.to_string().into(),
        "cidr-block-association.association-id" => v.cidr_association_id.as_str().into(),
        "cidr-block-association.state" => "associated".into(),
        "dhcp-options-id" => v.dhcp_options_id.as_str().into(),
        "is-default" | "isDefault" => v.is_default.into(),
        "owner-id" => account.id.as_str().into(),
        "state" => "available".into(),
        "vpc-id" => v.id.as_str().into(),
        _ => Field::Many(Vec::new()),
    }
}

fn show(account: &Account, v: &Vpc) -> shapes::Vpc {
    shapes::Vpc {
        owner_id: s(&account.id),
        instance_tenancy: s("default"),
        cidr_block_association_set: Some(vec![shapes::VpcCidrBlockAssociation {
            association_id: s(&v.cidr_association_id),
            cidr_block: s(v.cidr.to_string()),
            cidr_block_state: Some(shapes::VpcCidrBlockState {
                state: s("associated"),
                ..Default::default()
            }),
        }]),
        is_default: Some(v.is_default),
        tags: show_tags(&v.tags),
        vpc_id: s(&v.id),
        state: s("available"),
        cidr_block: s(v.cidr.to_string()),
        dhcp_options_id: s(&v.dhcp_options_id),
        ..Default::default()
    }
}

/// The VPC, or the error that says that it does not exist.
pub(super) fn find(reader: &Reader<'_>, id: &str) -> Result<Arc<Vpc>, ApiError> {
    reader.get::<Vpc>(id).ok_or_else(|| NetworkError::VpcNotFound(id.to_owned()).into())
}

/// A block as requests for networks must write it: with no host bits.
pub(super) fn parse_block(text: &str) -> Result<Cidr, ApiError> {
    let bad = || {
        invalid_value(format!(
            "Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
        ))
    };
    let cidr: Cidr = text.parse().map_err(|_| bad())?;
    Ok(cidr)
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateVpcInput,
) -> Result<shapes::CreateVpcOutput, ApiError> {
    refuse!(input;
        ipv6_pool => "IPv6",
        ipv6_cidr_block => "IPv6",
        ipv4_ipam_pool_id => "IP Address Manager",
        ipv6_ipam_pool_id => "IPv6",
        vpc_encryption_control => "VPC encryption control",
        ipv4_netmask_length => "IP Address Manager",
        ipv6_netmask_length => "IPv6",
        ipv6_cidr_block_network_border_group => "IPv6",
    );
    if input.amazon_provided_ipv6_cidr_block == Some(true) {
        return Err(unsupported("IPv6"));
    }
    if !matches!(input.instance_tenancy.as_deref(), None | Some("" | "default")) {
        return Err(unsupported("A tenancy other than default"));
    }
    let cidr = parse_block(&required(input.cidr_block, "CidrBlock")?)?;
    let tags = tags_of_kind(input.tag_specifications, "vpc")?;
    let now = cx.clock.now();
    let vpc = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let vpc = networks::create_vpc(tx, cidr, tags, now, &mut **cx.rng.lock())?;
            if input.dry_run == Some(true) {
                return Err(dry_run());
            }
            Ok(show(&*account(&tx.reader())?, &vpc))
        })
        .await?;
    Ok(shapes::CreateVpcOutput { vpc: Some(vpc) })
}

pub(super) async fn create_default(
    cx: Arc<Ctx>,
    input: shapes::CreateDefaultVpcInput,
) -> Result<shapes::CreateDefaultVpcOutput, ApiError> {
    let now = cx.clock.now();
    let vpc = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let account = account(&tx.reader())?;
            let blocks = DEFAULT_VPC_BLOCKS.iter().filter_map(|b| b.parse::<Cidr>().ok());
            let cidr = blocks
                .clone()
                .find(|b| account.address_space.contains_block(*b))
                .ok_or(NetworkError::OutsideAddressSpace(account.address_space))?;
            let vpc =
                networks::create_default_vpc(tx, cidr, DEFAULT_SUBNET_PREFIX, now, &mut **cx.rng.lock())?;
            if input.dry_run == Some(true) {
                return Err(dry_run());
            }
            Ok(show(&account, &vpc))
        })
        .await?;
    Ok(shapes::CreateDefaultVpcOutput { vpc: Some(vpc) })
}

pub(super) async fn delete(cx: Arc<Ctx>, input: shapes::DeleteVpcInput) -> Result<(), ApiError> {
    let id = required(input.vpc_id, "VpcId")?;
    cx.store
        .transact::<_, ApiError>(|tx| {
            networks::delete_vpc(tx, &id)?;
            if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(()) }
        })
        .await
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeVpcsInput,
) -> Result<shapes::DescribeVpcsOutput, ApiError> {
    let ids = input.vpc_ids.unwrap_or_default();
    check_ids("vpc", "InvalidVpcID.Malformed", &ids)?;
    if !ids.is_empty() && input.max_results.is_some() {
        return Err(combination("The parameter vpcIds cannot be used with the parameter maxResults"));
    }
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        let account = account(r)?;
        for id in &ids {
            find(r, id)?;
        }
        let matching = r.iter::<Vpc>().filter(|v| {
            (ids.is_empty() || ids.contains(&v.id))
                && filters.matches(&v.tags, |name| field(&account, v, name))
        });
        let (found, next_token) = page.cut(matching, |v| &v.id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let vpcs = found.into_iter().map(|v| show(&account, v)).collect();
        Ok(shapes::DescribeVpcsOutput { vpcs: Some(vpcs), next_token })
    })
}

pub(super) async fn describe_attribute(
    cx: Arc<Ctx>,
    input: shapes::DescribeVpcAttributeInput,
) -> Result<shapes::DescribeVpcAttributeOutput, ApiError> {
    let id = required(input.vpc_id, "VpcId")?;
    let vpc = cx.store.read(|r| find(r, &id))?;
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    let mut out = shapes::DescribeVpcAttributeResult { vpc_id: s(&id), ..Default::default() };
    match required(input.attribute, "Attribute")?.as_str() {
        "enableDnsSupport" => out.enable_dns_support = boolean(vpc.dns_support),
        "enableDnsHostnames" => out.enable_dns_hostnames = boolean(vpc.dns_hostnames),
        "enableNetworkAddressUsageMetrics" => out.enable_network_address_usage_metrics = boolean(false),
        other => return Err(invalid_value(format!("Value ({other}) for parameter attribute is invalid."))),
    }
    Ok(out)
}

pub(super) async fn modify_attribute(
    cx: Arc<Ctx>,
    input: shapes::ModifyVpcAttributeInput,
) -> Result<(), ApiError> {
    let id = required(input.vpc_id, "VpcId")?;
    if flag(input.enable_network_address_usage_metrics.as_ref()) == Some(true) {
        return Err(unsupported("Network address usage metrics"));
    }
    let (support, hostnames) =
        (flag(input.enable_dns_support.as_ref()), flag(input.enable_dns_hostnames.as_ref()));
    cx.store
        .transact::<_, ApiError>(|tx| {
            tx.update::<Vpc>(&id, |v| {
                v.dns_support = support.unwrap_or(v.dns_support);
                v.dns_hostnames = hostnames.unwrap_or(v.dns_hostnames);
            })
            .ok_or_else(|| NetworkError::VpcNotFound(id.clone()))?;
            Ok(())
        })
        .await
}
