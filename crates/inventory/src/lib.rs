//! The records of everything Puffer manages, and the transactions over them that both `api` and `control` need:
//! launching instances, ending them, registering targets, changing a group's desired capacity.
//!
//! A function here takes a `Transaction` and either changes the records or says why not; it never acts on the
//! world. So one request, or one step of a reconciler, is one durable transaction.

#[cfg(test)]
mod fixtures;
mod schema;
pub mod targets;

pub use schema::schema;
