//! The network's desired state, computed from the records: pure.

use puffer_core::ec2::{AddressHold, Instance, InstanceState, SecurityGroup, Subnet, Vpc};
use puffer_network::{DesiredGroup, DesiredNetwork, DesiredSubnet, Endpoint, EndpointKind};
use puffer_store::Reader;

/// All subnets with their instances and load balancer nodes, and the security groups.
///
/// An address that a node is giving back stays until its last connection has ended: only then its hold goes, and with it
/// the endpoint here.
pub fn desired_network(reader: &Reader<'_>) -> DesiredNetwork {
    let mut network = DesiredNetwork::default();
    for subnet in reader.iter::<Subnet>() {
        if let Some(vpc) = reader.get::<Vpc>(&subnet.vpc_id) {
            network.subnets.insert(subnet.id.clone(), desired_subnet(subnet, &vpc));
        }
    }
    for group in reader.iter::<SecurityGroup>() {
        network.groups.insert(group.id.clone(), desired_group(group));
    }
    for instance in reader.iter::<Instance>() {
        if instance.state != InstanceState::Terminated && network.subnets.contains_key(&instance.subnet_id) {
            let key = (instance.subnet_id.clone(), instance.private_ip);
            network.endpoints.insert(key, endpoint_of(instance));
        }
    }
    for hold in reader.iter::<AddressHold>() {
        if network.subnets.contains_key(&hold.subnet_id) {
            let node = Endpoint { kind: EndpointKind::Node, groups: hold.security_groups.clone() };
            network.endpoints.insert((hold.subnet_id.clone(), hold.address), node);
        }
    }
    network
}

/// An instance as the network sees it.
pub(super) fn endpoint_of(instance: &Instance) -> Endpoint {
    Endpoint {
        kind: EndpointKind::Instance { id: instance.id.clone(), mac: instance.mac.clone() },
        groups: instance.security_groups.clone(),
    }
}

pub(super) fn desired_subnet(subnet: &Subnet, vpc: &Vpc) -> DesiredSubnet {
    DesiredSubnet {
        vpc_id: subnet.vpc_id.clone(),
        vpc_cidr: vpc.cidr,
        cidr: subnet.cidr,
        gateway: subnet.gateway(),
        to_internet: vpc.internet_gateway_id.is_some(),
    }
}

fn desired_group(group: &SecurityGroup) -> DesiredGroup {
    let side =
        |egress: bool| group.rules.iter().filter(|r| r.egress == egress).map(|r| r.allows.clone()).collect();
    DesiredGroup { ingress: side(false), egress: side(true) }
}
