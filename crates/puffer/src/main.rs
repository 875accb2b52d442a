//! Puffer: EC2 Auto Scaling for your own Linux machines. This crate is the binary: it chooses adapters, wires the rooms
//! together and is the command line.

mod cli;
mod clock;
mod data_dir;
mod door;
mod server;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A product that can break its own rules is none.
const _: () = assert!(!puffer_core::mutation::POSSIBLE, "puffer is not built with the feature `mutations`");

fn main() -> ExitCode {
    // The container driver re-executes this program as its helper, which must clone while it has a single thread.
    let mut words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    if words.next().as_deref() == Some(puffer_compute::container::HELPER_WORD) {
        let words: Vec<String> = words.collect();
        return ExitCode::from(puffer_compute::container::helper_main(&words));
    }
    cli::run()
}
