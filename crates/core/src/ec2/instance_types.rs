//! The catalogue of instance types: virtual CPUs, memory and what else a choice by attributes asks for, as AWS's public list of
//! common x86 types gives them (aws.amazon.com/ec2/instance-types). What an instance *gets* is its share of CPU and memory; the
//! processor's maker and the network's nominal speed are only what the type stands for, and prices only rank types.

use super::Price;

/// One type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceType {
    /// Family, `t2`.
    pub family: &'static str,
    /// Size, `micro`.
    pub size: &'static str,
    /// Virtual CPUs.
    pub n_vcpus: u32,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Earns CPU credits on AWS. Here it may use its CPUs without limit, as `unlimited` would allow.
    pub burstable: bool,
    /// Still offered to new users by AWS.
    pub current_generation: bool,
    /// Who makes the processor that the type stands for.
    pub manufacturer: Manufacturer,
    /// Nominal network speed, Mbit/s; `None` where AWS gives no number.
    pub network_mbps: Option<u32>,
    /// On-Demand price, near AWS's list price in us-east-1.
    pub on_demand: Price,
}

/// A processor's maker, as `CpuManufacturers` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Manufacturer {
    Intel,
    Amd,
}

impl Manufacturer {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Manufacturer::Intel => "intel",
            Manufacturer::Amd => "amd",
        }
    }
}

/// Interfaces of an instance, whatever its type.
pub const NETWORK_INTERFACES: u32 = 1;

impl InstanceType {
    /// `t2.micro`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.family, self.size)
    }

    /// Whether this is the type of that name.
    pub fn is(&self, name: &str) -> bool {
        name.split_once('.').is_some_and(|(family, size)| family == self.family && size == self.size)
    }

    /// A family of the general, compute or memory kind: what price protection measures by.
    pub fn is_c_m_or_r(&self) -> bool {
        self.family.starts_with(['c', 'm', 'r'])
    }
}

/// Name, virtual CPUs, memory in MiB. Each size of a list costs twice what the one before it does.
type Size = (&'static str, u32, u32);

const T1: &[Size] = &[("micro", 1, 613)];
const M1: &[Size] = &[("small", 1, 1740), ("medium", 1, 3788), ("large", 2, 7680), ("xlarge", 4, 15360)];
const M3: &[Size] = &[("medium", 1, 3840), ("large", 2, 7680), ("xlarge", 4, 15360), ("2xlarge", 8, 30720)];
const T2: &[Size] = &[
    ("nano", 1, 512),
    ("micro", 1, 1024),
    ("small", 1, 2048),
    ("medium", 2, 4096),
    ("large", 2, 8192),
    ("xlarge", 4, 16384),
    ("2xlarge", 8, 32768),
];
const T3: &[Size] = &[
    ("nano", 2, 512),
    ("micro", 2, 1024),
    ("small", 2, 2048),
    ("medium", 2, 4096),
    ("large", 2, 8192),
    ("xlarge", 4, 16384),
    ("2xlarge", 8, 32768),
];
/// Four GiB a virtual CPU.
const GENERAL: &[Size] =
    &[("large", 2, 8192), ("xlarge", 4, 16384), ("2xlarge", 8, 32768), ("4xlarge", 16, 65536)];
/// Two GiB a virtual CPU.
const COMPUTE: &[Size] =
    &[("large", 2, 4096), ("xlarge", 4, 8192), ("2xlarge", 8, 16384), ("4xlarge", 16, 32768)];
/// Eight GiB a virtual CPU.
const MEMORY: &[Size] =
    &[("large", 2, 16384), ("xlarge", 4, 32768), ("2xlarge", 8, 65536), ("4xlarge", 16, 131_072)];

struct Family {
    name: &'static str,
    sizes: &'static [Size],
    burstable: bool,
    current: bool,
    manufacturer: Manufacturer,
    network_mbps: Option<u32>,
    /// Price of the first size, millionths of a dollar an hour.
    first: u64,
}

const fn family(
    name: &'static str,
    sizes: &'static [Size],
    current: bool,
    manufacturer: Manufacturer,
    network_mbps: Option<u32>,
    first: u64,
) -> Family {
    Family { name, sizes, burstable: name.as_bytes()[0] == b't', current, manufacturer, network_mbps, first }
}

use Manufacturer::{Amd, Intel};

/// Sorted by family.
const FAMILIES: &[Family] = &[
    family("c5", COMPUTE, true, Intel, Some(10_000), 85_000),
    family("c5a", COMPUTE, true, Amd, Some(10_000), 77_000),
    family("c6i", COMPUTE, true, Intel, Some(12_500), 85_000),
    family("m1", M1, false, Intel, None, 44_000),
    family("m3", M3, false, Intel, None, 67_000),
    family("m5", GENERAL, true, Intel, Some(10_000), 96_000),
    family("m5a", GENERAL, true, Amd, Some(10_000), 86_000),
    family("m6i", GENERAL, true, Intel, Some(12_500), 96_000),
    family("r5", MEMORY, true, Intel, Some(10_000), 126_000),
    family("r6i", MEMORY, true, Intel, Some(12_500), 126_000),
    family("t1", T1, false, Intel, None, 20_000),
    family("t2", T2, true, Intel, None, 5_800),
    family("t3", T3, true, Intel, Some(5_000), 5_200),
    family("t3a", T3, true, Amd, Some(5_000), 4_700),
];

/// The type of that name.
pub fn find(name: &str) -> Option<InstanceType> {
    all().find(|t| t.is(name))
}

/// All types, by family and size.
pub fn all() -> impl Iterator<Item = InstanceType> {
    FAMILIES.iter().flat_map(|f| {
        f.sizes.iter().enumerate().map(move |(step, (size, n_vcpus, memory_mib))| InstanceType {
            family: f.name,
            size,
            n_vcpus: *n_vcpus,
            memory_mib: *memory_mib,
            burstable: f.burstable,
            current_generation: f.current,
            manufacturer: f.manufacturer,
            network_mbps: f.network_mbps,
            on_demand: Price(f.first << step),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_name() {
        let micro = find("t2.micro").unwrap();
        assert_eq!((micro.n_vcpus, micro.memory_mib), (1, 1024));
        for t in all() {
            assert_eq!(find(&t.name()), Some(t));
        }
        for unknown in ["", "t2", "t2.", "t2.mega", "x9.large"] {
            assert_eq!(find(unknown), None);
        }
    }

    #[test]
    fn prices_double_with_size() {
        assert_eq!(find("t3.micro").unwrap().on_demand.to_string(), "0.010400");
        assert_eq!(find("m5.4xlarge").unwrap().on_demand.to_string(), "0.768000");
        assert!(find("t3.nano").unwrap().burstable && !find("m5.large").unwrap().burstable);
    }
}
