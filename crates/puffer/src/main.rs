//! Puffer: EC2 Auto Scaling for your own Linux machines. This crate is the binary: it chooses adapters, wires the rooms
//! together and is the command line.

mod cli;
mod clock;
mod data_dir;
mod server;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
