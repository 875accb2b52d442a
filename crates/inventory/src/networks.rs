//! VPCs and subnets: making and removing them.

use std::sync::Arc;

use puffer_core::ec2::{Account, AddressHold, Cidr, Instance, SecurityGroup, Subnet, Vpc};
use puffer_core::{Tags, Timestamp, ids};
use puffer_store::{Reader, StoreError, Transaction};
use rand::Rng;

use crate::security_groups;

/// VPCs in an account; AWS's default quota is 5, which is too few for tests of templates.
pub const VPCS_MAX: usize = 100;
/// Subnets in a VPC (AWS's default quota).
pub const SUBNETS_PER_VPC_MAX: usize = 200;
/// Shortest and longest prefix of a block (EC2's rule).
pub const PREFIX_RANGE: std::ops::RangeInclusive<u8> = 16..=28;

/// Why a network cannot be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No such VPC.
    #[error("The vpc ID '{0}' does not exist")]
    VpcNotFound(String),
    /// No such subnet.
    #[error("The subnet ID '{0}' does not exist")]
    SubnetNotFound(String),
    /// The block's size or place is not allowed.
    #[error("The CIDR '{0}' is invalid.")]
    VpcRange(String),
    /// The subnet's block is not in the VPC.
    #[error("The CIDR '{0}' is invalid.")]
    SubnetRange(String),
    /// The block overlaps another subnet's.
    #[error("The CIDR '{0}' conflicts with another subnet")]
    SubnetConflict(String),
    /// Puffer cannot carry this block on this machine.
    #[error("Instances of this server share the host's loopback: VPC blocks must lie in {0}.")]
    OutsideAddressSpace(Cidr),
    /// Unknown zone.
    #[error(
        "Value ({0}) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: {1}."
    )]
    Zone(String, String),
    /// Something still uses it.
    #[error("The {kind} '{id}' has dependencies and cannot be deleted.")]
    InUse {
        /// `vpc`, `subnet`.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// There is one.
    #[error("A Default VPC already exists for this account in this region.")]
    DefaultExists,
    /// Too many.
    #[error("The maximum number of {0} has been reached.")]
    Limit(&'static str),
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a VPC with its default security group.
pub fn create_vpc(
    tx: &mut Transaction<'_>,
    cidr: Cidr,
    tags: Tags,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<Arc<Vpc>, NetworkError> {
    make_vpc(tx, cidr, false, tags, now, rng)
}

fn make_vpc(
    tx: &mut Transaction<'_>,
    cidr: Cidr,
    is_default: bool,
    tags: Tags,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<Arc<Vpc>, NetworkError> {
    if !PREFIX_RANGE.contains(&cidr.prefix()) {
        return Err(NetworkError::VpcRange(cidr.to_string()));
    }
    if let Some(account) = tx.get::<Account>(Account::KEY)
        && !account.address_space.contains_block(cidr)
    {
        return Err(NetworkError::OutsideAddressSpace(account.address_space));
    }
    if tx.reader().count::<Vpc>() >= VPCS_MAX {
        return Err(NetworkError::Limit("VPCs"));
    }
    let vpc = tx.put(Vpc {
        id: ids::resource_id("vpc", rng),
        cidr,
        is_default,
        dns_support: true,
        dns_hostnames: is_default,
        main_route_table_id: ids::resource_id("rtb", rng),
        internet_gateway_id: is_default.then(|| ids::resource_id("igw", rng)),
        network_acl_id: ids::resource_id("acl", rng),
        cidr_association_id: ids::resource_id("vpc-cidr-assoc", rng),
        dhcp_options_id: ids::resource_id("dopt", rng),
        created_at: now,
        tags,
    });
    security_groups::create_default(tx, &vpc.id, now, rng);
    Ok(vpc)
}

/// Makes the account's default VPC: internet gateway, public addresses, a default subnet in each zone.
pub fn create_default_vpc(
    tx: &mut Transaction<'_>,
    cidr: Cidr,
    subnet_prefix: u8,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<Arc<Vpc>, NetworkError> {
    let account = tx.get::<Account>(Account::KEY).map(|a| Account::clone(&a));
    let Some(mut account) = account else { return Err(NetworkError::VpcNotFound("default".into())) };
    if account.default_vpc_id.is_some() {
        return Err(NetworkError::DefaultExists);
    }
    let vpc = make_vpc(tx, cidr, true, Tags::new(), now, rng)?;
    for (index, zone) in account.zones.iter().enumerate() {
        let block = cidr
            .subnet(subnet_prefix, index as u64)
            .ok_or_else(|| NetworkError::SubnetRange(format!("{cidr} in subnets of /{subnet_prefix}")))?;
        tx.put(Subnet {
            id: ids::resource_id("subnet", rng),
            vpc_id: vpc.id.clone(),
            cidr: block,
            zone: zone.clone(),
            default_for_az: true,
            map_public_ip: true,
            created_at: now,
            tags: Tags::new(),
        });
    }
    account.default_vpc_id = Some(vpc.id.clone());
    tx.put(account);
    Ok(vpc)
}

/// Makes a subnet in `zone`, or in the first zone.
pub fn create_subnet(
    tx: &mut Transaction<'_>,
    vpc_id: &str,
    cidr: Cidr,
    zone: Option<&str>,
    tags: Tags,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<Arc<Subnet>, NetworkError> {
    let vpc = tx.get::<Vpc>(vpc_id).ok_or_else(|| NetworkError::VpcNotFound(vpc_id.into()))?;
    if !PREFIX_RANGE.contains(&cidr.prefix()) || !vpc.cidr.contains_block(cidr) {
        return Err(NetworkError::SubnetRange(cidr.to_string()));
    }
    let siblings = tx.list_by::<Subnet>("vpc", vpc_id);
    if siblings.len() >= SUBNETS_PER_VPC_MAX {
        return Err(NetworkError::Limit("subnets"));
    }
    if siblings.iter().any(|s| s.cidr.overlaps(cidr)) {
        return Err(NetworkError::SubnetConflict(cidr.to_string()));
    }
    let zones = tx.get::<Account>(Account::KEY).map(|a| a.zones.clone()).unwrap_or_default();
    let zone = match zone {
        None => zones.first().cloned().unwrap_or_default(),
        Some(zone) if zones.iter().any(|z| z == zone) => zone.to_owned(),
        Some(zone) => return Err(NetworkError::Zone(zone.into(), zones.join(", "))),
    };
    Ok(tx.put(Subnet {
        id: ids::resource_id("subnet", rng),
        vpc_id: vpc_id.into(),
        cidr,
        zone,
        default_for_az: false,
        map_public_ip: false,
        created_at: now,
        tags,
    }))
}

/// Removes a subnet that nothing is in.
pub fn delete_subnet(tx: &mut Transaction<'_>, id: &str) -> Result<(), NetworkError> {
    if tx.get::<Subnet>(id).is_none() {
        return Err(NetworkError::SubnetNotFound(id.into()));
    }
    if tx.count_by::<Instance>("subnet", id) + tx.count_by::<AddressHold>("subnet", id) > 0 {
        return Err(NetworkError::InUse { kind: "subnet", id: id.into() });
    }
    tx.delete::<Subnet>(id);
    Ok(())
}

/// Removes a VPC that has no subnet and no security group but its default one.
pub fn delete_vpc(tx: &mut Transaction<'_>, id: &str) -> Result<(), NetworkError> {
    if tx.get::<Vpc>(id).is_none() {
        return Err(NetworkError::VpcNotFound(id.into()));
    }
    let groups = tx.list_by::<SecurityGroup>("vpc", id);
    if tx.count_by::<Subnet>("vpc", id) > 0 || groups.iter().any(|g| g.name != SecurityGroup::DEFAULT_NAME) {
        return Err(NetworkError::InUse { kind: "vpc", id: id.into() });
    }
    delete_vpc_with_contents(tx, id);
    Ok(())
}

/// Whether the VPC is as it was made: no addresses taken and no group of the user's.
pub(crate) fn is_untouched(reader: &Reader<'_>, id: &str) -> bool {
    let taken = |s: &Arc<Subnet>| {
        reader.count_by::<Instance>("subnet", &s.id) + reader.count_by::<AddressHold>("subnet", &s.id) > 0
    };
    let subnets = reader.list_by::<Subnet>("vpc", id);
    !subnets.iter().any(taken)
        && subnets.iter().all(|s| s.default_for_az)
        && reader.list_by::<SecurityGroup>("vpc", id).iter().all(|g| g.name == SecurityGroup::DEFAULT_NAME)
}

pub(crate) fn delete_vpc_with_contents(tx: &mut Transaction<'_>, id: &str) {
    for group in tx.list_by::<SecurityGroup>("vpc", id) {
        tx.delete::<SecurityGroup>(&group.id);
    }
    for subnet in tx.list_by::<Subnet>("vpc", id) {
        tx.delete::<Subnet>(&subnet.id);
    }
    tx.delete::<Vpc>(id);
    if tx.get::<Account>(Account::KEY).is_some_and(|a| a.default_vpc_id.as_deref() == Some(id)) {
        tx.update::<Account>(Account::KEY, |a| a.default_vpc_id = None);
    }
}
