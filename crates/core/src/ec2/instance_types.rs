//! The catalogue of instance types: virtual CPUs and memory of common x86 types, as AWS's public list of instance types
//! gives them (aws.amazon.com/ec2/instance-types). Names decide nothing else: a `t2.micro` is a share of CPU and memory.

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
}

impl InstanceType {
    /// `t2.micro`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.family, self.size)
    }
}

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

/// Family, sizes, burstable, current generation; sorted by family.
const FAMILIES: &[(&str, &[Size], bool, bool)] = &[
    ("c5", COMPUTE, false, true),
    ("c5a", COMPUTE, false, true),
    ("c6i", COMPUTE, false, true),
    ("m1", M1, false, false),
    ("m3", M3, false, false),
    ("m5", GENERAL, false, true),
    ("m5a", GENERAL, false, true),
    ("m6i", GENERAL, false, true),
    ("r5", MEMORY, false, true),
    ("r6i", MEMORY, false, true),
    ("t1", T1, true, false),
    ("t2", T2, true, true),
    ("t3", T3, true, true),
    ("t3a", T3, true, true),
];

/// The type of that name.
pub fn find(name: &str) -> Option<InstanceType> {
    let (family, size) = name.split_once('.')?;
    all().find(|t| t.family == family && t.size == size)
}

/// All types, by family and size.
pub fn all() -> impl Iterator<Item = InstanceType> {
    FAMILIES.iter().flat_map(|(family, sizes, burstable, current)| {
        sizes.iter().map(|(size, n_vcpus, memory_mib)| InstanceType {
            family,
            size,
            n_vcpus: *n_vcpus,
            memory_mib: *memory_mib,
            burstable: *burstable,
            current_generation: *current,
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
}
