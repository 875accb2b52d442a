//! Records of load balancers → the data plane's configuration, and what came of it → the load balancers' states.
//!
//! The data plane gets the whole configuration with a growing generation number whenever it differs from what was applied,
//! when its process is another than before, and again while a listener could not be bound. Addresses of nodes that are no
//! longer configured become free once the data plane counts no connection there.

#[cfg(test)]
mod real_tests;
mod snapshot;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use puffer_balancer::{Applied, BalancerConfig, ClientError, Report};
use puffer_core::ec2::{AddressHold, Instance, Subnet, ZoneCondition};
use puffer_core::elb::classic::ClassicLoadBalancer;
use puffer_core::elb::{Listener, LoadBalancer, LoadBalancerState, Rule, Target, TargetGroup};
use puffer_core::{Clock, Timestamp};
use puffer_inventory::nodes;
use puffer_store::{Store, StoreError, Subscription};
use tokio::sync::Notify;

pub use snapshot::snapshot;
pub(crate) use snapshot::{dialled, is_reachable};

use crate::wake::{Pace, any_of};
use crate::{DataPlane, PortPolicy, Reconciler};

/// Time between looks while nothing changes: finds a data plane that was replaced behind our back.
const PERIOD: Duration = Duration::from_secs(5);
/// Time between tries while something is not as it shall be.
const RETRY: Duration = Duration::from_millis(500);
/// From the release of an address to when the data plane surely has been told.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// Longest time for which a released address waits for its last connection: the data plane has ended all by then.
const RELEASE_GRACE: Duration = puffer_balancer::FINISH_LIMIT.saturating_add(TOLD_WITHIN);

/// What an activation did.
#[derive(Debug, Default)]
pub struct BalancerSyncStatus {
    /// Generation that was applied, if any was.
    pub applied: Option<u64>,
    /// Listeners that could not be bound.
    pub n_bind_errors: usize,
    /// Why the data plane could not be driven.
    pub error: Option<String>,
}

/// See the module.
pub struct BalancerSync<P> {
    store: Store,
    plane: Arc<P>,
    clock: Arc<dyn Clock>,
    ports: PortPolicy,
    /// Told when somebody found the data plane away.
    lost: Arc<Notify>,
    subscriptions: Vec<Subscription>,
    memory: Mutex<Memory>,
    hurried: AtomicBool,
    pace: Pace,
}

/// What the data plane is known to have.
#[derive(Default)]
struct Memory {
    epoch: Option<u64>,
    generation: u64,
    config: BalancerConfig,
    has_bind_errors: bool,
}

impl<P: DataPlane> BalancerSync<P> {
    /// `lost` is shared with [`crate::TargetSync`].
    pub fn new(
        store: Store,
        plane: Arc<P>,
        clock: Arc<dyn Clock>,
        ports: PortPolicy,
        lost: Arc<Notify>,
    ) -> Self {
        let subscriptions = vec![
            store.subscribe::<LoadBalancer>(),
            store.subscribe::<ClassicLoadBalancer>(),
            store.subscribe::<Listener>(),
            store.subscribe::<Rule>(),
            store.subscribe::<TargetGroup>(),
            store.subscribe::<Target>(),
            store.subscribe::<Instance>(),
            store.subscribe::<AddressHold>(),
            store.subscribe::<ZoneCondition>(),
        ];
        BalancerSync {
            store,
            plane,
            clock,
            ports,
            lost,
            subscriptions,
            memory: Mutex::default(),
            hurried: AtomicBool::new(false),
            pace: Pace::default(),
        }
    }

    /// Applies the configuration if the data plane has another; gives the bind errors' answer if it did.
    async fn converge(&self) -> Result<Option<Applied>, ClientError> {
        let wanted = self.store.read(|r| snapshot(r, self.ports));
        let pulse = self.plane.pulse().await.ok();
        let config = {
            let memory = self.memory.lock();
            let same_process = pulse.is_some_and(|p| memory.epoch == Some(p.epoch));
            let wanted = BalancerConfig { generation: memory.config.generation, ..wanted };
            if same_process && wanted == memory.config && !memory.has_bind_errors {
                return Ok(None);
            }
            if pulse.is_none() && wanted.load_balancers.is_empty() {
                // Nothing is wanted and nobody runs: no reason to start a process.
                return Ok(None);
            }
            let running = pulse.map_or(0, |p| p.generation);
            BalancerConfig { generation: memory.generation.max(running) + 1, ..wanted }
        };
        // What is not durable must not reach the world.
        if let Err(error) = self.store.settled().await {
            tracing::error!(%error, "the store is not durable; the data plane stays as it is");
            return Ok(None);
        }
        let applied = self.plane.apply(&config).await?;
        let mut memory = self.memory.lock();
        memory.epoch = Some(applied.epoch);
        memory.generation = config.generation;
        memory.has_bind_errors = !applied.bind_errors.is_empty();
        memory.config = config;
        Ok(Some(applied))
    }

    /// Writes the states that differ from what came of the configuration.
    async fn record_states(&self, outcome: &Result<Option<Applied>, ClientError>) -> Result<(), StoreError> {
        let verdicts: Vec<Verdict> = {
            let memory = self.memory.lock();
            let configured = &memory.config.load_balancers;
            self.store.read(|r| {
                let judged = r.iter::<LoadBalancer>().filter_map(|balancer| {
                    let known = configured.iter().any(|c| c.arn == balancer.arn);
                    verdict(balancer, known, outcome, &memory.config)
                });
                judged.collect()
            })
        };
        if verdicts.is_empty() {
            return Ok(());
        }
        self.store
            .transact::<_, StoreError>(|tx| {
                for v in verdicts {
                    tx.update::<LoadBalancer>(&v.balancer, |b| {
                        (b.state, b.state_reason) = (v.state, v.reason)
                    });
                }
                Ok(())
            })
            .await
    }

    /// Lets others have the addresses on which nobody can be connected any more. Says whether some are left.
    async fn free_addresses(&self) -> Result<bool, StoreError> {
        let releasing: Vec<Arc<AddressHold>> = self
            .store
            .read(|r| r.iter::<AddressHold>().filter(|h| h.releasing_since.is_some()).cloned().collect());
        if releasing.is_empty() {
            return Ok(false);
        }
        let report = self.plane.report().await.ok();
        let now = self.clock.now();
        let free: Vec<&Arc<AddressHold>> = {
            let memory = self.memory.lock();
            let addresses = snapshot::node_addresses(&memory.config);
            self.store.read(|r| {
                let unused = |h: &&Arc<AddressHold>| {
                    let configured =
                        addresses.get(h.holder.as_str()).is_some_and(|all| all.contains(&h.address));
                    let zone = r.get::<Subnet>(&h.subnet_id).map(|s| s.zone.clone());
                    !configured && is_quiet(h, zone.as_deref(), report.as_ref(), now)
                };
                releasing.iter().filter(unused).collect()
            })
        };
        let left = free.len() < releasing.len();
        if !free.is_empty() {
            self.store
                .transact::<_, StoreError>(|tx| {
                    for hold in free {
                        nodes::free(tx, &hold.subnet_id, hold.address);
                    }
                    Ok(())
                })
                .await?;
        }
        Ok(left)
    }
}

struct Verdict {
    balancer: String,
    state: LoadBalancerState,
    reason: Option<String>,
}

/// The state that a load balancer's record shall have, if it has another.
fn verdict(
    balancer: &LoadBalancer,
    configured: bool,
    outcome: &Result<Option<Applied>, ClientError>,
    config: &BalancerConfig,
) -> Option<Verdict> {
    use LoadBalancerState::{Active, ActiveImpaired, Provisioning};
    let (state, reason) = match outcome {
        Ok(None) => return None,
        Ok(Some(_)) if !configured => return None,
        Ok(Some(applied)) => {
            let own = config.load_balancers.iter().find(|c| c.arn == balancer.arn);
            let listeners = own.map_or(&[][..], |c| c.listeners.as_slice());
            let mine = |listener: &str| listeners.iter().any(|l| l.arn == listener);
            let mut errors: Vec<String> = applied
                .bind_errors
                .iter()
                .filter(|e| mine(&e.listener))
                .map(|e| format!("{}: {}", e.address, e.error))
                .collect();
            errors.sort();
            match errors.is_empty() {
                true => (Active, None),
                false => (ActiveImpaired, Some(format!("Not listening on {}", errors.join("; ")))),
            }
        }
        // One that never worked is not impaired but still on its way.
        Err(_) if balancer.state == Provisioning => return None,
        Err(error) => (ActiveImpaired, Some(format!("The data plane cannot be driven: {error}"))),
    };
    let changed = balancer.state != state || balancer.state_reason != reason;
    changed.then(|| Verdict { balancer: balancer.arn.clone(), state, reason })
}

/// Whether no connection uses a node's address any more, or none may any longer.
fn is_quiet(hold: &AddressHold, zone: Option<&str>, report: Option<&Report>, now: Timestamp) -> bool {
    let released = hold.releasing_since.unwrap_or(now);
    // Without a data plane there is no connection.
    let Some(report) = report else { return true };
    let open = report.counters.iter().any(|c| {
        let scope = &c.scope;
        scope.load_balancer == hold.holder
            && scope.target_group.is_none()
            && scope.zone.as_deref() == zone
            && c.counters.active_connection_count > 0
    });
    !open || now.since(released) >= RELEASE_GRACE
}

impl<P: DataPlane> Reconciler for BalancerSync<P> {
    type Status = BalancerSyncStatus;

    fn name(&self) -> &'static str {
        "balancer_sync"
    }

    fn period(&self) -> Duration {
        if self.hurried.load(Ordering::Relaxed) { RETRY } else { PERIOD }
    }

    async fn wake(&self) {
        let something = async {
            tokio::select! {
                biased;
                () = any_of(&self.subscriptions) => {}
                () = self.lost.notified() => {}
            }
        };
        self.pace.after(something).await;
    }

    async fn activate(&self) -> BalancerSyncStatus {
        let began = self.pace.begin();
        let outcome = self.converge().await;
        let mut status = BalancerSyncStatus::default();
        match &outcome {
            Ok(Some(applied)) => {
                status.applied = Some(applied.generation);
                status.n_bind_errors = applied.bind_errors.len();
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the balancer's data plane cannot be driven");
                status.error = Some(error.to_string());
            }
        }
        let recorded = self.record_states(&outcome).await;
        let freed = self.free_addresses().await;
        for error in [recorded.err(), freed.as_ref().err().cloned()].into_iter().flatten() {
            tracing::error!(%error, "states of load balancers cannot be recorded");
        }
        let unfinished = outcome.is_err() || status.n_bind_errors > 0 || freed.unwrap_or(true);
        self.hurried.store(unfinished, Ordering::Relaxed);
        self.pace.end(began);
        status
    }
}
