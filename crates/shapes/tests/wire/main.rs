//! The codecs of `puffer-wire` on real shapes. They are tested here because floor 0 has no shapes of its own.

#![allow(clippy::unwrap_used)]

mod errors;
mod goldens;
mod goldens_2009;
mod patterns;
mod query;
mod random;
mod robust;
mod round_trip;
mod validation;
