//! Names of bridges, interfaces and tables. Each follows from an id and the server's tag alone.

use std::path::Path;

/// `puffer` routes' protocol number (free in iproute2's rt_protos).
pub(super) const ROUTE_PROTOCOL: u8 = 0x70;

/// A server's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    tag: u16,
}

impl Names {
    /// Names of the server that has this data directory.
    pub(super) fn of(data_dir: &Path) -> Names {
        let hash = fnv(data_dir.as_os_str().as_encoded_bytes());
        Names { tag: (hash ^ (hash >> 16) ^ (hash >> 32) ^ (hash >> 48)) as u16 }
    }

    /// `pf0a1bs0123abcd`: 15 bytes, the kernel's limit.
    pub(super) fn bridge(&self, subnet_id: &str) -> String {
        format!("{}{:08x}", self.bridge_prefix(), fnv(subnet_id.as_bytes()) as u32)
    }

    /// What all bridges of the server begin with.
    pub(super) fn bridge_prefix(&self) -> String {
        format!("pf{:04x}s", self.tag)
    }

    /// `pf0a1bi0123abcd`.
    pub(super) fn interface(&self, instance_id: &str) -> String {
        format!("{}{:08x}", self.interface_prefix(), fnv(instance_id.as_bytes()) as u32)
    }

    /// What all instances' interfaces of the server begin with.
    pub(super) fn interface_prefix(&self) -> String {
        format!("pf{:04x}i", self.tag)
    }

    /// Name of both tables.
    pub(super) fn table(&self) -> String {
        format!("puffer_{:04x}", self.tag)
    }

    /// Metric of the server's blackhole routes: behind any real route, and different for each server.
    pub(super) fn blackhole_metric(&self) -> u32 {
        0x7000_0000 | u32::from(self.tag)
    }

    /// A fixed MAC address: a bridge without one changes it with its ports, and neighbours lose it.
    pub(super) fn bridge_mac(&self, subnet_id: &str) -> String {
        let [a, b, c, d, ..] = fnv(subnet_id.as_bytes()).to_be_bytes();
        let [hi, _] = self.tag.to_be_bytes();
        format!("02:{hi:02x}:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }
}

/// Whether an interface of this name is a bridge of some server's.
pub(super) fn is_bridge_of_any_server(name: &str) -> bool {
    let hex = |text: Option<&str>| text.is_some_and(|t| t.bytes().all(|b| b.is_ascii_hexdigit()));
    name.len() == 15
        && name.starts_with("pf")
        && hex(name.get(2..6))
        && name.get(6..7) == Some("s")
        && hex(name.get(7..))
}

/// FNV-1a, 64 bits: short, and the same in every release.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// An id as nftables takes it in a name.
pub(super) fn identifier(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_differ_between_servers() {
        let (a, b) = (Names::of(Path::new("/var/lib/a")), Names::of(Path::new("/var/lib/b")));
        assert!(
            is_bridge_of_any_server(&a.bridge("subnet-1")) && !is_bridge_of_any_server(&a.interface("i-1"))
        );
        for name in [a.bridge("subnet-0123456789abcdef0"), a.interface("i-0123456789abcdef0")] {
            assert_eq!(name.len(), 15, "{name}");
        }
        assert_ne!(a.bridge("subnet-1"), b.bridge("subnet-1"));
        assert_ne!(a.interface("i-1"), a.interface("i-2"));
        assert_eq!(identifier("sg-0a.b"), "sg_0a_b");
    }
}
