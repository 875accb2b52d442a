//! What the control plane needs of the image store.

use std::path::PathBuf;

use async_trait::async_trait;
use puffer_core::ErrorClass;
use puffer_core::ec2::Image;
use puffer_inventory::images::FoundImage;

/// Why an image's files cannot be had or kept.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ImageSourceError {
    /// What can be done about it.
    pub class: ErrorClass,
    /// Why.
    pub reason: String,
}

/// Where images' files are, by image id.
#[async_trait]
pub trait ImageSource: Send + Sync + 'static {
    /// The layers of an image, lowest first.
    async fn layers(&self, image_id: &str) -> Result<Vec<PathBuf>, ImageSourceError>;

    /// A new empty directory for the files of an image to come, on the file system of the store. What an earlier attempt
    /// left under this id is removed first.
    async fn prepare(&self, image_id: &str) -> Result<PathBuf, ImageSourceError>;

    /// Makes the prepared image one of the store's: `layers` are all of its layers, lowest first, the prepared one among
    /// them. Gives the size of its files in bytes.
    async fn commit(&self, image: &Image, layers: &[PathBuf]) -> Result<u64, ImageSourceError>;

    /// Removes an image, prepared or committed; layers that other images or instances use stay. Unknown ids are fine.
    async fn discard(&self, image_id: &str) -> Result<(), ImageSourceError>;

    /// All committed images.
    async fn list(&self) -> Result<Vec<FoundImage>, ImageSourceError>;
}

/// For simulated instances: every image exists and has no files.
#[derive(Debug, Default)]
pub struct NoFiles;

#[async_trait]
impl ImageSource for NoFiles {
    async fn layers(&self, _: &str) -> Result<Vec<PathBuf>, ImageSourceError> {
        Ok(Vec::new())
    }

    async fn prepare(&self, _: &str) -> Result<PathBuf, ImageSourceError> {
        Ok(PathBuf::new())
    }

    async fn commit(&self, _: &Image, _: &[PathBuf]) -> Result<u64, ImageSourceError> {
        Ok(0)
    }

    async fn discard(&self, _: &str) -> Result<(), ImageSourceError> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<FoundImage>, ImageSourceError> {
        Ok(Vec::new())
    }
}
