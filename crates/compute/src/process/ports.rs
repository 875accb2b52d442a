//! Low ports without privileges.
//!
//! A process that may not bind ports below 1024 can still serve "port 80" of its own loopback address, on a
//! port moved by a fixed offset. The driver exports the moved port to the application as `PORT`, and whoever dials the
//! instance (target synchronisation, health checks) or binds a load balancer's node applies the same [`port_map`], so
//! that both ends always agree without talking to each other.

use std::sync::OnceLock;

/// First port that needs no privilege on a kernel with default settings.
const UNPRIVILEGED_PORT_START_DEFAULT: u16 = 1024;
/// Distance by which ports are moved that cannot be bound: 80 → 8080, 443 → 8443, the customary ones.
pub const LOW_PORT_OFFSET: u16 = 8000;
/// `CAP_NET_BIND_SERVICE` (capabilities(7)).
const CAP_NET_BIND_SERVICE: u32 = 10;

/// The port on which a process instance really serves `port` on this machine.
///
/// The answer is fixed for the life of this process and the same in every process of one user.
pub fn port_map(port: u16) -> u16 {
    static FIRST_FREE: OnceLock<u16> = OnceLock::new();
    map_with(port, *FIRST_FREE.get_or_init(first_bindable_port))
}

fn map_with(port: u16, first_bindable: u16) -> u16 {
    // Port 0 means "any port" to the kernel and is never privileged.
    if port == 0 || port >= first_bindable { port } else { port.saturating_add(LOW_PORT_OFFSET) }
}

fn first_bindable_port() -> u16 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if has_capability(&status, CAP_NET_BIND_SERVICE) {
        return 0;
    }
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(UNPRIVILEGED_PORT_START_DEFAULT)
}

fn has_capability(status: &str, bit: u32) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_only_what_cannot_be_bound() {
        for (port, first, want) in
            [(80, 1024, 8080), (443, 1024, 8443), (1024, 1024, 1024), (80, 80, 80), (80, 0, 80), (0, 1024, 0)]
        {
            assert_eq!(map_with(port, first), want, "{port} with first bindable port {first}");
        }
    }

    #[test]
    fn reads_the_capability_set() {
        assert!(has_capability("Name:\tx\nCapEff:\t0000000000000400\n", CAP_NET_BIND_SERVICE));
        assert!(!has_capability("CapEff:\t0000000000000200\n", CAP_NET_BIND_SERVICE));
        assert!(!has_capability("", CAP_NET_BIND_SERVICE));
    }
}
