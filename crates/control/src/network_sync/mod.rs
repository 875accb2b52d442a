//! Records of subnets, security groups, instances and load balancer nodes → the network.
//!
//! An instance may start only when its bridge exists and its security groups are in force. So a launch asks
//! [`NetworkReady::cover`], which returns once the network has been made as the records were at or after the question;
//! many launches at once share one application.

mod desired;
mod placement;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use puffer_core::ec2::{AddressHold, Instance, SecurityGroup, Subnet, Vpc};
use puffer_network::{DesiredNetwork, Endpoint, Fabric};
use puffer_store::{Store, Subscription};
use tokio::sync::{Notify, watch};

pub use desired::desired_network;
pub use placement::FabricPlacement;

use crate::Reconciler;
use crate::wake::{Pace, any_of};

/// Time between looks while nothing changes; each makes good what somebody else undid on the machine.
const PERIOD: Duration = Duration::from_secs(30);
/// Time between tries after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// What an activation did.
#[derive(Debug, Default)]
pub struct NetworkSyncStatus {
    /// Endpoints of the network.
    pub n_endpoints: usize,
    /// Why the network is not as desired.
    pub error: Option<String>,
}

/// How far the network is, shared between the reconciler and those who wait for it.
#[derive(Clone)]
pub struct NetworkReady {
    inner: Arc<Ready>,
}

struct Ready {
    /// Counts the questions.
    asked: AtomicU64,
    ask: Notify,
    /// The latest question that an application answered, and how the last one ended.
    answered: watch::Sender<Answered>,
    applied: Mutex<Option<Arc<DesiredNetwork>>>,
}

#[derive(Clone, Default)]
struct Answered {
    question: u64,
    error: Option<String>,
}

impl Default for NetworkReady {
    fn default() -> Self {
        let answered = watch::Sender::new(Answered::default());
        NetworkReady {
            inner: Arc::new(Ready {
                asked: AtomicU64::new(0),
                ask: Notify::new(),
                answered,
                applied: Mutex::new(None),
            }),
        }
    }
}

/// The network could not be made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the network is not ready: {0}")]
pub struct NotReady(pub String);

impl NetworkReady {
    /// Waits until the network holds `endpoint` at `address` of the subnet, at most `limit`. The endpoint's record must be in
    /// the store already.
    pub async fn cover(
        &self,
        subnet_id: &str,
        address: std::net::Ipv4Addr,
        endpoint: &Endpoint,
        limit: Duration,
    ) -> Result<(), NotReady> {
        if self.holds(subnet_id, address, endpoint) {
            return Ok(());
        }
        let question = self.inner.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut answered = self.inner.answered.subscribe();
        self.inner.ask.notify_one();
        let waiting = answered.wait_for(|a| a.question >= question);
        let answer = match tokio::time::timeout(limit, waiting).await {
            Ok(Ok(answer)) => answer.clone(),
            Ok(Err(_)) => return Err(NotReady("the server is stopping".to_owned())),
            Err(_) => return Err(NotReady(format!("it took longer than {limit:?}"))),
        };
        match answer.error {
            Some(error) => Err(NotReady(error)),
            None if self.holds(subnet_id, address, endpoint) => Ok(()),
            None => Err(NotReady(format!("{address} is not an address of {subnet_id} any more"))),
        }
    }

    fn holds(&self, subnet_id: &str, address: std::net::Ipv4Addr, endpoint: &Endpoint) -> bool {
        let applied = self.inner.applied.lock();
        let key = (subnet_id.to_owned(), address);
        applied.as_ref().is_some_and(|network| network.endpoints.get(&key) == Some(endpoint))
    }
}

/// See the module.
pub struct NetworkSync<F> {
    store: Store,
    fabric: Arc<F>,
    ready: NetworkReady,
    subscriptions: Vec<Subscription>,
    failed: AtomicBool,
    pace: Pace,
}

impl<F: Fabric> NetworkSync<F> {
    /// `ready` is shared with whoever waits, such as [`FabricPlacement`].
    pub fn new(store: Store, fabric: Arc<F>, ready: NetworkReady) -> Self {
        let subscriptions = vec![
            store.subscribe::<Vpc>(),
            store.subscribe::<Subnet>(),
            store.subscribe::<SecurityGroup>(),
            store.subscribe::<Instance>(),
            store.subscribe::<AddressHold>(),
        ];
        NetworkSync {
            store,
            fabric,
            ready,
            subscriptions,
            failed: AtomicBool::new(false),
            pace: Pace::default(),
        }
    }

    async fn apply(&self) -> Result<Arc<DesiredNetwork>, String> {
        let desired = Arc::new(self.store.read(desired_network));
        // What is not durable must not reach the world.
        self.store.settled().await.map_err(|e| e.to_string())?;
        self.fabric.apply(&desired).await.map_err(|e| e.to_string())?;
        Ok(desired)
    }
}

impl<F: Fabric> Reconciler for NetworkSync<F> {
    type Status = NetworkSyncStatus;

    fn name(&self) -> &'static str {
        "network_sync"
    }

    fn period(&self) -> Duration {
        if self.failed.load(Ordering::Relaxed) { RETRY } else { PERIOD }
    }

    async fn wake(&self) {
        let something = async {
            tokio::select! {
                biased;
                () = any_of(&self.subscriptions) => {}
                () = self.ready.inner.ask.notified() => {}
            }
        };
        self.pace.after(something).await;
    }

    async fn activate(&self) -> NetworkSyncStatus {
        let began = self.pace.begin();
        // Read before the records, so that the answer covers what the question was about.
        let question = self.ready.inner.asked.load(Ordering::SeqCst);
        let outcome = self.apply().await;
        let mut status = NetworkSyncStatus::default();
        match &outcome {
            Ok(network) => {
                status.n_endpoints = network.endpoints.len();
                *self.ready.inner.applied.lock() = Some(Arc::clone(network));
            }
            Err(error) => {
                tracing::error!(%error, "the network is not as desired");
                status.error = Some(error.clone());
            }
        }
        self.failed.store(outcome.is_err(), Ordering::Relaxed);
        self.ready.inner.answered.send_replace(Answered { question, error: outcome.err() });
        self.pace.end(began);
        status
    }
}
