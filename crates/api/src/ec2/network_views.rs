//! What a VPC comes with on AWS and tools look at: route table, internet gateway, network ACL, interfaces, addresses. Puffer
//! has exactly the ones that are made by default, so these are views of other records.

use std::sync::Arc;

use puffer_core::Tags;
use puffer_core::ec2::{Account, AddressHold, Cidr, Instance, Subnet, Vpc, private_dns_name, sibling_id};
use puffer_shapes::ec2 as shapes;
use puffer_store::Reader;

use super::error::dry_run;
use super::filter::{Field, Filters};
use super::instance_view;
use super::instances::account;
use super::page::Page;
use super::parts::{check_ids, s, show_tags, time};
use crate::{ApiError, Ctx};

fn refuse_unknown(
    wanted: &[String],
    known: impl Fn(&str) -> bool,
    code: &'static str,
    what: &str,
) -> Result<(), ApiError> {
    match wanted.iter().find(|id| !known(id)) {
        Some(id) => Err(ApiError::sender(code, format!("The {what} ID '{id}' does not exist"))),
        None => Ok(()),
    }
}

fn route_table(account: &Account, v: &Vpc) -> shapes::RouteTable {
    let route = |to: Cidr, gateway: &str, origin: &str| shapes::Route {
        destination_cidr_block: s(to.to_string()),
        gateway_id: s(gateway),
        origin: s(origin),
        state: s("active"),
        ..Default::default()
    };
    let mut routes = vec![route(v.cidr, "local", "CreateRouteTable")];
    routes.extend(v.internet_gateway_id.as_ref().map(|igw| route(Cidr::ANY, igw, "CreateRoute")));
    shapes::RouteTable {
        associations: Some(vec![shapes::RouteTableAssociation {
            main: Some(true),
            route_table_association_id: s(sibling_id("rtbassoc", &v.main_route_table_id)),
            route_table_id: s(&v.main_route_table_id),
            association_state: Some(shapes::RouteTableAssociationState {
                state: s("associated"),
                ..Default::default()
            }),
            ..Default::default()
        }]),
        propagating_vgws: Some(Vec::new()),
        route_table_id: s(&v.main_route_table_id),
        routes: Some(routes),
        tags: Some(Vec::new()),
        vpc_id: s(&v.id),
        owner_id: s(&account.id),
    }
}

pub(super) async fn describe_route_tables(
    cx: Arc<Ctx>,
    input: shapes::DescribeRouteTablesInput,
) -> Result<shapes::DescribeRouteTablesOutput, ApiError> {
    const FILTERS: &[&str] = &[
        "association.gateway-id",
        "association.main",
        "association.route-table-association-id",
        "association.route-table-id",
        "association.subnet-id",
        "owner-id",
        "route-table-id",
        "route.destination-cidr-block",
        "route.gateway-id",
        "route.state",
        "vpc-id",
    ];
    let ids = input.route_table_ids.unwrap_or_default();
    check_ids("rtb", "InvalidRouteTableID.Malformed", &ids)?;
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        let account = account(r)?;
        let known = |id: &str| r.iter::<Vpc>().any(|v| v.main_route_table_id == id);
        refuse_unknown(&ids, known, "InvalidRouteTableID.NotFound", "routeTable")?;
        let no_tags = Tags::new();
        let mut matching: Vec<_> = r
            .iter::<Vpc>()
            .filter(|v| ids.is_empty() || ids.contains(&v.main_route_table_id))
            .filter(|v| {
                filters.matches(&no_tags, |name| match name {
                    "association.main" => true.into(),
                    "association.route-table-association-id" => {
                        sibling_id("rtbassoc", &v.main_route_table_id).into()
                    }
                    "association.route-table-id" | "route-table-id" => v.main_route_table_id.as_str().into(),
                    "owner-id" => account.id.as_str().into(),
                    "route.destination-cidr-block" => {
                        let mut to = vec![v.cidr.to_string()];
                        to.extend(v.internet_gateway_id.as_ref().map(|_| Cidr::ANY.to_string()));
                        to.into()
                    }
                    "route.gateway-id" => {
                        let mut to = vec!["local".to_owned()];
                        to.extend(v.internet_gateway_id.clone());
                        to.into()
                    }
                    "route.state" => "active".into(),
                    "vpc-id" => v.id.as_str().into(),
                    // Subnets use the main table without an association of their own.
                    _ => Field::Many(Vec::new()),
                })
            })
            .collect();
        matching.sort_by(|a, b| a.main_route_table_id.cmp(&b.main_route_table_id));
        let (found, next_token) = page.cut(matching.into_iter(), |v| &v.main_route_table_id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let route_tables = found.into_iter().map(|v| route_table(&account, v)).collect();
        Ok(shapes::DescribeRouteTablesOutput { route_tables: Some(route_tables), next_token })
    })
}

pub(super) async fn describe_internet_gateways(
    cx: Arc<Ctx>,
    input: shapes::DescribeInternetGatewaysInput,
) -> Result<shapes::DescribeInternetGatewaysOutput, ApiError> {
    const FILTERS: &[&str] = &["attachment.state", "attachment.vpc-id", "internet-gateway-id", "owner-id"];
    let ids = input.internet_gateway_ids.unwrap_or_default();
    check_ids("igw", "InvalidInternetGatewayId.Malformed", &ids)?;
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        let account = account(r)?;
        let mut all: Vec<(&String, &Arc<Vpc>)> =
            r.iter::<Vpc>().filter_map(|v| Some((v.internet_gateway_id.as_ref()?, v))).collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        let known = |id: &str| all.iter().any(|(igw, _)| *igw == id);
        refuse_unknown(&ids, known, "InvalidInternetGatewayID.NotFound", "internetGateway")?;
        let no_tags = Tags::new();
        let matching = all.iter().filter(|(igw, v)| {
            (ids.is_empty() || ids.contains(igw))
                && filters.matches(&no_tags, |name| match name {
                    "attachment.state" => "available".into(),
                    "attachment.vpc-id" => v.id.as_str().into(),
                    "internet-gateway-id" => igw.as_str().into(),
                    _ => account.id.as_str().into(),
                })
        });
        let (found, next_token) = page.cut(matching, |(igw, _)| igw);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let show = |(igw, v): &(&String, &Arc<Vpc>)| shapes::InternetGateway {
            attachments: Some(vec![shapes::InternetGatewayAttachment {
                state: s("available"),
                vpc_id: s(&v.id),
            }]),
            internet_gateway_id: s(*igw),
            owner_id: s(&account.id),
            tags: Some(Vec::new()),
        };
        let internet_gateways = found.into_iter().map(show).collect();
        Ok(shapes::DescribeInternetGatewaysOutput { internet_gateways: Some(internet_gateways), next_token })
    })
}

fn acl_entries() -> Vec<shapes::NetworkAclEntry> {
    let entry = |egress: bool, number: i32, action: &str| shapes::NetworkAclEntry {
        cidr_block: s(Cidr::ANY.to_string()),
        egress: Some(egress),
        protocol: s("-1"),
        rule_action: s(action),
        rule_number: Some(number),
        ..Default::default()
    };
    /// The number of the rule that ends each list.
    const LAST: i32 = 32_767;
    vec![
        entry(true, 100, "allow"),
        entry(true, LAST, "deny"),
        entry(false, 100, "allow"),
        entry(false, LAST, "deny"),
    ]
}

pub(super) async fn describe_network_acls(
    cx: Arc<Ctx>,
    input: shapes::DescribeNetworkAclsInput,
) -> Result<shapes::DescribeNetworkAclsOutput, ApiError> {
    const FILTERS: &[&str] = &[
        "association.network-acl-id",
        "association.subnet-id",
        "default",
        "network-acl-id",
        "owner-id",
        "vpc-id",
    ];
    let ids = input.network_acl_ids.unwrap_or_default();
    check_ids("acl", "InvalidNetworkAclID.Malformed", &ids)?;
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        let account = account(r)?;
        let known = |id: &str| r.iter::<Vpc>().any(|v| v.network_acl_id == id);
        refuse_unknown(&ids, known, "InvalidNetworkAclID.NotFound", "networkAcl")?;
        let no_tags = Tags::new();
        let subnets = |v: &Vpc| r.list_by::<Subnet>("vpc", &v.id);
        let mut matching: Vec<_> = r
            .iter::<Vpc>()
            .filter(|v| ids.is_empty() || ids.contains(&v.network_acl_id))
            .filter(|v| {
                filters.matches(&no_tags, |name| match name {
                    "association.subnet-id" => {
                        subnets(v).iter().map(|n| n.id.clone()).collect::<Vec<_>>().into()
                    }
                    "default" => true.into(),
                    "association.network-acl-id" | "network-acl-id" => v.network_acl_id.as_str().into(),
                    "owner-id" => account.id.as_str().into(),
                    _ => v.id.as_str().into(),
                })
            })
            .collect();
        matching.sort_by(|a, b| a.network_acl_id.cmp(&b.network_acl_id));
        let (found, next_token) = page.cut(matching.into_iter(), |v| &v.network_acl_id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let show = |v: &Arc<Vpc>| shapes::NetworkAcl {
            associations: Some(
                subnets(v)
                    .iter()
                    .map(|n| shapes::NetworkAclAssociation {
                        network_acl_association_id: s(sibling_id("aclassoc", &n.id)),
                        network_acl_id: s(&v.network_acl_id),
                        subnet_id: s(&n.id),
                    })
                    .collect(),
            ),
            entries: Some(acl_entries()),
            is_default: Some(true),
            network_acl_id: s(&v.network_acl_id),
            tags: Some(Vec::new()),
            vpc_id: s(&v.id),
            owner_id: s(&account.id),
        };
        Ok(shapes::DescribeNetworkAclsOutput {
            network_acls: Some(found.into_iter().map(show).collect()),
            next_token,
        })
    })
}

fn interface_of_instance(reader: &Reader<'_>, account: &Account, i: &Instance) -> shapes::NetworkInterface {
    let dns = private_dns_name(i.private_ip, &account.region);
    let association = instance_view::public_ip(i).map(|ip| shapes::NetworkInterfaceAssociation {
        ip_owner_id: s("amazon"),
        public_dns_name: s(&dns),
        public_ip: s(ip),
        ..Default::default()
    });
    let address = i.private_ip.to_string();
    shapes::NetworkInterface {
        attachment: Some(shapes::NetworkInterfaceAttachment {
            attach_time: time(i.launched_at),
            attachment_id: s(sibling_id("eni-attach", &i.id)),
            delete_on_termination: Some(true),
            device_index: Some(0),
            network_card_index: Some(0),
            instance_id: s(&i.id),
            instance_owner_id: s(&account.id),
            status: s("attached"),
            ..Default::default()
        }),
        availability_zone: s(&i.zone),
        description: s(""),
        groups: Some(instance_view::groups(reader, &i.security_groups)),
        interface_type: s("interface"),
        mac_address: s(&i.mac),
        network_interface_id: s(&i.network_interface_id),
        owner_id: s(&account.id),
        private_dns_name: s(&dns),
        private_ip_address: s(&address),
        private_ip_addresses: Some(vec![shapes::NetworkInterfacePrivateIpAddress {
            association: association.clone(),
            primary: Some(true),
            private_dns_name: s(&dns),
            private_ip_address: s(&address),
        }]),
        association,
        requester_managed: Some(false),
        source_dest_check: Some(i.source_dest_check),
        status: s("in-use"),
        subnet_id: s(&i.subnet_id),
        tag_set: show_tags(&i.network_interface_tags),
        vpc_id: s(&i.vpc_id),
        ..Default::default()
    }
}

fn interface_of_hold(reader: &Reader<'_>, account: &Account, h: &AddressHold) -> shapes::NetworkInterface {
    let subnet = reader.get::<Subnet>(&h.subnet_id);
    let dns = private_dns_name(h.address, &account.region);
    let address = h.address.to_string();
    shapes::NetworkInterface {
        attachment: Some(shapes::NetworkInterfaceAttachment {
            attach_time: time(h.since),
            attachment_id: s(sibling_id("ela-attach", &h.network_interface_id)),
            delete_on_termination: Some(false),
            device_index: Some(1),
            instance_owner_id: s("amazon-elb"),
            status: s("attached"),
            ..Default::default()
        }),
        availability_zone: subnet.as_ref().map(|n| n.zone.clone()),
        description: s(&h.description),
        groups: Some(instance_view::groups(reader, &h.security_groups)),
        interface_type: s("interface"),
        mac_address: s(&h.mac),
        network_interface_id: s(&h.network_interface_id),
        owner_id: s(&account.id),
        private_dns_name: s(&dns),
        private_ip_address: s(&address),
        private_ip_addresses: Some(vec![shapes::NetworkInterfacePrivateIpAddress {
            primary: Some(true),
            private_dns_name: s(&dns),
            private_ip_address: s(&address),
            ..Default::default()
        }]),
        requester_id: s("amazon-elb"),
        requester_managed: Some(true),
        source_dest_check: Some(true),
        status: s("in-use"),
        subnet_id: s(&h.subnet_id),
        tag_set: Some(Vec::new()),
        vpc_id: subnet.map(|n| n.vpc_id.clone()),
        ..Default::default()
    }
}

fn interface_field(i: &shapes::NetworkInterface, name: &str) -> Field {
    let attachment = i.attachment.as_ref();
    match name {
        "addresses.private-ip-address" | "private-ip-address" => i.private_ip_address.clone().into(),
        "association.public-ip" => i.association.as_ref().and_then(|a| a.public_ip.clone()).into(),
        "attachment.attachment-id" => attachment.and_then(|a| a.attachment_id.clone()).into(),
        "attachment.device-index" => attachment.and_then(|a| a.device_index).map(|n| n.to_string()).into(),
        "attachment.instance-id" => attachment.and_then(|a| a.instance_id.clone()).into(),
        "attachment.instance-owner-id" => attachment.and_then(|a| a.instance_owner_id.clone()).into(),
        "attachment.status" => attachment.and_then(|a| a.status.clone()).into(),
        "availability-zone" => i.availability_zone.clone().into(),
        "description" => i.description.clone().into(),
        "group-id" => ids_of(i, |g| g.group_id.clone()),
        "group-name" => ids_of(i, |g| g.group_name.clone()),
        "interface-type" => i.interface_type.clone().into(),
        "mac-address" => i.mac_address.clone().into(),
        "network-interface-id" => i.network_interface_id.clone().into(),
        "owner-id" => i.owner_id.clone().into(),
        "private-dns-name" => i.private_dns_name.clone().into(),
        "requester-id" => i.requester_id.clone().into(),
        "requester-managed" => i.requester_managed.unwrap_or(false).into(),
        "status" => i.status.clone().into(),
        "subnet-id" => i.subnet_id.clone().into(),
        "vpc-id" => i.vpc_id.clone().into(),
        _ => Field::Many(Vec::new()),
    }
}

fn ids_of(i: &shapes::NetworkInterface, of: impl Fn(&shapes::GroupIdentifier) -> Option<String>) -> Field {
    Field::Many(i.groups.iter().flatten().filter_map(of).collect())
}

pub(super) async fn describe_network_interfaces(
    cx: Arc<Ctx>,
    input: shapes::DescribeNetworkInterfacesInput,
) -> Result<shapes::DescribeNetworkInterfacesOutput, ApiError> {
    const FILTERS: &[&str] = &[
        "addresses.private-ip-address",
        "association.public-ip",
        "attachment.attachment-id",
        "attachment.device-index",
        "attachment.instance-id",
        "attachment.instance-owner-id",
        "attachment.status",
        "availability-zone",
        "description",
        "group-id",
        "group-name",
        "interface-type",
        "mac-address",
        "network-interface-id",
        "owner-id",
        "private-dns-name",
        "private-ip-address",
        "requester-id",
        "requester-managed",
        "status",
        "subnet-id",
        "vpc-id",
    ];
    let ids = input.network_interface_ids.unwrap_or_default();
    check_ids("eni", "InvalidNetworkInterfaceId.Malformed", &ids)?;
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        let account = account(r)?;
        let alive = r.iter::<Instance>().filter(|i| i.state.is_alive());
        let mut all: Vec<(&Tags, shapes::NetworkInterface)> =
            alive.map(|i| (&i.network_interface_tags, interface_of_instance(r, &account, i))).collect();
        let no_tags = Tags::new();
        all.extend(r.iter::<AddressHold>().map(|h| (&no_tags, interface_of_hold(r, &account, h))));
        let id = |i: &shapes::NetworkInterface| i.network_interface_id.clone().unwrap_or_default();
        let known = |wanted: &str| all.iter().any(|(_, i)| i.network_interface_id.as_deref() == Some(wanted));
        refuse_unknown(&ids, known, "InvalidNetworkInterfaceID.NotFound", "networkInterface")?;
        all.sort_by_cached_key(|(_, i)| id(i));
        let matching = all
            .into_iter()
            .filter(|(_, i)| ids.is_empty() || ids.contains(&id(i)))
            .filter(|(tags, i)| filters.matches(tags, |name| interface_field(i, name)))
            .map(|(_, i)| i);
        let (found, next_token) =
            page.cut(matching, |i| i.network_interface_id.as_deref().unwrap_or_default());
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        Ok(shapes::DescribeNetworkInterfacesOutput { network_interfaces: Some(found), next_token })
    })
}

/// There are no elastic addresses to allocate, hence none to describe.
pub(super) async fn describe_addresses(
    _: Arc<Ctx>,
    input: shapes::DescribeAddressesInput,
) -> Result<shapes::DescribeAddressesOutput, ApiError> {
    if let Some(id) = input.allocation_ids.unwrap_or_default().first() {
        return Err(ApiError::sender(
            "InvalidAllocationID.NotFound",
            format!("The allocation ID '{id}' does not exist"),
        ));
    }
    if let Some(ip) = input.public_ips.unwrap_or_default().first() {
        return Err(ApiError::sender("InvalidAddress.NotFound", format!("Address '{ip}' not found.")));
    }
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    Ok(shapes::DescribeAddressesOutput { addresses: Some(Vec::new()) })
}
