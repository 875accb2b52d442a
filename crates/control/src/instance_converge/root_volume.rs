//! A running instance gets another root volume.
//!
//! The record says which one it shall have, by number, and the driver which one it has. Cut short anywhere, the driver's call is
//! made again: it makes no second disk of the same number. While the record asks for a new root volume, the sweep takes a guest that is
//! off for one that is about to be booted.

use std::sync::Arc;

use puffer_compute::{DriverError, DriverState};
use puffer_core::ErrorClass;
use puffer_core::ec2::Instance;
use puffer_inventory::{instances, root_volumes};
use puffer_store::StoreError;
use tokio::time::Instant;

use super::step::{LAUNCH_ATTEMPTS_MAX, Outcome, within};
use super::{Shared, reasons};

impl Shared {
    /// Whether the machine may have the new root volume already.
    pub(super) fn has_begun(&self, instance: &Instance) -> bool {
        self.rooms.store.read(|r| root_volumes::is_begun(r, instance))
    }

    pub(super) async fn replace_root(
        &self,
        key: &Arc<str>,
        instance: &Instance,
    ) -> Result<Outcome, StoreError> {
        let Some(wanted) = &instance.root_replacement else { return Ok(Outcome::Done) };
        if let Some(error) = self.out_of_reach(instance) {
            return Ok(self.again(key, error));
        }
        self.record(|tx| root_volumes::mark_begun(tx, &wanted.task_id)).await?;
        let next = Instance {
            image_id: wanted.image_id.clone(),
            root_serial: wanted.serial,
            root_replacement: None,
            ..instance.clone()
        };
        let done = within(self.limits.launch + self.limits.stop, "replacing the root volume", async {
            let spec = self.spec(&next).await?;
            self.rooms.driver.replace_root(&spec, self.limits.stop_grace_s).await
        });
        let error = match done.await {
            Ok(()) => {
                let now = self.rooms.clock.now();
                self.record(|tx| root_volumes::mark_replaced(tx, &instance.id, wanted, now)).await?;
                return Ok(Outcome::Done);
            }
            Err(DriverError::NotFound(_)) => {
                self.record(|tx| instances::mark_ending(tx, &instance.id, reasons::lost())).await?;
                return Ok(Outcome::Done);
            }
            Err(error) => error,
        };
        if error.class() == ErrorClass::Transient
            && self.agenda.lock().fail(key, Instant::now()) < LAUNCH_ATTEMPTS_MAX
        {
            return Ok(Outcome::Again(error));
        }
        // What it has now, the machine knows.
        let found = match within(self.limits.list, "list", self.rooms.driver.list()).await {
            Ok(listed) => listed.into_iter().find(|i| i.instance_id == instance.id),
            Err(error) => return Ok(self.again(key, error)),
        };
        let now = self.rooms.clock.now();
        let reason = reasons::of_driver(&error);
        self.record(|tx| match &found {
            None => drop(instances::mark_ending(tx, &instance.id, reasons::lost())),
            Some(found) => {
                let has_new = found.root == wanted.serial;
                let stopped = found.state != DriverState::Running;
                if has_new && !stopped {
                    // Only the answer came too late.
                    return root_volumes::mark_replaced(tx, &instance.id, wanted, now);
                }
                tracing::warn!(instance = %instance.id, %error, "the root volume could not be replaced");
                root_volumes::mark_failed(tx, &instance.id, wanted, reason, (has_new, stopped), now);
            }
        })
        .await?;
        Ok(Outcome::Done)
    }
}
