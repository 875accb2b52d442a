//! Names: the model's words in Rust's spelling, and the names each protocol gives to a member.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::model::{Model, Reference, Shape};

/// A model with the questions that generators ask.
pub(crate) struct ServiceModel<'a> {
    pub(crate) service: &'a str,
    pub(crate) model: &'a Model,
}

impl<'a> ServiceModel<'a> {
    pub(crate) fn new(service: &'a str, model: &'a Model) -> Result<Self> {
        let this = ServiceModel { service, model };
        for name in model.operations.keys() {
            ensure!(!model.shapes.contains_key(name), "{service}: operation and shape share the name {name}");
        }
        for (name, _) in this.structures() {
            let mut path = BTreeSet::new();
            ensure!(
                !this.holds_itself(name, name, &mut path),
                "{service}: {name} holds itself; members need a boxed kind first"
            );
        }
        Ok(this)
    }

    pub(crate) fn shape(&self, name: &str) -> Result<&'a Shape> {
        self.model.shapes.get(name).with_context(|| format!("{}: no shape {name}", self.service))
    }

    /// Structures that are data, not exceptions.
    pub(crate) fn structures(&self) -> impl Iterator<Item = (&'a str, &'a Shape)> {
        self.model
            .shapes
            .iter()
            .filter(|(_, s)| s.kind == "structure" && !s.exception)
            .map(|(n, s)| (n.as_str(), s))
    }

    fn holds_itself(&self, root: &str, at: &str, path: &mut BTreeSet<String>) -> bool {
        let Some(shape) = self.model.shapes.get(at) else { return false };
        shape.members.0.iter().any(|(_, r)| {
            let nested = self.model.shapes.get(&r.shape).is_some_and(|s| s.kind == "structure");
            nested
                && (r.shape == root
                    || (path.insert(r.shape.clone()) && self.holds_itself(root, &r.shape, path)))
        })
    }

    pub(crate) fn is_ec2(&self) -> bool {
        self.model.metadata.protocols.iter().any(|p| p == "ec2")
    }

    /// Name in query requests and name of the XML element in answers.
    pub(crate) fn wire_names(&self, member: &str, r: &Reference) -> Result<(String, String)> {
        let target = self.shape(&r.shape)?;
        let located = r.location_name.clone().or_else(|| target.location_name.clone());
        let xml = located.clone().unwrap_or_else(|| member.to_owned());
        let query = match (&r.query_name, self.is_ec2()) {
            (Some(name), true) => name.clone(),
            (None, true) => located.map_or_else(|| member.to_owned(), |n| upper_first(&n)),
            (_, false) => xml.clone(),
        };
        Ok((query, xml))
    }
}

fn upper_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |c| c.to_ascii_uppercase().to_string() + chars.as_str())
}

/// `VPCZoneIdentifier` → `vpc_zone_identifier`.
pub(crate) fn snake(name: &str) -> String {
    // Units, protocol names and plurals of acronyms that the general rule would tear apart.
    let mut name = name.to_owned();
    for (from, to) in [
        ("GiB", "Gib"),
        ("MiB", "Mib"),
        ("VCpu", "Vcpu"),
        ("IPv4", "Ipv4"),
        ("IPv6", "Ipv6"),
        ("ARNs", "Arns"),
        ("IDs", "Ids"),
        ("IPs", "Ips"),
    ] {
        name = name.replace(from, to);
    }
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let after = chars.get(i + 1).is_some_and(|n| n.is_ascii_lowercase());
        let before = i.checked_sub(1).map(|p| chars[p]);
        let starts_word = c.is_ascii_uppercase()
            && before.is_some_and(|b| {
                b.is_ascii_lowercase() || (after && b != '_') || (b.is_ascii_digit() && after)
            });
        if starts_word {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    match out.as_str() {
        "type" | "return" | "match" | "use" | "for" | "in" | "ref" | "static" | "async" | "move" | "enum" => {
            out + "_"
        }
        _ => out,
    }
}

/// `AutoScalingGroup` → `AUTO_SCALING_GROUP`.
pub(crate) fn shout(name: &str) -> String {
    let mut out = snake(name).to_ascii_uppercase();
    if name.starts_with(|c: char| c.is_ascii_lowercase()) {
        // Models have pairs like `String` and `string`.
        out.push_str("_LC");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::snake;

    #[test]
    fn snake_cases() {
        for (from, to) in [
            ("AutoScalingGroupName", "auto_scaling_group_name"),
            ("VPCZoneIdentifier", "vpc_zone_identifier"),
            ("TargetGroupARNs", "target_group_arns"),
            ("TargetGroupARN", "target_group_arn"),
            ("EC2InstanceId", "ec2_instance_id"),
            ("OKActions", "ok_actions"),
            ("Ipv6Addresses", "ipv6_addresses"),
            ("MemoryGiBPerVCpu", "memory_gib_per_vcpu"),
            ("Type", "type_"),
            ("SizeInMiB", "size_in_mib"),
            ("ebsOptimized", "ebs_optimized"),
        ] {
            assert_eq!(snake(from), to, "{from}");
        }
    }
}
