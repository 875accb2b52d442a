//! Choosing the default VPC's block.

use std::path::Path;

use puffer_core::ec2::Cidr;

use super::names::Names;
use super::tool;
use crate::FabricError;

/// Prefix length of a default VPC.
const VPC_PREFIX: u8 = 16;

/// AWS's block for default VPCs, 172.31.0.0/16, or the next one down (then of 10.0.0.0/8) that this machine has no route into. Routes
/// that the server of `data_dir` made itself do not count.
pub async fn pick_vpc_cidr(data_dir: &Path) -> Result<Option<Cidr>, FabricError> {
    let names = Names::of(data_dir);
    let routes = tool::ip_json(&["-4", "route", "show", "table", "all"]).await?;
    let taken: Vec<Cidr> = routes.iter().filter_map(|route| foreign_block(route, &names)).collect();
    Ok(candidates().find(|block| !taken.iter().any(|other| other.overlaps(*block))))
}

fn candidates() -> impl Iterator<Item = Cidr> {
    let private = (16..=31).rev().map(|second| [172, second]);
    let large = (0..=255).rev().map(|second| [10, second]);
    private.chain(large).filter_map(|[a, b]| Cidr::new(std::net::Ipv4Addr::new(a, b, 0, 0), VPC_PREFIX))
}

/// The block of a route that is neither ours nor the default one.
fn foreign_block(route: &serde_json::Value, names: &Names) -> Option<Cidr> {
    let text = |key: &str| route.get(key).and_then(|v| v.as_str()).unwrap_or_default();
    let ours = text("dev").starts_with(&names.bridge_prefix())
        || route.get("metric").and_then(|m| m.as_u64()) == Some(names.blackhole_metric().into());
    let destination = text("dst");
    if ours || destination == "default" {
        return None;
    }
    match destination.contains('/') {
        true => destination.parse().ok(),
        false => format!("{destination}/32").parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_the_customary_block_and_skips_taken_ones() {
        let names = Names::of(Path::new("/x"));
        let own = serde_json::json!({"dst": "172.31.0.0/20", "dev": names.bridge("subnet-1")});
        let hole = serde_json::json!({"dst": "172.31.0.0/16", "metric": names.blackhole_metric()});
        assert_eq!(foreign_block(&own, &names), None);
        assert_eq!(foreign_block(&hole, &names), None);
        assert_eq!(foreign_block(&serde_json::json!({"dst": "default", "dev": "eth0"}), &names), None);
        let lan = foreign_block(&serde_json::json!({"dst": "172.31.9.1", "dev": "eth0"}), &names).unwrap();
        assert_eq!(lan.to_string(), "172.31.9.1/32");
        let chosen = candidates().find(|c| !c.overlaps(lan)).unwrap();
        assert_eq!(chosen.to_string(), "172.30.0.0/16");
    }
}
