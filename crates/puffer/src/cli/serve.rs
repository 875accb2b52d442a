use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;

use super::env::DEFAULT_DATA_DIR;
use crate::server;

/// What runs the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compute {
    /// Containers where the machine allows them, else plain processes
    Auto,
    /// Containers (needs root)
    Container,
    /// Plain processes on loopback addresses; no isolation
    Process,
    /// Nothing real: instances in memory, for tests and rehearsals
    Simulated,
}

#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Args {
    /// Where the server keeps everything
    #[arg(long, env = "PUFFER_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    pub(crate) data_dir: PathBuf,
    /// Address of the AWS APIs; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:4780")]
    pub(crate) listen: SocketAddr,
    /// What runs the instances
    #[arg(long, value_enum, default_value_t = Compute::Auto)]
    pub(crate) compute: Compute,
    /// Account id
    #[arg(long, default_value = "123456789012", value_parser = account_id)]
    pub(crate) account: String,
    /// Region
    #[arg(long, default_value = "us-east-1")]
    pub(crate) region: String,
    /// CIDR block of the default VPC (a /16); by default one that is free on this machine
    #[arg(long)]
    pub(crate) vpc_cidr: Option<String>,
    /// Do not verify signatures (loopback addresses only)
    #[arg(long)]
    pub(crate) no_auth: bool,
    /// Simulated compute: launch any well-formed image id
    #[arg(long)]
    pub(crate) any_image: bool,
    /// Simulated compute: milliseconds from launch to running
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub(crate) boot_time: u64,
    /// Address of the DNS server for load balancers' names; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) dns_listen: SocketAddr,
}

fn account_id(text: &str) -> Result<String, String> {
    if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err("an account id has 12 digits".to_owned())
    }
}

/// Checks what clap cannot, then serves until a signal.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    if args.no_auth && !args.listen.ip().is_loopback() {
        bail!("--no-auth is allowed only with a loopback --listen address, not {}", args.listen);
    }
    if args.any_image && args.compute != Compute::Simulated {
        bail!("--any-image needs --compute simulated: the other drivers boot real images");
    }
    server::run(args)
}
