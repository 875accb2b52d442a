//! The paths below `/latest/`: leaves with their contents; directories follow from them.

use super::InstanceMetadata;

/// Versions that EC2 has had; all show the same. Clients take the newest one they know out of the list, or probe.
pub(super) const VERSIONS: [&str; 30] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-07-09",
    "2022-09-24",
    "2024-04-11",
    "latest",
];

/// What a path is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A value.
    Leaf(Vec<u8>),
    /// A directory's listing.
    Listing(String),
}

/// The value or listing at `path` (without version and leading slash); `None` if there is no such thing.
pub(super) fn find(instance: &InstanceMetadata, path: &str) -> Option<Node> {
    let leaves = leaves(instance);
    let path = path.trim_matches('/');
    if let Some((_, value)) = leaves.iter().find(|(name, _)| name == path) {
        return Some(Node::Leaf(value.clone()));
    }
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    let mut names: Vec<String> = Vec::new();
    for (name, _) in &leaves {
        let Some(rest) = name.strip_prefix(&prefix) else { continue };
        let shown = match rest.split_once('/') {
            // The list of keys shows index and name.
            Some((index, _)) if path == "meta-data/public-keys" => {
                let key = instance.key.as_ref().map_or("", |(name, _)| name);
                format!("{index}={key}")
            }
            Some((dir, _)) if path.is_empty() => dir.to_owned(),
            Some((dir, _)) => format!("{dir}/"),
            None => rest.to_owned(),
        };
        if !names.contains(&shown) {
            names.push(shown);
        }
    }
    names.sort();
    (!names.is_empty()).then(|| Node::Listing(names.join("\n")))
}

fn leaves(i: &InstanceMetadata) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::with_capacity(64);
    let mut put = |path: &str, value: String| all.push((format!("meta-data/{path}"), value.into_bytes()));
    put("ami-id", i.image_id.clone());
    put("ami-launch-index", i.ami_launch_index.to_string());
    put("hostname", i.hostname.clone());
    put("instance-action", "none".to_owned());
    put("instance-id", i.instance_id.clone());
    put("instance-life-cycle", if i.is_spot { "spot" } else { "on-demand" }.to_owned());
    put("instance-type", i.instance_type.clone());
    put("local-hostname", i.hostname.clone());
    put("local-ipv4", i.private_ip.to_string());
    put("mac", i.mac.clone());
    put("reservation-id", i.reservation_id.clone());
    put("security-groups", i.security_groups.join("\n"));
    put("placement/availability-zone", i.zone.clone());
    put("placement/availability-zone-id", i.zone_id.clone());
    put("placement/region", i.region.clone());
    put("services/domain", "amazonaws.com".to_owned());
    put("services/partition", "aws".to_owned());
    put("block-device-mapping/ami", "/dev/xvda".to_owned());
    put("block-device-mapping/root", "/dev/xvda".to_owned());
    if let Some(public) = i.public_ip {
        put("public-ipv4", public.to_string());
    }
    if let Some((_, key)) = &i.key {
        put("public-keys/0/openssh-key", format!("{}\n", key.trim_end()));
    }
    if let Some(arn) = &i.instance_profile {
        // There are no credentials to be had for it, so below `iam/` is nothing else.
        let info = serde_json::json!({
            "Code": "Success",
            "LastUpdated": i.launched_at.to_rfc3339_secs(),
            "InstanceProfileArn": arn,
        });
        put("iam/info", format!("{info:#}"));
    }
    if let Some(at) = i.interruption {
        let at = at.to_rfc3339_secs();
        put("spot/instance-action", format!("{{\"action\": \"terminate\", \"time\": \"{at}\"}}"));
        put("spot/termination-time", at);
    }
    if let Some(at) = i.rebalance_at {
        put("events/recommendations/rebalance", format!("{{\"noticeTime\": \"{}\"}}", at.to_rfc3339_secs()));
    }
    if let Some(state) = &i.target_lifecycle_state {
        put("autoscaling/target-lifecycle-state", state.clone());
    }
    if i.options.tags {
        for (key, value) in i.tags.iter().filter(|(key, _)| fits_a_path(key)) {
            put(&format!("tags/instance/{key}"), value.clone());
        }
    }
    let interface = |name: &str| format!("network/interfaces/macs/{}/{name}", i.mac);
    put(&interface("device-number"), "0".to_owned());
    put(&interface("interface-id"), i.interface_id.clone());
    put(&interface("local-hostname"), i.hostname.clone());
    put(&interface("local-ipv4s"), i.private_ip.to_string());
    put(&interface("mac"), i.mac.clone());
    put(&interface("owner-id"), i.account.clone());
    put(&interface("security-groups"), i.security_groups.join("\n"));
    put(&interface("security-group-ids"), i.security_group_ids.join("\n"));
    put(&interface("subnet-id"), i.subnet_id.clone());
    put(&interface("subnet-ipv4-cidr-block"), i.subnet_cidr.to_string());
    put(&interface("vpc-id"), i.vpc_id.clone());
    put(&interface("vpc-ipv4-cidr-block"), i.vpc_cidr.to_string());
    put(&interface("vpc-ipv4-cidr-blocks"), i.vpc_cidr.to_string());
    if let Some(public) = i.public_ip {
        put(&interface("public-ipv4s"), public.to_string());
    }
    all.push(("dynamic/instance-identity/document".to_owned(), identity(i)));
    if let Some(user_data) = &i.user_data {
        all.push(("user-data".to_owned(), user_data.clone()));
    }
    all
}

/// Whether a tag can be asked for: EC2 allows these characters where tags are shown, and these names stand for something else.
fn fits_a_path(key: &str) -> bool {
    !matches!(key, "." | ".." | "_index")
        && key.chars().all(|c| c.is_ascii_alphanumeric() || "+-=.,_:@".contains(c))
}

/// The identity document. It is not signed: there is nobody whose signature would mean anything here.
fn identity(i: &InstanceMetadata) -> Vec<u8> {
    let document = serde_json::json!({
        "accountId": i.account,
        "architecture": i.architecture,
        "availabilityZone": i.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": i.image_id,
        "instanceId": i.instance_id,
        "instanceType": i.instance_type,
        "kernelId": null,
        "pendingTime": i.launched_at.to_rfc3339_secs(),
        "privateIp": i.private_ip.to_string(),
        "ramdiskId": null,
        "region": i.region,
        "version": "2017-09-30",
    });
    serde_json::to_vec_pretty(&document).unwrap_or_default()
}
