//! The data plane as its clients, its targets and its control plane see it: raw bytes on loopback, with targets that
//! follow a script. Every wait is for a value, and bounded.

#![allow(clippy::unwrap_used)]

mod classic;
mod control;
mod faults;
mod forwarding;
mod framing;
mod harness;
mod health;
mod lifecycle;
