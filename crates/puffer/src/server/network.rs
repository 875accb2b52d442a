//! The instances' network, where they have one of their own: bridges, security groups, what they learn of themselves, and the names
//! they ask for.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use puffer_control::{
    FabricPlacement, LoopbackPlacement, NetworkReady, NetworkSync, Placement, RecordedMetadata,
    RunningReconciler, spawn,
};
use puffer_core::Clock;
use puffer_network::metadata::{MetadataServer, TokenKey};
use puffer_network::{BridgeFabric, Services};
use puffer_store::Store;
use rand::RngExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::compute::Kind;
use super::names;
use crate::data_dir::DataDir;

/// What runs for the network, and how instances get their places in it.
pub(super) struct Network {
    pub(super) placement: Arc<dyn Placement>,
    pub(super) running: Vec<RunningReconciler>,
    pub(super) serving: Vec<JoinHandle<()>>,
}

/// Starts it. Processes and simulated instances live on addresses that need nothing.
pub(super) async fn start(
    kind: Kind,
    data: &DataDir,
    store: &Store,
    clock: &Arc<dyn Clock>,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<Network> {
    if kind != Kind::Container {
        let placement = Arc::new(LoopbackPlacement);
        return Ok(Network { placement, running: Vec::new(), serving: Vec::new() });
    }
    for blocking in puffer_network::blocked_forwarding().await {
        tracing::warn!(remedy = blocking.remedy, "{}", blocking.what);
    }
    // On all addresses, so that every gateway answers; the fabric lets only instances reach it.
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let (dns, dns_task) = names::start(any, store).await?;
    let source = Arc::new(RecordedMetadata::new(store.clone()));
    let metadata = MetadataServer::bind(any, source, Arc::clone(clock), TokenKey::new(rand::rng().random()))
        .await
        .context("cannot listen for instances' metadata questions")?;
    let metadata_port = Some(metadata.address()?.port());
    let services = Services { metadata_port, dns_port: Some(dns.port()) };
    let fabric = Arc::new(BridgeFabric::new(data.path(), services));
    let ready = NetworkReady::default();
    let placement = Arc::new(FabricPlacement::new(store.clone(), Arc::clone(&fabric), ready.clone()));
    let sync = NetworkSync::new(store.clone(), fabric, ready);
    let serving = vec![dns_task, tokio::spawn(metadata.serve())];
    Ok(Network { placement, running: vec![spawn(sync, stopped.clone())], serving })
}
