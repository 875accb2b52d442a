use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Cidr;
use crate::{Record, Tags, Timestamp};

/// A virtual network. Its route table, gateway and network ACL are the ones EC2 makes by default; Puffer has no others,
/// so their ids are kept here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vpc {
    /// `vpc-…`.
    pub id: String,
    /// Its block.
    pub cidr: Cidr,
    /// The account's default VPC.
    pub is_default: bool,
    /// `EnableDnsSupport`.
    pub dns_support: bool,
    /// `EnableDnsHostnames`.
    pub dns_hostnames: bool,
    /// `rtb-…` of the main route table.
    pub main_route_table_id: String,
    /// `igw-…`, if traffic may leave.
    pub internet_gateway_id: Option<String>,
    /// `acl-…` of the default network ACL, which allows everything.
    pub network_acl_id: String,
    /// `vpc-cidr-assoc-…`.
    pub cidr_association_id: String,
    /// `dopt-…`.
    pub dhcp_options_id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl Record for Vpc {
    const COLLECTION: &'static str = "ec2-vpcs";
    fn key(&self) -> String {
        self.id.clone()
    }
}

/// A subnet: a block of a VPC in one zone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: String,
    /// `vpc-…`.
    pub vpc_id: String,
    /// Its block.
    pub cidr: Cidr,
    /// Zone name, `us-east-1a`.
    pub zone: String,
    /// The default subnet of its zone.
    pub default_for_az: bool,
    /// `MapPublicIpOnLaunch`.
    pub map_public_ip: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// Addresses at a subnet's start that are never given out: network, router, DNS and one reserved, as EC2 has it.
pub const SUBNET_RESERVED_FIRST: u64 = 4;

impl Subnet {
    /// The router's address: the bridge's own.
    pub fn gateway(&self) -> Ipv4Addr {
        self.cidr.nth(1).unwrap_or(self.cidr.network())
    }

    /// How many addresses instances and load balancers can have: all but the first four and the last.
    pub fn n_usable(&self) -> u64 {
        self.cidr.n_addresses().saturating_sub(SUBNET_RESERVED_FIRST + 1)
    }

    /// Whether an instance may have this address.
    pub fn is_usable(&self, address: Ipv4Addr) -> bool {
        if !self.cidr.contains(address) {
            return false;
        }
        let offset = u64::from(u32::from(address) - u32::from(self.cidr.network()));
        (SUBNET_RESERVED_FIRST..SUBNET_RESERVED_FIRST + self.n_usable()).contains(&offset)
    }
}

impl Record for Subnet {
    const COLLECTION: &'static str = "ec2-subnets";
    const INDEXES: &'static [&'static str] = &["default_zone", "vpc"];
    fn key(&self) -> String {
        self.id.clone()
    }
    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("vpc", &self.vpc_id);
        if self.default_for_az {
            push("default_zone", &self.zone);
        }
    }
}

/// What is one per server: the account, its region and how launches are checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// `us-east-1`.
    pub region: String,
    /// Zone names in order.
    pub zones: Vec<String>,
    /// Any well-formed image id launches (simulated driver only).
    pub any_image: bool,
    /// All blocks of VPCs must lie here: 127.0.0.0/8 where instances share the host's loopback.
    pub address_space: Cidr,
    /// `vpc-…` of the default VPC; `None` once it was deleted.
    pub default_vpc_id: Option<String>,
}

impl Account {
    /// Key of the only record.
    pub const KEY: &'static str = "account";

    /// `use1-az1` for `us-east-1a`: the id of a zone.
    pub fn zone_id(&self, zone: &str) -> String {
        let n = self.zones.iter().position(|z| z == zone).map_or(0, |i| i + 1);
        let mut parts = self.region.split('-');
        let area = parts.next().unwrap_or_default();
        let mut short: String = area.to_owned();
        for part in parts {
            short.push_str(match part {
                "northeast" => "ne",
                "northwest" => "nw",
                "southeast" => "se",
                "southwest" => "sw",
                other => other.get(..1).unwrap_or_default(),
            });
        }
        format!("{short}-az{n}")
    }
}

impl Record for Account {
    const COLLECTION: &'static str = "account";
    fn key(&self) -> String {
        Account::KEY.into()
    }
}

/// A zone that is down. There is no record for one that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneCondition {
    /// Zone name.
    pub zone: String,
    /// Since when.
    pub down_since: Timestamp,
}

impl Record for ZoneCondition {
    const COLLECTION: &'static str = "ec2-zone-conditions";
    fn key(&self) -> String {
        self.zone.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_addresses_are_not_usable() {
        let subnet = Subnet {
            id: "subnet-1".into(),
            vpc_id: "vpc-1".into(),
            cidr: "10.0.0.0/28".parse().unwrap(),
            zone: "z".into(),
            default_for_az: false,
            map_public_ip: false,
            created_at: Timestamp::default(),
            tags: Tags::new(),
        };
        assert_eq!(subnet.n_usable(), 11);
        let usable: Vec<_> =
            (0..20u64).filter(|i| subnet.cidr.nth(*i).is_some_and(|a| subnet.is_usable(a))).collect();
        assert_eq!(usable, (4..15).collect::<Vec<_>>());
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 0, 0, 1));
    }

    #[test]
    fn zone_ids() {
        let account = |region: &str| Account {
            id: "1".into(),
            region: region.into(),
            zones: vec![format!("{region}a"), format!("{region}b")],
            any_image: false,
            address_space: Cidr::ANY,
            default_vpc_id: None,
        };
        assert_eq!(account("us-east-1").zone_id("us-east-1b"), "use1-az2");
        assert_eq!(account("ap-northeast-1").zone_id("ap-northeast-1a"), "apne1-az1");
    }
}
