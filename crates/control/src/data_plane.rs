//! The balancer's data plane as the reconcilers see it: something that applies snapshots and reports.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use puffer_balancer::{Applied, BalancerClient, BalancerConfig, ClientError, Pulse, Report, SpawnOptions};
use tokio::sync::Mutex;

/// What runs the listeners. A trait so that tests need no process.
pub trait DataPlane: Send + Sync + 'static {
    /// Makes `config` real; starts the data plane if none runs.
    fn apply(&self, config: &BalancerConfig) -> impl Future<Output = Result<Applied, ClientError>> + Send;

    /// What has been seen. Never starts anything.
    fn report(&self) -> impl Future<Output = Result<Report, ClientError>> + Send;

    /// Which process runs, and what it has applied. Never starts anything.
    fn pulse(&self) -> impl Future<Output = Result<Pulse, ClientError>> + Send {
        async {
            let report = self.report().await?;
            Ok(Pulse { epoch: report.epoch, generation: report.generation })
        }
    }

    /// Waits until health or draining has moved on from change number `since`. Never starts anything.
    fn wait_change(
        &self,
        since: u64,
        at_most: Duration,
    ) -> impl Future<Output = Result<u64, ClientError>> + Send;
}

/// The data plane in a process of its own, which outlives this one: taken up if it runs, started if it does not.
pub struct BalancerLink {
    options: SpawnOptions,
    client: Mutex<Option<Arc<BalancerClient>>>,
}

impl BalancerLink {
    /// Nothing is started before the first apply: a server without load balancers runs no balancer.
    pub fn new(options: SpawnOptions) -> Self {
        BalancerLink { options, client: Mutex::new(None) }
    }

    async fn running(&self) -> Result<Arc<BalancerClient>, ClientError> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        let new = Arc::new(BalancerClient::connect(&self.options.socket).await?);
        *client = Some(Arc::clone(&new));
        Ok(new)
    }

    async fn running_or_started(&self) -> Result<Arc<BalancerClient>, ClientError> {
        let mut client = self.client.lock().await;
        let new = Arc::new(BalancerClient::connect_or_spawn(&self.options).await?);
        *client = Some(Arc::clone(&new));
        Ok(new)
    }
}

impl DataPlane for BalancerLink {
    async fn apply(&self, config: &BalancerConfig) -> Result<Applied, ClientError> {
        if let Ok(client) = self.running().await {
            match client.apply(config).await {
                Err(ClientError::Absent(..) | ClientError::Frame(_)) => {}
                other => return other,
            }
        }
        self.running_or_started().await?.apply(config).await
    }

    async fn report(&self) -> Result<Report, ClientError> {
        self.running().await?.report().await
    }

    async fn pulse(&self) -> Result<Pulse, ClientError> {
        self.running().await?.pulse().await
    }

    async fn wait_change(&self, since: u64, at_most: Duration) -> Result<u64, ClientError> {
        self.running().await?.wait_change(since, at_most).await
    }
}
