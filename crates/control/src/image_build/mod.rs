//! Makes images what their records say, and records what images there are.
//!
//! * An image recorded as pending is copied from its instance. As on EC2, the instance is rebooted for it unless `NoReboot`
//!   says otherwise: `instance_converge` shuts the guest down, waits here between for the copy, and starts it again. With
//!   `NoReboot` the driver freezes the guest, so that its disk is at least taken at one moment.
//! * A deregistered image is hidden at once; its files go when no instance needs them any more (a stopped instance may
//!   start again after its image was deregistered, a root volume that was asked for is made from it), and then its record.
//! * Images that `puffer image build|import` put into the image store become records, and parameters name them.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use puffer_compute::{Driver, DriverError};
use puffer_core::autoscaling::Member;
use puffer_core::ec2::{Image, ImageState, Instance, InstanceState, StateReason};
use puffer_core::{Clock, ErrorClass};
use puffer_inventory::images::{self, FoundImage};
use puffer_store::{Dirty, Store, StoreError, Subscription};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{ImageSource, ImageSourceError, Reconciler};

/// Between two looks at the image store, for what the command line put there.
const PERIOD: Duration = Duration::from_secs(3);
/// What copying an instance's disk may take.
const COPY_TIMEOUT: Duration = Duration::from_secs(600);
/// Attempts at a copy that fails in passing.
const COPY_ATTEMPTS_MAX: u32 = 3;
/// First wait between them; doubles.
const COPY_BACKOFF: Duration = Duration::from_secs(1);

/// What the builder works with.
pub struct BuildRooms {
    /// The records.
    pub store: Store,
    /// What runs the instances.
    pub driver: Arc<dyn Driver>,
    /// Where images are kept.
    pub images: Arc<dyn ImageSource>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// The reconciler. See the module.
pub struct ImageBuild {
    rooms: BuildRooms,
    subscription: Subscription,
    changed: Notify,
    waiting: parking_lot::Mutex<Waiting>,
}

/// Images whose copy failed in passing.
#[derive(Default)]
struct Waiting {
    attempts: std::collections::HashMap<String, (u32, Instant)>,
}

/// What an activation did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct BuildStatus {
    /// Images found in the image store and recorded.
    pub found: usize,
    /// Images copied from instances.
    pub made: usize,
    /// Images that failed for good.
    pub failed: usize,
    /// Images removed.
    pub removed: usize,
}

/// Why an image was not made.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error("the instance {0} does not exist any more")]
    NoInstance(String),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Files(#[from] ImageSourceError),
    #[error("copying the instance's disk took longer than {} s", COPY_TIMEOUT.as_secs())]
    Slow,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BuildError {
    fn class(&self) -> ErrorClass {
        match self {
            BuildError::NoInstance(_) => ErrorClass::Caller,
            BuildError::Driver(e) => e.class(),
            BuildError::Files(e) => e.class,
            BuildError::Slow => ErrorClass::Transient,
            BuildError::Store(e) => e.class(),
        }
    }

    fn reason(&self) -> StateReason {
        let code = match self.class() {
            ErrorClass::Caller => "Client.InvalidInstanceID.NotFound",
            ErrorClass::Capacity => "Client.VolumeLimitExceeded",
            _ => "Server.InternalError",
        };
        StateReason { code: code.into(), message: format!("{code}: {self}") }
    }
}

impl ImageBuild {
    /// A builder over these rooms.
    pub fn new(rooms: BuildRooms) -> ImageBuild {
        let subscription = rooms.store.subscribe::<Image>();
        ImageBuild { rooms, subscription, changed: Notify::new(), waiting: parking_lot::Mutex::default() }
    }

    /// Records what the image store has and the records have not.
    async fn adopt(&self) -> usize {
        let listed = match self.rooms.images.list().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "the image store cannot be read");
                return 0;
            }
        };
        let new: Vec<FoundImage> = self
            .rooms
            .store
            .read(|r| listed.into_iter().filter(|f| r.get::<Image>(&f.id).is_none()).collect());
        if new.is_empty() {
            return 0;
        }
        let now = self.rooms.clock.now();
        let adopted = self
            .rooms
            .store
            .transact::<_, StoreError>(|tx| Ok(new.iter().filter(|f| images::adopt(tx, f, now)).count()))
            .await;
        match adopted {
            Ok(n) => {
                tracing::info!(images = n, "found in the image store");
                n
            }
            Err(error) => {
                tracing::warn!(%error, "found images could not be recorded");
                0
            }
        }
    }

    /// Images that are to be made now.
    fn pending(&self) -> Vec<Arc<Image>> {
        let now = Instant::now();
        let waiting = self.waiting.lock();
        let ready =
            |i: &Arc<Image>| waiting.attempts.get(&i.id).is_none_or(|(_, not_before)| *not_before <= now);
        self.rooms.store.read(|r| {
            let pending = r.list_by::<Image>("state", ImageState::Pending.name());
            pending.into_iter().filter(|i| ready(i) && images::can_be_copied(r, i)).collect()
        })
    }

    async fn copy(&self, image: &Image) -> Result<u64, BuildError> {
        let source = image.source_instance_id.clone().unwrap_or_default();
        let alive = |i: &Arc<Instance>| {
            matches!(i.state, InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped)
        };
        if !self.rooms.store.get::<Instance>(&source).is_some_and(|i| alive(&i)) {
            return Err(BuildError::NoInstance(source));
        }
        self.rooms.store.settled().await?;
        let target = self.rooms.images.prepare(&image.id).await?;
        let copy = self.rooms.driver.create_image(&source, &target);
        let layers = tokio::time::timeout(COPY_TIMEOUT, copy).await.map_err(|_| BuildError::Slow)??;
        Ok(self.rooms.images.commit(image, &layers).await?)
    }

    /// Makes one image. Says whether it is there now, or failed for good; neither if it is tried again.
    async fn make(&self, image: &Image) -> Result<Option<bool>, StoreError> {
        let outcome = self.copy(image).await;
        let error = match outcome {
            Ok(size_bytes) => {
                self.waiting.lock().attempts.remove(&image.id);
                let now = self.rooms.clock.now();
                self.rooms
                    .store
                    .transact::<_, StoreError>(|tx| {
                        images::complete(tx, &image.id, size_bytes, now);
                        Ok(())
                    })
                    .await?;
                return Ok(Some(true));
            }
            Err(error) => error,
        };
        if error.class() == ErrorClass::Transient {
            let mut waiting = self.waiting.lock();
            let (n, not_before) = waiting.attempts.entry(image.id.clone()).or_insert((0, Instant::now()));
            *n += 1;
            *not_before = Instant::now() + COPY_BACKOFF * (1 << (*n - 1).min(5));
            if *n < COPY_ATTEMPTS_MAX {
                return Ok(None);
            }
        }
        self.waiting.lock().attempts.remove(&image.id);
        tracing::warn!(image = %image.id, %error, "the image could not be made");
        if let Err(error) = self.rooms.images.discard(&image.id).await {
            tracing::warn!(image = %image.id, %error, "what was made of a failed image could not be removed");
        }
        let reason = error.reason();
        self.rooms
            .store
            .transact::<_, StoreError>(|tx| {
                images::fail(tx, &image.id, reason);
                Ok(())
            })
            .await?;
        Ok(Some(false))
    }

    /// Removes deregistered images that no instance needs.
    async fn remove(&self) -> usize {
        let gone = self.rooms.store.list_by::<Image>("state", ImageState::Deregistered.name());
        if gone.is_empty() {
            return 0;
        }
        let needed: HashSet<String> = self.rooms.store.read(|r| {
            let alive = r.iter::<Instance>().filter(|i| i.state.is_alive());
            let of_instances = alive.flat_map(|i| {
                let next = i.root_replacement.as_ref().map(|asked| asked.image_id.clone());
                [Some(i.image_id.clone()), next].into_iter().flatten()
            });
            let of_members =
                r.iter::<Member>().filter_map(|m| m.root_target.as_ref().map(|t| t.image_id.clone()));
            of_instances.chain(of_members).collect()
        });
        let mut removed = 0;
        for image in gone.iter().filter(|i| !needed.contains(&i.id)) {
            if self.rooms.store.settled().await.is_err() {
                break;
            }
            if let Err(error) = self.rooms.images.discard(&image.id).await {
                tracing::warn!(image = %image.id, %error, "a deregistered image could not be removed");
                continue;
            }
            let now = self.rooms.clock.now();
            let dropped = self
                .rooms
                .store
                .transact::<_, StoreError>(|tx| {
                    images::forget(tx, &image.id, now);
                    Ok(())
                })
                .await;
            removed += usize::from(dropped.is_ok());
        }
        removed
    }
}

impl Reconciler for ImageBuild {
    type Status = BuildStatus;

    fn name(&self) -> &'static str {
        "image_build"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn wake(&self) {
        let due = self.waiting.lock().attempts.values().map(|(_, at)| *at).min();
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // What changed is read from the store, so only that something did matters.
            dirty = self.subscription.next() => drop::<Dirty>(dirty),
            () = self.changed.notified() => {}
            () = timer => {}
        }
    }

    async fn activate(&self) -> BuildStatus {
        let mut status = BuildStatus { found: self.adopt().await, ..BuildStatus::default() };
        // One after the other: a copy is bound by the disk.
        for image in self.pending() {
            match self.make(&image).await {
                Ok(Some(true)) => status.made += 1,
                Ok(Some(false)) => status.failed += 1,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(image = %image.id, %error, "the outcome could not be recorded");
                }
            }
        }
        status.removed = self.remove().await;
        if status.found + status.made > 0 {
            // There may be more that came while this was under way.
            self.changed.notify_one();
        }
        status
    }
}
