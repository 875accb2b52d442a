//! Smithy's RPC v2 with CBOR bodies (RFC 8949), which today's Go SDK speaks to CloudWatch, and so Terraform.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::decode;
pub use write::{encode, encode_error};

/// Major types, the upper three bits of an item's first byte.
mod major {
    pub(super) const UNSIGNED: u8 = 0;
    pub(super) const NEGATIVE: u8 = 1;
    pub(super) const BYTES: u8 = 2;
    pub(super) const TEXT: u8 = 3;
    pub(super) const ARRAY: u8 = 4;
    pub(super) const MAP: u8 = 5;
    pub(super) const TAG: u8 = 6;
}

/// Tag of a time in seconds since 1970.
const TAG_TIME: u64 = 1;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;
const UNDEFINED: u8 = 0xf7;
/// A float of 64 bits follows.
const DOUBLE: u8 = 0xfb;
/// Ends what has no length.
const BREAK: u8 = 0xff;
