//! The JSON protocols' bodies.

mod read;
mod write;

pub use read::{decode, decode_error};
pub(crate) use write::exception_name;
pub use write::{encode, encode_error};
