use std::net::Ipv4Addr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use puffer_core::ec2::{
    Account, Image, ImageState, Instance, InstanceIntent, InstanceLifecycle, InstanceState, KeyPair,
    SecurityGroup, SpotTerms, StatusCheck, Subnet, instance_types, is_well_formed_id, sibling_id,
};
use puffer_core::{Timestamp, ids};
use puffer_store::Transaction;
use rand::{Rng, RngExt};

use super::{ClientToken, LaunchError, LaunchRequest};
use crate::{addresses, security_groups, spot, zones};

/// Instances that one launch may ask for: bounds the time of a transaction (a second or so).
pub const INSTANCES_PER_LAUNCH_MAX: u32 = 5_000;
/// User data before base64 encoding, bytes (EC2's limit).
pub const USER_DATA_BYTES_MAX: usize = 16 * 1024;
/// Security groups of an interface (AWS's default quota is 5, and it can be raised to 16).
pub const GROUPS_PER_INSTANCE_MAX: usize = 16;
/// Size shown for the root volume when the image says none, GiB.
const ROOT_VOLUME_GIB: u32 = 8;

/// User data as it is kept: base64 in one line, since some tools wrap it. What is none would leave the guest without it.
pub fn check_user_data(data: Option<String>) -> Result<Option<String>, LaunchError> {
    let Some(data) = data.filter(|d| !d.is_empty()) else { return Ok(None) };
    let joined: String = data.split_ascii_whitespace().collect();
    let bytes = STANDARD
        .decode(&joined)
        .map_err(|_| LaunchError::Value("Invalid BASE64 encoding of user data.".to_owned()))?;
    if bytes.len() > USER_DATA_BYTES_MAX {
        return Err(LaunchError::Value(format!("User data is limited to {USER_DATA_BYTES_MAX} bytes")));
    }
    Ok(Some(joined))
}

/// Records up to `max_count` pending instances, at least `min_count`, or none. A repeated `client_token` gives the instances of
/// the first request.
pub fn run_instances(
    tx: &mut Transaction<'_>,
    request: &LaunchRequest,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<Vec<Arc<Instance>>, LaunchError> {
    if let Some(token) = &request.client_token
        && let Some(before) = launched_before(tx, token)?
    {
        return Ok(before);
    }
    check_counts(request)?;
    let instance_type = instance_types::find(&request.instance_type)
        .ok_or_else(|| LaunchError::InstanceType(request.instance_type.clone()))?;
    let account = tx.get::<Account>(Account::KEY).ok_or(LaunchError::NoDefaultVpc)?;
    let image_gib = check_image(tx, &account, &request.image_id)?;
    if let Some(name) = &request.key_name
        && tx.get::<KeyPair>(name).is_none()
    {
        return Err(LaunchError::KeyPairNotFound(name.clone()));
    }
    let user_data = check_user_data(request.user_data.clone())?;
    let subnet = choose_subnet(tx, &account, request, rng)?;
    let no_capacity = || LaunchError::NoCapacity {
        instance_type: request.instance_type.clone(),
        zone: subnet.zone.clone(),
    };
    if zones::is_down(&tx.reader(), &subnet.zone) {
        return Err(no_capacity());
    }
    let max_count = match &request.spot {
        None => request.max_count,
        Some(purchase) => {
            let (most, wanted) = (purchase.max_price, request.max_count);
            match spot::sell(&tx.reader(), &instance_type, &subnet.zone, most, wanted, now)? {
                n if n < request.min_count => return Err(no_capacity()),
                n => n,
            }
        }
    };
    let groups = choose_groups(tx, request, &subnet)?;
    let root_volume_gib = request.root_volume_gib.or(image_gib).unwrap_or(ROOT_VOLUME_GIB);
    let reservation_id = ids::resource_id("r", rng);
    let mut made = Vec::with_capacity(max_count as usize);
    for index in 0..max_count {
        let address = match choose_address(tx, request, &subnet, rng) {
            Ok(address) => address,
            Err(LaunchError::NoFreeAddress(_)) if index >= request.min_count => break,
            Err(e) => return Err(e),
        };
        let id = ids::resource_id("i", rng);
        let public = request.associate_public_ip.unwrap_or(subnet.map_public_ip);
        made.push(tx.put(Instance {
            network_interface_id: sibling_id("eni", &id),
            id,
            reservation_id: reservation_id.clone(),
            ami_launch_index: index,
            client_token: request.client_token.as_ref().map(|t| t.token.clone()),
            client_digest: request.client_token.as_ref().map(|t| t.digest.clone()),
            image_id: request.image_id.clone(),
            instance_type: request.instance_type.clone(),
            zone: subnet.zone.clone(),
            vpc_id: subnet.vpc_id.clone(),
            subnet_id: subnet.id.clone(),
            private_ip: address,
            // There is no address translation: whoever has a route to the subnet reaches an instance by its own address.
            public_ip: public.then_some(address),
            mac: ids::mac(rng),
            security_groups: groups.clone(),
            key_name: request.key_name.clone(),
            user_data: user_data.clone(),
            iam_instance_profile: request.iam_instance_profile.clone(),
            metadata_options: request.metadata_options.clone(),
            detailed_monitoring: request.detailed_monitoring,
            termination_protected: request.termination_protected,
            terminate_on_shutdown: request.terminate_on_shutdown,
            lifecycle: match request.spot {
                Some(_) => InstanceLifecycle::Spot,
                None => InstanceLifecycle::OnDemand,
            },
            spot: request.spot.as_ref().map(|purchase| SpotTerms {
                max_price: purchase.max_price,
                request_tags: purchase.request_tags.clone(),
                ..SpotTerms::default()
            }),
            state: InstanceState::Pending,
            intent: InstanceIntent::Run,
            reboot_requests: 0,
            reboots_done: 0,
            state_reason: None,
            launched_at: now,
            running_at: None,
            terminated_at: None,
            transition_reason: None,
            has_disk: false,
            stop_protected: request.stop_protected,
            stop_hard: false,
            ebs_optimized: request.ebs_optimized,
            source_dest_check: true,
            root_volume_gib,
            root_replacement: None,
            root_serial: 0,
            n_root_replacements: 0,
            root_since: None,
            volume_tags: request.volume_tags.clone(),
            network_interface_tags: request.network_interface_tags.clone(),
            instance_status: StatusCheck::Initializing,
            system_status: StatusCheck::Initializing,
            launch_template: request.launch_template.clone(),
            auto_scaling_group: request.auto_scaling_group.clone(),
            tags: request.tags.clone(),
        }));
    }
    Ok(made)
}

/// The instances of an earlier request with this token.
pub fn launched_before(
    tx: &Transaction<'_>,
    token: &ClientToken,
) -> Result<Option<Vec<Arc<Instance>>>, LaunchError> {
    let mut before = tx.list_by::<Instance>("client_token", &token.token);
    let Some(first) = before.first() else { return Ok(None) };
    // Instances of before digests were kept are told by the token alone.
    if first.client_digest.as_ref().is_some_and(|digest| *digest != token.digest) {
        return Err(LaunchError::TokenMismatch);
    }
    before.sort_by_key(|i| i.ami_launch_index);
    Ok(Some(before))
}

fn check_counts(request: &LaunchRequest) -> Result<(), LaunchError> {
    if request.min_count == 0 || request.max_count == 0 {
        return Err(LaunchError::Value(
            "Value (0) for parameter minCount or maxCount is invalid. Expected at least 1.".into(),
        ));
    }
    if request.min_count > request.max_count {
        return Err(LaunchError::Value(format!(
            "Value ({}) for parameter maxCount is invalid. It must not be below minCount ({}).",
            request.max_count, request.min_count
        )));
    }
    if request.max_count > INSTANCES_PER_LAUNCH_MAX {
        return Err(LaunchError::TooMany(request.max_count, INSTANCES_PER_LAUNCH_MAX));
    }
    if request.private_ip.is_some() && request.max_count > 1 {
        return Err(LaunchError::Combination(
            "A private address can be given for a single instance only, but maxCount is above 1.".into(),
        ));
    }
    Ok(())
}

/// The root size of a launchable image.
fn check_image(tx: &Transaction<'_>, account: &Account, id: &str) -> Result<Option<u32>, LaunchError> {
    if let Some(image) = tx.get::<Image>(id) {
        return match image.state {
            ImageState::Available => Ok(Some(image.root_volume_gib)),
            ImageState::Pending | ImageState::Failed => Err(LaunchError::ImageUnavailable(id.into())),
            ImageState::Deregistered => Err(LaunchError::ImageNotFound(id.into())),
        };
    }
    if !is_well_formed_id("ami", id) {
        return Err(LaunchError::ImageMalformed(id.into()));
    }
    if account.any_image { Ok(None) } else { Err(LaunchError::ImageNotFound(id.into())) }
}

fn choose_subnet(
    tx: &Transaction<'_>,
    account: &Account,
    request: &LaunchRequest,
    rng: &mut dyn Rng,
) -> Result<Arc<Subnet>, LaunchError> {
    if let Some(zone) = &request.zone
        && !account.zones.contains(zone)
    {
        return Err(LaunchError::Zone(zone.clone()));
    }
    if let Some(id) = &request.subnet_id {
        let subnet = tx.get::<Subnet>(id).ok_or_else(|| LaunchError::SubnetNotFound(id.clone()))?;
        if let Some(wanted) = request.zone.as_ref().filter(|z| **z != subnet.zone) {
            let (subnet, zone) = (subnet.id.clone(), subnet.zone.clone());
            return Err(LaunchError::OtherZone { subnet, zone, wanted: wanted.clone() });
        }
        return Ok(subnet);
    }
    let vpc = account.default_vpc_id.as_ref().ok_or(LaunchError::NoDefaultVpc)?;
    let zones: Vec<&String> = match &request.zone {
        Some(zone) => vec![zone],
        None => account.zones.iter().collect(),
    };
    let start = rng.random_range(0..zones.len().max(1));
    // A zone that is down is the last choice: then the launch fails for lack of capacity, which is what is wrong.
    let mut order: Vec<&String> = (0..zones.len()).map(|i| zones[(start + i) % zones.len()]).collect();
    order.sort_by_key(|zone| crate::zones::is_down(&tx.reader(), zone));
    order
        .into_iter()
        .find_map(|zone| tx.list_by::<Subnet>("default_zone", zone).into_iter().find(|s| s.vpc_id == *vpc))
        .ok_or_else(|| LaunchError::NoDefaultSubnet(zones.first().map_or_else(String::new, |z| (*z).clone())))
}

fn choose_groups(
    tx: &Transaction<'_>,
    request: &LaunchRequest,
    subnet: &Subnet,
) -> Result<Vec<String>, LaunchError> {
    let reader = tx.reader();
    let mut chosen: Vec<String> = Vec::new();
    let by_id = |id: &String| match tx.get::<SecurityGroup>(id) {
        None => Err(LaunchError::GroupNotFound(id.clone())),
        Some(g) if g.vpc_id != subnet.vpc_id => {
            Err(LaunchError::OtherNetwork { group: id.clone(), subnet: subnet.id.clone() })
        }
        Some(g) => Ok(g.id.clone()),
    };
    for id in &request.security_group_ids {
        chosen.push(by_id(id)?);
    }
    for given in &request.security_groups {
        chosen.push(match security_groups::find_by_name(&reader, &subnet.vpc_id, given) {
            Some(group) => group.id.clone(),
            None if given.starts_with("sg-") => by_id(given)?,
            None => {
                let (name, vpc_id) = (given.clone(), subnet.vpc_id.clone());
                return Err(LaunchError::GroupNameNotFound { name, vpc_id });
            }
        });
    }
    let mut seen = std::collections::HashSet::new();
    chosen.retain(|id| seen.insert(id.clone()));
    if chosen.is_empty() {
        let default = security_groups::find_by_name(&reader, &subnet.vpc_id, SecurityGroup::DEFAULT_NAME);
        chosen.extend(default.map(|g| g.id.clone()));
    }
    if chosen.len() > GROUPS_PER_INSTANCE_MAX {
        return Err(LaunchError::TooManyGroups(GROUPS_PER_INSTANCE_MAX));
    }
    Ok(chosen)
}

fn choose_address(
    tx: &Transaction<'_>,
    request: &LaunchRequest,
    subnet: &Subnet,
    rng: &mut dyn Rng,
) -> Result<Ipv4Addr, LaunchError> {
    match request.private_ip {
        None => {
            addresses::allocate(tx, subnet, rng).ok_or_else(|| LaunchError::NoFreeAddress(subnet.id.clone()))
        }
        Some(wanted) if !subnet.is_usable(wanted) => Err(LaunchError::AddressOutside(wanted)),
        Some(wanted) if addresses::is_free(&tx.reader(), subnet, wanted) => Ok(wanted),
        Some(wanted) => Err(LaunchError::AddressInUse(wanted)),
    }
}
