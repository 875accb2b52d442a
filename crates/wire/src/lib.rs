//! Floor 0: the AWS protocols, bytes ⇄ shapes.
//!
//! Shapes are plain structs that know their [`Schema`] and can be walked by member number ([`Shape`]). So each protocol has
//! one codec that serves every shape of every service, writes straight into the output buffer and reads straight into the
//! struct, without a tree in between.

pub mod schema;
pub mod value;

mod fault;

pub use fault::Fault;
pub use schema::{ErrorSchema, Kind, Member, Operation, OperationSchema, Protocol, Schema, ServiceSchema};
pub use value::{Blob, EpochMillis, Shape, Slot, Value, ValueRef};
