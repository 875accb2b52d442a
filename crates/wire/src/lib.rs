//! Floor 0: the AWS protocols, bytes ⇄ shapes.
//!
//! Shapes are plain structs that know their [`Schema`] and can be walked by member number ([`Shape`]). So each protocol has
//! one codec that serves every shape of every service, writes straight into the output buffer and reads straight into the
//! struct, without a tree in between.

pub mod cbor;
pub mod json;
pub mod limits;
pub mod query;
pub mod reply;
pub mod route;
pub mod schema;
pub mod sigv4;
pub mod validate;
pub mod value;
pub mod xml;

mod body;
mod fault;
mod head;
mod time;

pub use body::{Form, decode_input, decode_output, encode_input, inflate};
pub use fault::Fault;
pub use head::RequestHead;
pub use reply::Reply;
pub use route::{Lost, Route, route};
pub use schema::{ErrorSchema, Kind, Member, Operation, OperationSchema, Protocol, Schema, ServiceSchema};
pub use value::{Blob, EpochMillis, Shape, Slot, Value, ValueRef};
