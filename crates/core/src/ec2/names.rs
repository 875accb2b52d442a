//! Names that follow from others, so that they need no record of their own.

use std::net::Ipv4Addr;

/// The id of a resource that belongs to exactly one other: `vol-0abc…` for the root volume of `i-0abc…`.
pub fn sibling_id(prefix: &str, id: &str) -> String {
    let digits = id.rsplit_once('-').map_or(id, |(_, d)| d);
    format!("{prefix}-{digits}")
}

/// `ip-172-31-0-5.ec2.internal`, or with the region's name outside us-east-1.
pub fn private_dns_name(address: Ipv4Addr, region: &str) -> String {
    let [a, b, c, d] = address.octets();
    let domain = match region {
        "us-east-1" => "ec2.internal".to_owned(),
        other => format!("{other}.compute.internal"),
    };
    format!("ip-{a}-{b}-{c}-{d}.{domain}")
}

/// ARN of an instance profile that may be given by name.
pub fn profile_arn(account: &str, profile: &str) -> String {
    if profile.starts_with("arn:") {
        profile.to_owned()
    } else {
        format!("arn:aws:iam::{account}:instance-profile/{profile}")
    }
}

/// Whether `id` is `<prefix>-` and 8 or 17 lower-case hexadecimal digits.
pub fn is_well_formed_id(prefix: &str, id: &str) -> bool {
    id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).is_some_and(|digits| {
        matches!(digits.len(), 8 | 17)
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(sibling_id("vol", "i-0123456789abcdef0"), "vol-0123456789abcdef0");
        assert_eq!(sibling_id("eni-attach", "i-1"), "eni-attach-1");
        assert_eq!(private_dns_name(Ipv4Addr::new(10, 0, 0, 9), "us-east-1"), "ip-10-0-0-9.ec2.internal");
        assert_eq!(
            private_dns_name(Ipv4Addr::new(10, 0, 0, 9), "eu-west-1"),
            "ip-10-0-0-9.eu-west-1.compute.internal"
        );
        for (id, good) in [
            ("i-0123456789abcdef0", true),
            ("i-12345678", true),
            ("i-1234", false),
            ("i-0123456789ABCDEF0", false),
            ("ami-12345678", false),
            ("", false),
        ] {
            assert_eq!(is_well_formed_id("i", id), good, "{id}");
        }
    }
}
