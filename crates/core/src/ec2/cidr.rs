use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An IPv4 block in CIDR notation, stored and shown as `172.31.0.0/16`. Host bits are always zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    network: u32,
    prefix: u8,
}

/// A text that is not an IPv4 block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a valid IPv4 CIDR block")]
pub struct BadCidr(pub String);

impl Cidr {
    /// The block of `2^(32-prefix)` addresses that holds `address`; `None` if the prefix is above 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Cidr> {
        (prefix <= 32).then(|| Cidr { network: u32::from(address) & mask(prefix), prefix })
    }

    /// All of IPv4.
    pub const ANY: Cidr = Cidr { network: 0, prefix: 0 };

    /// First address.
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network)
    }

    /// Last address.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network | !mask(self.prefix))
    }

    /// Prefix length, 0–32.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// How many addresses it has.
    pub fn n_addresses(self) -> u64 {
        1u64 << (32 - self.prefix)
    }

    /// The address at `offset` from the first, if inside.
    pub fn nth(self, offset: u64) -> Option<Ipv4Addr> {
        (offset < self.n_addresses()).then(|| Ipv4Addr::from((u64::from(self.network) + offset) as u32))
    }

    /// Whether the address is inside.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.network
    }

    /// Whether all of `other` is inside.
    pub fn contains_block(self, other: Cidr) -> bool {
        other.prefix >= self.prefix && self.contains(other.network())
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Cidr) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }

    /// The `index`-th block of length `prefix` inside this one.
    pub fn subnet(self, prefix: u8, index: u64) -> Option<Cidr> {
        if prefix < self.prefix || prefix > 32 {
            return None;
        }
        let size = 1u64 << (32 - prefix);
        self.nth(index.checked_mul(size)?).and_then(|a| Cidr::new(a, prefix))
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;
    /// Accepts host bits, as EC2 does for security group rules, and clears them.
    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let bad = || BadCidr(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        if prefix.is_empty() || prefix.len() > 2 || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        Cidr::new(address, prefix.parse().map_err(|_| bad())?).ok_or_else(bad)
    }
}

impl TryFrom<String> for Cidr {
    type Error = BadCidr;
    fn try_from(text: String) -> Result<Self, BadCidr> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(c: Cidr) -> String {
        c.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_refuses() {
        for (text, shown) in [
            ("172.31.0.0/16", "172.31.0.0/16"),
            ("10.1.2.3/24", "10.1.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("1.2.3.4/32", "1.2.3.4/32"),
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), shown);
        }
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/+8", "10.0.0.0/", "a/8"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn splits_into_subnets() {
        let vpc: Cidr = "172.31.0.0/16".parse().unwrap();
        assert_eq!(vpc.subnet(20, 2).unwrap().to_string(), "172.31.32.0/20");
        assert_eq!(vpc.subnet(20, 16), None);
        assert_eq!(vpc.subnet(8, 0), None);
        assert!(vpc.contains_block(vpc.subnet(20, 15).unwrap()));
        assert!(!vpc.subnet(20, 0).unwrap().overlaps(vpc.subnet(20, 1).unwrap()));
        assert_eq!(Cidr::ANY.n_addresses(), 1 << 32);
    }
}
