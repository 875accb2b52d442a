//! Bridges, their addresses, and routes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use puffer_core::ErrorClass;
use puffer_core::ec2::Cidr;
use serde_json::Value;

use super::forwarding;
use super::names::{Names, ROUTE_PROTOCOL};
use super::tool;
use crate::{DesiredNetwork, EndpointKind, FabricError};

/// A bridge as it is or shall be: its addresses with their prefix lengths.
type Bridges = BTreeMap<String, BTreeSet<(Ipv4Addr, u8)>>;

/// Makes bridges, addresses and routes as desired; those of this server that are not desired go.
pub(super) async fn apply(desired: &DesiredNetwork, names: &Names) -> Result<(), FabricError> {
    let wanted = wanted_bridges(desired, names);
    let found = found_bridges(&tool::ip_json(&["address", "show", "type", "bridge"]).await?, names);
    let holes_wanted: BTreeSet<Cidr> = desired.subnets.values().map(|s| s.vpc_cidr).collect();
    let routes = tool::ip_json(&["-4", "route", "show", "type", "blackhole"]).await?;
    let holes_found = found_holes(&routes, names);

    let mut lines = Vec::new();
    // Holes come before bridges and go after them, so that at no time a packet finds the default route.
    for hole in holes_wanted.difference(&holes_found) {
        lines.push(format!(
            "route add blackhole {hole} metric {} proto {ROUTE_PROTOCOL}",
            names.blackhole_metric()
        ));
    }
    let macs: BTreeMap<String, String> =
        desired.subnets.keys().map(|id| (names.bridge(id), names.bridge_mac(id))).collect();
    let fresh: Vec<&String> = wanted.keys().filter(|name| !found.contains_key(*name)).collect();
    for name in &fresh {
        let mac = macs.get(*name).map_or("", String::as_str);
        lines.push(format!("link add name {name} address {mac} type bridge forward_delay 0 stp_state 0"));
    }
    tool::ip_batch(&lines).await?;
    lines.clear();
    for name in wanted.keys() {
        // Also on those found: a crash may have come between.
        dress(name)?;
    }
    if !wanted.is_empty() {
        forwarding::switch_on()?;
    }
    let none = BTreeSet::new();
    for (name, addresses) in &wanted {
        let has = found.get(name).unwrap_or(&none);
        for (address, prefix) in has.difference(addresses) {
            lines.push(format!("address del {address}/{prefix} dev {name}"));
        }
        // The gateway first: the first address is the one that local redirection uses.
        let mut missing: Vec<_> = addresses.difference(has).collect();
        missing.sort_by_key(|(_, prefix)| *prefix);
        for (address, prefix) in missing {
            let broadcast = if *prefix < 31 { " broadcast +" } else { "" };
            lines.push(format!("address add {address}/{prefix}{broadcast} dev {name}"));
        }
        lines.push(format!("link set dev {name} up"));
    }
    for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
        lines.push(format!("link del dev {name}"));
    }
    for hole in holes_found.difference(&holes_wanted) {
        lines.push(format!("route del blackhole {hole} metric {}", names.blackhole_metric()));
    }
    tool::ip_batch(&lines).await
}

fn wanted_bridges(desired: &DesiredNetwork, names: &Names) -> Bridges {
    let mut wanted: Bridges = desired
        .subnets
        .iter()
        .map(|(id, subnet)| (names.bridge(id), [(subnet.gateway, subnet.cidr.prefix())].into()))
        .collect();
    for ((subnet_id, address), endpoint) in &desired.endpoints {
        if endpoint.kind == EndpointKind::Node
            && let Some(addresses) = wanted.get_mut(&names.bridge(subnet_id))
        {
            addresses.insert((*address, 32));
        }
    }
    wanted
}

fn found_bridges(shown: &[Value], names: &Names) -> Bridges {
    let mut found = Bridges::new();
    for link in shown {
        let Some(name) = link.get("ifname").and_then(Value::as_str) else { continue };
        if !name.starts_with(&names.bridge_prefix()) {
            continue;
        }
        let addresses = link.get("addr_info").and_then(Value::as_array).into_iter().flatten();
        let addresses = addresses.filter_map(|info| {
            let address = info.get("local")?.as_str()?.parse().ok()?;
            Some((address, u8::try_from(info.get("prefixlen")?.as_u64()?).ok()?))
        });
        found.insert(name.to_owned(), addresses.collect());
    }
    found
}

fn found_holes(shown: &[Value], names: &Names) -> BTreeSet<Cidr> {
    shown
        .iter()
        .filter(|r| r.get("metric").and_then(Value::as_u64) == Some(names.blackhole_metric().into()))
        .filter_map(|r| r.get("dst")?.as_str()?.parse().ok())
        .collect()
}

/// Settings of a bridge: route for its instances, answer ARP for all of the subnet without delay, and no IPv6.
fn dress(bridge: &str) -> Result<(), FabricError> {
    let ipv4 = Path::new("/proc/sys/net/ipv4");
    let conf = ipv4.join("conf").join(bridge);
    write_if_other(&conf.join("forwarding"), "1")?;
    write_if_other(&conf.join("proxy_arp_pvlan"), "1")?;
    write_if_other(&conf.join("send_redirects"), "0")?;
    write_if_other(&ipv4.join("neigh").join(bridge).join("proxy_delay"), "0")?;
    let ipv6 = Path::new("/proc/sys/net/ipv6/conf").join(bridge).join("disable_ipv6");
    if ipv6.exists() {
        write_if_other(&ipv6, "1")?;
    }
    Ok(())
}

/// Kernel settings are written by the calling thread, in whose network namespace they shall hold.
fn write_if_other(path: &Path, value: &str) -> Result<(), FabricError> {
    if fs::read_to_string(path).is_ok_and(|text| text.trim() == value) {
        return Ok(());
    }
    fs::write(path, value).map_err(|error| FabricError {
        what: format!("setting {}", path.display()),
        reason: error.to_string(),
        class: ErrorClass::Transient,
    })
}
