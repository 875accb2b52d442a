//! The container driver: the contract, then what a machine of its own must be.

mod confinement;
mod crash;
mod life;
pub(crate) mod machine;
mod network;

crate::contract_tests!(machine::Machine::new());
