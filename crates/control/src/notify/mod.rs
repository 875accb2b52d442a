//! Messages reach HTTP endpoints, and what is kept for others does not grow without end.
//!
//! A delivery is a record from the transaction that published the message until the endpoint has taken it, so it is made at
//! least once: a server that dies between the endpoint's answer and the removal of the record delivers again. An endpoint
//! that refuses (4xx) is not asked again; one that fails is, ever more rarely, and given up in the end. One whose certificate is
//! not trusted has failed: certificates get renewed.
//! Source: SNS developer guide, "message delivery retries".

mod post;
#[cfg(test)]
mod tests;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_core::event::Event;
use puffer_core::messaging::{ATTEMPTS_MAX, HttpDelivery, QueueMessage, retry_wait};
use puffer_core::{Clock, Timestamp};
use puffer_inventory::{messaging, notices};
use puffer_store::{Store, StoreError, Subscription};
use tokio::task::JoinSet;

use crate::Reconciler;
use post::post;
use trust::Trust;

/// Longest time between two activations.
const PERIOD: Duration = Duration::from_secs(30);
/// From connecting to the answer's first line, TLS included (what SNS gives an endpoint).
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);
/// Deliveries at a time; the next ones wait for the slowest of them.
const AT_ONCE: usize = 32;
/// Records removed in one transaction: bounds its length.
const PRUNED_AT_ONCE: usize = 1_000;

/// The reconciler. See the module.
pub struct Notify {
    store: Store,
    clock: Arc<dyn Clock>,
    deliveries: Subscription,
    due: Mutex<Option<Timestamp>>,
    trust: Arc<Trust>,
}

/// What an activation did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct NotifyStatus {
    /// Taken by their endpoints.
    pub delivered: usize,
    /// To be tried again.
    pub failed: usize,
    /// Given up.
    pub dropped: usize,
}

enum Outcome {
    Taken,
    Refused(u16),
    Failed(String),
}

impl Notify {
    /// Over the messages of this store. Endpoints with TLS must show a certificate of an authority that the system trusts.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Notify {
        Notify::trusting(Trust::system(), store, clock)
    }

    fn trusting(trust: Trust, store: Store, clock: Arc<dyn Clock>) -> Notify {
        let (deliveries, trust) = (store.subscribe::<HttpDelivery>(), Arc::new(trust));
        Notify { deliveries, store, clock, due: Mutex::new(None), trust }
    }

    fn due_now(&self, now: Timestamp) -> Vec<Arc<HttpDelivery>> {
        let mut later: Option<Timestamp> = None;
        let due = self.store.read(|r| {
            let mut due = Vec::new();
            for d in r.iter::<HttpDelivery>() {
                if d.due_at <= now && due.len() < AT_ONCE {
                    due.push(Arc::clone(d));
                } else {
                    later = Some(later.map_or(d.due_at, |l| l.min(d.due_at)));
                }
            }
            due
        });
        *self.due.lock() = later;
        due
    }

    async fn settle(&self, delivery: &HttpDelivery, outcome: Outcome, status: &mut NotifyStatus) {
        let attempts = delivery.attempts + 1;
        let again = match &outcome {
            Outcome::Taken => {
                status.delivered += 1;
                None
            }
            Outcome::Failed(_) if attempts < ATTEMPTS_MAX => {
                status.failed += 1;
                Some(self.clock.now() + retry_wait(attempts))
            }
            Outcome::Failed(why) => {
                tracing::warn!(endpoint = delivery.endpoint, why, "a notification is given up");
                status.dropped += 1;
                None
            }
            Outcome::Refused(code) => {
                tracing::warn!(endpoint = delivery.endpoint, code, "a notification was refused");
                status.dropped += 1;
                None
            }
        };
        let written = self.store.transact::<_, StoreError>(|tx| {
            match again {
                None => drop(tx.delete::<HttpDelivery>(&delivery.id)),
                Some(at) => {
                    tx.update::<HttpDelivery>(&delivery.id, |d| (d.attempts, d.due_at) = (attempts, at));
                }
            }
            Ok(())
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, "a delivery's outcome could not be recorded; it is made again");
        }
    }

    async fn prune(&self) {
        let now = self.clock.now();
        // Looked for without the writer's lock: most of the time there is nothing.
        let (events, messages) = self.store.read(|r| {
            (notices::events_to_prune(r, PRUNED_AT_ONCE), messaging::expired(r, PRUNED_AT_ONCE, now))
        });
        if events.is_empty() && messages.is_empty() {
            return;
        }
        let pruned = self.store.transact::<_, StoreError>(|tx| {
            for key in &events {
                tx.delete::<Event>(key);
            }
            for id in &messages {
                tx.delete::<QueueMessage>(id);
            }
            Ok(())
        });
        if let Err(error) = pruned.await {
            tracing::warn!(%error, "old messages and events could not be dropped");
        }
    }
}

impl Reconciler for Notify {
    type Status = NotifyStatus;

    fn name(&self) -> &'static str {
        "notify"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn wake(&self) {
        let due = *self.due.lock();
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep(at.since(self.clock.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.deliveries.next() => {}
            () = timer => {}
        }
    }

    async fn activate(&self) -> NotifyStatus {
        let mut status = NotifyStatus::default();
        let due = self.due_now(self.clock.now());
        // Record before act: nobody is told of what may yet be undone. After the look, so that all that was seen is settled.
        if self.store.settled().await.is_err() {
            return status;
        }
        let mut running = JoinSet::new();
        for delivery in due {
            let trust = Arc::clone(&self.trust);
            running.spawn(async move {
                let outcome = match tokio::time::timeout(DELIVERY_TIMEOUT, post(&delivery, &trust)).await {
                    Ok(Ok(200..=299)) => Outcome::Taken,
                    Ok(Ok(429)) => Outcome::Failed("the endpoint answers 429".to_owned()),
                    Ok(Ok(code @ 400..=499)) => Outcome::Refused(code),
                    Ok(Ok(code)) => Outcome::Failed(format!("the endpoint answers {code}")),
                    Ok(Err(error)) => Outcome::Failed(error.to_string()),
                    Err(_) => Outcome::Failed("the endpoint does not answer".to_owned()),
                };
                (delivery, outcome)
            });
        }
        while let Some(done) = running.join_next().await {
            if let Ok((delivery, outcome)) = done {
                self.settle(&delivery, outcome, &mut status).await;
            }
        }
        self.prune().await;
        status
    }
}
