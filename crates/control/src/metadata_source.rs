//! Records → what the metadata service tells an instance.

use std::net::Ipv4Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use puffer_core::autoscaling::warm_pool::PoolState;
use puffer_core::autoscaling::{Group, LifecycleState, Member};
use puffer_core::ec2::{
    Account, Image, Instance, InstanceState, KeyPair, SecurityGroup, Subnet, Vpc, private_dns_name,
    profile_arn,
};
use puffer_network::metadata::{InstanceMetadata, MetadataSource};
use puffer_store::{Reader, Store};

/// Answers from the store, at each question anew.
pub struct RecordedMetadata(Store);

impl RecordedMetadata {
    /// Over this store.
    pub fn new(store: Store) -> Self {
        RecordedMetadata(store)
    }
}

impl MetadataSource for RecordedMetadata {
    fn lookup(&self, source: Ipv4Addr) -> Option<InstanceMetadata> {
        self.0.read(|reader| metadata_of(reader, source))
    }
}

fn metadata_of(reader: &Reader<'_>, source: Ipv4Addr) -> Option<InstanceMetadata> {
    let instance = reader.list_by::<Instance>("address", &source.to_string()).into_iter().find(|i| {
        matches!(i.state, InstanceState::Pending | InstanceState::Running | InstanceState::Stopping)
    })?;
    let account = reader.get::<Account>(Account::KEY)?;
    let subnet = reader.get::<Subnet>(&instance.subnet_id)?;
    let vpc = reader.get::<Vpc>(&instance.vpc_id)?;
    let names = instance.security_groups.iter();
    let names = names.filter_map(|id| reader.get::<SecurityGroup>(id).map(|g| g.name.clone())).collect();
    let key = instance.key_name.as_deref().and_then(|name| reader.get::<KeyPair>(name));
    let image = reader.get::<Image>(&instance.image_id);
    let member = reader.get::<Member>(&instance.id);
    let pool =
        member.as_ref().and_then(|m| reader.get::<Group>(&m.group)?.warm_pool.as_ref().map(|p| p.state));
    Some(InstanceMetadata {
        instance_id: instance.id.clone(),
        image_id: instance.image_id.clone(),
        instance_type: instance.instance_type.clone(),
        ami_launch_index: instance.ami_launch_index,
        reservation_id: instance.reservation_id.clone(),
        hostname: private_dns_name(instance.private_ip, &account.region),
        private_ip: instance.private_ip,
        public_ip: instance.public_ip,
        mac: instance.mac.clone(),
        interface_id: instance.network_interface_id.clone(),
        subnet_id: instance.subnet_id.clone(),
        subnet_cidr: subnet.cidr,
        vpc_id: instance.vpc_id.clone(),
        vpc_cidr: vpc.cidr,
        zone: instance.zone.clone(),
        zone_id: account.zone_id(&instance.zone),
        region: account.region.clone(),
        account: account.id.clone(),
        security_groups: names,
        security_group_ids: instance.security_groups.clone(),
        key: key.map(|key| (key.name.clone(), key.public_key.clone())),
        user_data: instance.user_data.as_ref().and_then(|data| STANDARD.decode(data).ok()),
        tags: instance.tags.clone(),
        options: instance.metadata_options.clone(),
        is_spot: instance.is_spot(),
        interruption: instance.spot.as_ref().and_then(|s| Some(s.interruption.as_ref()?.ends_at)),
        rebalance_at: instance.spot.as_ref().and_then(|s| s.rebalance_at),
        target_lifecycle_state: member
            .map(|member| target_state(member.state, pool.unwrap_or_default()).to_owned()),
        architecture: image.map_or_else(|| "x86_64".to_owned(), |image| image.architecture.clone()),
        instance_profile: instance.iam_instance_profile.as_ref().map(|p| profile_arn(&account.id, p)),
        launched_at: instance.launched_at,
    })
}

/// The state that the group moves the instance to (retrieving the target lifecycle state, EC2 Auto Scaling user guide).
fn target_state(state: LifecycleState, pool: PoolState) -> &'static str {
    use LifecycleState as S;
    let warm = match pool {
        PoolState::Stopped => "Warmed:Stopped",
        PoolState::Running => "Warmed:Running",
    };
    match state {
        S::Pending
        | S::PendingWait
        | S::PendingProceed
        | S::InService
        | S::ReplacingRootVolume
        | S::ReplacingRootVolumeWait
        | S::ReplacingRootVolumeProceed
        | S::RootVolumeReplaced => "InService",
        S::Terminating
        | S::TerminatingWait
        | S::TerminatingProceed
        | S::TerminatingRetained
        | S::Terminated => "Terminated",
        S::EnteringStandby | S::Standby => "Standby",
        S::Detaching | S::Detached => "Detached",
        S::WarmedRunning => "Warmed:Running",
        S::WarmedPending
        | S::WarmedPendingWait
        | S::WarmedPendingProceed
        | S::WarmedPendingRetained
        | S::WarmedStopped => warm,
        S::WarmedTerminating
        | S::WarmedTerminatingWait
        | S::WarmedTerminatingProceed
        | S::WarmedTerminatingRetained => "Warmed:Terminated",
    }
}
