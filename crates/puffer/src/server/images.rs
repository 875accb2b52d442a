//! The image store as the control plane needs it. Its calls copy and hash files, so they run on threads of their own.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use puffer_compute::image::{self, ImageError, ImageStore, NewImage, Staged};
use puffer_compute::process::BundleKind;
use puffer_control::{ImageSource, ImageSourceError};
use puffer_core::ec2::Image;
use puffer_core::{ErrorClass, Timestamp};
use puffer_inventory::images::FoundImage;
use tokio::time::Instant;

/// `<data>/images` behind the control plane's face.
pub(super) struct StoredImages {
    store: Arc<ImageStore>,
    /// Images in the making, by id.
    staged: Arc<Mutex<HashMap<String, Staged>>>,
    /// When each image's files were last found to be as they were made.
    verified: Arc<Mutex<HashMap<String, Instant>>>,
}

/// How long an image counts as sound. Listing its files takes milliseconds per thousand, so not every launch does it.
const SOUND_FOR: Duration = Duration::from_secs(300);

impl StoredImages {
    pub(super) fn new(store: ImageStore) -> StoredImages {
        // What a killed server or command line left half-made; work in progress is locked by its maker and stays.
        if let Err(error) = store.sweep() {
            tracing::warn!(%error, "cannot remove unfinished images");
        }
        StoredImages { store: Arc::new(store), staged: Arc::default(), verified: Arc::default() }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ImageStore, &Mutex<HashMap<String, Staged>>) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageSourceError> {
        let (store, staged) = (Arc::clone(&self.store), Arc::clone(&self.staged));
        match tokio::task::spawn_blocking(move || work(&store, &staged)).await {
            Ok(result) => result.map_err(|e| ImageSourceError { class: e.class(), reason: e.to_string() }),
            Err(error) => Err(ImageSourceError { class: ErrorClass::Bug, reason: error.to_string() }),
        }
    }
}

#[async_trait]
impl ImageSource for StoredImages {
    async fn layers(&self, image_id: &str) -> Result<Vec<PathBuf>, ImageSourceError> {
        let id = image_id.to_owned();
        let verified = Arc::clone(&self.verified);
        self.run(move |store, _| {
            // Looked at by each launch: a missing layer shows at once.
            let image = store.image_ref(&id)?;
            // Held meanwhile, so that many launches of one image list it once.
            let mut verified = verified.lock();
            // What processes run may write to its own tree; a root file system is read-only for its instances.
            let may_change = store.get(&id)?.kind == BundleKind::Process;
            if !may_change && verified.get(&id).is_none_or(|at| at.elapsed() >= SOUND_FOR) {
                // One found damaged is looked at again by the next launch: somebody may have mended it.
                store.verify(&id)?;
                verified.insert(id, Instant::now());
            }
            Ok(image.layers)
        })
        .await
    }

    async fn prepare(&self, image_id: &str) -> Result<PathBuf, ImageSourceError> {
        let id = image_id.to_owned();
        self.run(move |store, staged| {
            // An earlier attempt's place is given up before the new one is made: they are the same directory.
            drop(staged.lock().remove(&id));
            let place = store.stage(NewImage {
                id: id.clone(),
                name: id.clone(),
                description: None,
                aliases: Vec::new(),
                created_at: Timestamp::default(),
            })?;
            let root = place.root();
            staged.lock().insert(id, place);
            Ok(root)
        })
        .await
    }

    async fn commit(&self, image: &Image, layers: &[PathBuf]) -> Result<u64, ImageSourceError> {
        let (image, layers) = (image.clone(), layers.to_vec());
        self.run(move |store, staged| {
            let Some(mut place) = staged.lock().remove(&image.id) else {
                // Committed by an attempt whose answer was lost.
                return store.get(&image.id).map(|manifest| manifest.size_bytes);
            };
            place.describe(&image.name, image.description.as_deref(), image.created_at);
            let source = image::ImageSource::Instance {
                instance_id: image.source_instance_id.clone().unwrap_or_default(),
            };
            place.adopt(layers, source).map(|manifest| manifest.size_bytes)
        })
        .await
    }

    async fn discard(&self, image_id: &str) -> Result<(), ImageSourceError> {
        let id = image_id.to_owned();
        let verified = Arc::clone(&self.verified);
        self.run(move |store, staged| {
            drop(staged.lock().remove(&id));
            verified.lock().remove(&id);
            store.remove(&id)?;
            // An image stays until no instance needs it, so what no image needs now nobody does.
            store.collect(&HashSet::new())
        })
        .await
    }

    async fn list(&self) -> Result<Vec<FoundImage>, ImageSourceError> {
        self.run(|store, _| {
            let (good, damaged) = store.list()?;
            for error in damaged {
                tracing::warn!(%error, "an image cannot be used");
            }
            Ok(good
                .into_iter()
                .map(|m| FoundImage {
                    id: m.id,
                    name: m.name,
                    description: m.description,
                    architecture: m.architecture,
                    created_at: m.created_at,
                    size_bytes: m.size_bytes,
                    aliases: m.aliases,
                })
                .collect())
        })
        .await
    }
}
