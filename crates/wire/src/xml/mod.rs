//! The XML half of the query protocols: answers.

mod read;
mod write;

pub use read::{decode, decode_error};
pub(crate) use write::non_finite;
pub use write::{encode, encode_error};
