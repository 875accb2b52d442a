//! Parsers that only this crate sees, for fuzzing.

use std::path::Path;

/// Unpacks a tar archive, whole or damaged, over `target`; as a layer of an OCI image, if `layered`.
pub fn unpack(archive: &[u8], target: &Path, layered: bool) {
    // Most are refused; what counts is what is on disk afterwards.
    let _ = crate::image::unpack(archive, target, layered);
}
