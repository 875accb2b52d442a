/// Which port is really bound or dialled for a port of the API.
///
/// Without privileges low ports cannot be bound, so the process driver's instances and the load balancers' nodes
/// use others, all by one rule.
#[derive(Debug, Clone, Copy)]
pub struct PortPolicy(fn(u16) -> u16);

impl PortPolicy {
    /// By `map`, such as `puffer_compute::process::port_map`. It must give different ports for different ports.
    pub const fn by(map: fn(u16) -> u16) -> Self {
        PortPolicy(map)
    }

    /// The port to bind or dial for `port`.
    pub fn port(self, port: u16) -> u16 {
        (self.0)(port)
    }
}

impl Default for PortPolicy {
    /// Every port is what it says.
    fn default() -> Self {
        PortPolicy(|port| port)
    }
}
