//! The DNS server of load balancers' names.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use puffer_inventory::names::load_balancer_addresses;
use puffer_network::dns::{DnsServer, NameSource, Upstreams, system_resolvers};
use puffer_store::Store;

/// Answers from the records: addresses in zones that can serve, or all of them if none can.
struct RecordedNames(Store);

impl NameSource for RecordedNames {
    fn addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        let nodes = self.0.read(|r| load_balancer_addresses(r, name));
        let none_healthy = nodes.iter().all(|n| !n.healthy_zone);
        nodes.iter().filter(|n| n.healthy_zone || none_healthy).map(|n| n.address).collect()
    }
}

/// Starts the server; gives its address and its task.
pub(super) async fn start(
    listen: SocketAddr,
    store: &Store,
) -> anyhow::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let upstreams = Upstreams::new(system_resolvers(Path::new("/etc/resolv.conf"), &[listen.ip()]));
    let names = Arc::new(RecordedNames(store.clone()));
    let server = DnsServer::bind(listen, names, upstreams)
        .await
        .with_context(|| format!("cannot listen on {listen} for DNS (--dns-listen)"))?;
    let address = server.address()?;
    Ok((address, tokio::spawn(server.serve())))
}
