use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use puffer_compute::DriverError;
use puffer_core::ErrorClass;
use puffer_core::ec2::{Image, Instance, InstanceState as State, StateReason};
use puffer_inventory::{images, instances, zones};
use puffer_store::{StoreError, Transaction};
use tokio::time::Instant;

use super::{Shared, reasons};

/// Attempts at a launch that fails in passing, before it is given up.
pub(super) const LAUNCH_ATTEMPTS_MAX: u32 = 5;

/// Steps that one task makes before it lets others have its turn: launch, end after failure, and some air.
const STEPS_PER_TASK_MAX: usize = 8;

/// Whether the record asks for something to be done.
pub(super) fn is_wanted(instance: &Instance) -> bool {
    match instance.state {
        State::Pending | State::Stopping | State::ShuttingDown => true,
        State::Running => has_reboot(instance) || instance.root_replacement.is_some(),
        State::Stopped | State::Terminated => false,
    }
}

fn has_reboot(instance: &Instance) -> bool {
    instance.reboot_requests != instance.reboots_done
}

/// How a step ended.
pub(super) enum Outcome {
    /// Done, or nothing to do: look whether there is more.
    Done,
    /// Failed in passing: try again after a wait.
    Again(DriverError),
}

impl Shared {
    /// Works on a claimed instance until its record asks for no more or a step fails, then gives it back.
    pub(super) async fn work(self: Arc<Self>, key: Arc<str>) {
        for _ in 0..STEPS_PER_TASK_MAX {
            let Ok(_slot) = self.slots.acquire().await else { break };
            let Some(instance) = self.rooms.store.get::<Instance>(&key).filter(|i| is_wanted(i)) else {
                break;
            };
            // Read, then durable, then act: the record that was read survives a crash.
            if self.rooms.store.settled().await.is_err() {
                self.agenda.lock().fail(&key, Instant::now());
                break;
            }
            match self.step(&key, &instance).await {
                Ok(Outcome::Done) => self.agenda.lock().succeed(&key),
                Ok(Outcome::Again(error)) => {
                    tracing::debug!(instance = %key, %error, "will be tried again");
                    break;
                }
                Err(error) => {
                    tracing::warn!(instance = %key, %error, "the outcome could not be recorded");
                    self.agenda.lock().fail(&key, Instant::now());
                    break;
                }
            }
        }
        let again = self.agenda.lock().release(&key);
        if again || self.rooms.store.get::<Instance>(&key).is_some_and(|i| is_wanted(&i)) {
            let now = Instant::now();
            let mut agenda = self.agenda.lock();
            // A failed step has set its own time already, which is later; claiming honours it.
            agenda.set_due(super::Errand::Step, &key, now);
            drop(agenda);
            self.wake.notify_one();
        }
    }

    async fn step(&self, key: &Arc<str>, instance: &Instance) -> Result<Outcome, StoreError> {
        match instance.state {
            State::Pending => self.run(key, instance).await,
            State::Stopping => self.stop(key, instance).await,
            State::ShuttingDown => self.end(key, instance).await,
            // An image of the old root volume may wait for the reboot. Once the disk may be the new one, the guest is booted from that
            // first: a reboot by what the record says would boot the old system over it. The reboot follows.
            State::Running if has_reboot(instance) && !self.has_begun(instance) => {
                self.reboot(key, instance).await
            }
            State::Running => self.replace_root(key, instance).await,
            State::Stopped | State::Terminated => Ok(Outcome::Done),
        }
    }

    async fn run(&self, key: &Arc<str>, instance: &Instance) -> Result<Outcome, StoreError> {
        let zone = &instance.zone;
        let done = within(self.limits.launch, "launch", async {
            if self.rooms.store.read(|r| zones::is_down(r, zone)) {
                return Err(DriverError::InsufficientCapacity(format!("zone {zone} is down")));
            }
            let spec = self.spec(instance).await?;
            if instance.has_disk {
                self.rooms.driver.start(&spec).await
            } else {
                self.rooms.driver.launch(&spec).await
            }
        });
        let error = match done.await {
            Ok(()) => {
                let now = self.rooms.clock.now();
                let reboots = instance.reboot_requests;
                self.record(|tx| instances::mark_running(tx, &instance.id, reboots, now)).await?;
                return Ok(Outcome::Done);
            }
            Err(error) => error,
        };
        if error.class() == ErrorClass::Transient
            && self.agenda.lock().fail(key, Instant::now()) < LAUNCH_ATTEMPTS_MAX
        {
            return Ok(Outcome::Again(error));
        }
        tracing::warn!(instance = %instance.id, error = %error, "launch failed");
        self.give_up(instance, &error).await?;
        Ok(Outcome::Done)
    }

    /// A failed start leaves the instance stopped, as on EC2; a failed launch ends it.
    async fn give_up(&self, instance: &Instance, error: &DriverError) -> Result<(), StoreError> {
        let reason: StateReason = reasons::of_driver(error);
        self.record(|tx| match error {
            DriverError::NotFound(_) => instances::mark_ending(tx, &instance.id, reasons::lost()),
            _ if instance.has_disk => instances::mark_stopped(tx, &instance.id, Some(reason)),
            _ => instances::mark_ending(tx, &instance.id, reason),
        })
        .await
    }

    async fn stop(&self, key: &Arc<str>, instance: &Instance) -> Result<Outcome, StoreError> {
        let grace_s = if instance.stop_hard { 0 } else { self.limits.stop_grace_s };
        let call = self.rooms.driver.stop(&instance.id, grace_s);
        match within(self.limits.stop, "stop", call).await {
            Ok(()) => {
                self.record(|tx| instances::mark_stopped(tx, &instance.id, None)).await?;
                Ok(Outcome::Done)
            }
            Err(DriverError::NotFound(_)) => {
                self.record(|tx| instances::mark_ending(tx, &instance.id, reasons::lost())).await?;
                Ok(Outcome::Done)
            }
            Err(error) => Ok(self.again(key, error)),
        }
    }

    async fn end(&self, key: &Arc<str>, instance: &Instance) -> Result<Outcome, StoreError> {
        match within(self.limits.terminate, "terminate", self.rooms.driver.terminate(&instance.id)).await {
            Ok(()) => {
                self.rooms.placement.vacate(&instance.id).await;
                let now = self.rooms.clock.now();
                self.record(|tx| instances::mark_terminated(tx, &instance.id, None, now)).await?;
                Ok(Outcome::Done)
            }
            Err(error) => Ok(self.again(key, error)),
        }
    }

    pub(super) fn out_of_reach(&self, instance: &Instance) -> Option<DriverError> {
        let (id, zone) = (&instance.id, &instance.zone);
        let down = self.rooms.store.read(|r| zones::is_down(r, zone));
        down.then(|| DriverError::Transient(format!("{id} cannot be reached: zone {zone} is down")))
    }

    async fn reboot(&self, key: &Arc<str>, instance: &Instance) -> Result<Outcome, StoreError> {
        if let Some(error) = self.out_of_reach(instance) {
            return Ok(self.again(key, error));
        }
        let done = match self.rooms.store.read(|r| images::waiting_for_rest(r, &instance.id).is_empty()) {
            true => {
                let reboot = async { self.rooms.driver.reboot(&self.spec(instance).await?).await };
                within(self.limits.reboot, "reboot", reboot).await
            }
            false => self.rest(instance).await,
        };
        match done {
            Ok(()) => {
                let reboots = instance.reboot_requests;
                self.record(|tx| instances::mark_rebooted(tx, &instance.id, reboots)).await?;
                Ok(Outcome::Done)
            }
            Err(DriverError::NotFound(_)) => {
                self.record(|tx| instances::mark_ending(tx, &instance.id, reasons::lost())).await?;
                Ok(Outcome::Done)
            }
            Err(error) => Ok(self.again(key, error)),
        }
    }

    /// Reboots with a rest between, in which `image_build` copies the disk: nothing is half written then.
    async fn rest(&self, instance: &Instance) -> Result<(), DriverError> {
        let copies = self.rooms.store.subscribe::<Image>();
        let spec = self.spec(instance).await?;
        let stop = self.rooms.driver.stop(&instance.id, self.limits.stop_grace_s);
        within(self.limits.stop, "stop", stop).await?;
        let rests = self.record(|tx| images::source_rests(tx, &instance.id)).await;
        rests.map_err(|e| DriverError::Transient(e.to_string()))?;
        let copied = async {
            while self.rooms.store.read(|r| !images::waiting_for_rest(r, &instance.id).is_empty()) {
                copies.next().await;
            }
        };
        if tokio::time::timeout(self.limits.rest, copied).await.is_err() {
            tracing::warn!(instance = %instance.id, "starts again before an image of it is done");
        }
        within(self.limits.launch, "start", self.rooms.driver.start(&spec)).await
    }

    /// A powered-off instance may not run, and an orphan may not stay: for the sweep.
    pub(super) async fn put_down(&self, instance_id: &str, keep_disk: bool) -> Result<(), DriverError> {
        let Ok(_slot) = self.slots.acquire().await else { return Ok(()) };
        if keep_disk {
            within(self.limits.stop, "stop", self.rooms.driver.stop(instance_id, self.limits.stop_grace_s))
                .await
        } else {
            within(self.limits.terminate, "terminate", self.rooms.driver.terminate(instance_id)).await?;
            self.rooms.placement.vacate(instance_id).await;
            Ok(())
        }
    }

    pub(super) fn again(&self, key: &Arc<str>, error: DriverError) -> Outcome {
        self.agenda.lock().fail(key, Instant::now());
        Outcome::Again(error)
    }

    /// Records an outcome; whether it still applied is the transaction's matter.
    pub(super) async fn record<R>(
        &self,
        body: impl FnOnce(&mut Transaction<'_>) -> R,
    ) -> Result<(), StoreError> {
        self.rooms
            .store
            .transact::<_, StoreError>(|tx| {
                body(tx);
                Ok(())
            })
            .await
    }
}

/// A driver call with its time-out, which counts as a passing failure.
pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result,
        Err(_) => Err(DriverError::Transient(format!("{what} took longer than {} s", limit.as_secs()))),
    }
}
