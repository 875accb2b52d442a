//! The contract suite against every driver, and what only one driver has.

#![allow(clippy::unwrap_used)]

#[path = "contract/container.rs"]
mod container;
