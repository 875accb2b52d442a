//! Guests in a zone that is down are held still; when the zone is up they go on.
//!
//! The zone's record comes first and is the only truth: each sweep compares what the driver holds still with the zones that are down
//! and puts right what differs, so a crash in between costs one sweep. What is launched or started meanwhile is held at the next.

use std::sync::Arc;

use puffer_compute::{DriverError, DriverState};
use puffer_core::ec2::{Instance, InstanceState as State};
use puffer_inventory::zones;
use tokio::time::Instant;

use super::Shared;
use super::step::within;
use super::sweep::Listed;

impl Shared {
    /// Has those suspended whose zone went down since, and those resumed whose zone came back.
    pub(super) fn follow_zones(self: &Arc<Self>, listed: &Listed) {
        let differing: Vec<Arc<str>> = self.rooms.store.read(|r| {
            let differs = |id: &str, is_held: bool| match r.get::<Instance>(id) {
                Some(i) if i.state == State::Running => zones::is_down(r, &i.zone) != is_held,
                // On its way out or unknown: ending it needs no resuming.
                _ => false,
            };
            let running = listed.values().filter(|i| i.state == DriverState::Running);
            let differing = running.filter(|i| differs(&i.instance_id, i.suspended));
            differing.map(|i| Arc::from(i.instance_id.as_str())).collect()
        });
        for key in differing {
            if self.agenda.lock().claim(&key, Instant::now()) {
                let shared = Arc::clone(self);
                tokio::spawn(async move {
                    if let Err(error) = shared.follow_zone(&key).await {
                        // The next sweep finds it again.
                        tracing::warn!(instance = %key, %error, "could not follow its zone");
                    }
                    shared.give_back(&key);
                });
            }
        }
    }

    async fn follow_zone(&self, key: &str) -> Result<(), DriverError> {
        let Ok(_slot) = self.slots.acquire().await else { return Ok(()) };
        let settled = self.rooms.store.settled().await;
        settled.map_err(|e| DriverError::Transient(e.to_string()))?;
        let down = self.rooms.store.read(|r| {
            let running = r.get::<Instance>(key).filter(|i| i.state == State::Running)?;
            Some(zones::is_down(r, &running.zone))
        });
        let Some(down) = down else { return Ok(()) };
        match within(self.limits.suspend, "suspend", self.rooms.driver.suspend(key, down)).await {
            // Gone meanwhile, which is the sweep's business.
            Err(DriverError::NotFound(_)) => Ok(()),
            other => other,
        }
    }
}
