use std::path::PathBuf;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use super::bounded_log::BoundedLog;
use crate::clock::SystemClock;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The control socket
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Worker threads; by default one per CPU but the first, at least one
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Runs the data plane of the load balancers until it is asked to stop.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("PUFFER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(BoundedLog::of_stderr())
        .with_ansi(false)
        .init();
    puffer_balancer::run(puffer_balancer::Options {
        socket: args.socket,
        threads: args.threads,
        clock: Arc::new(SystemClock),
        seed: rand::random(),
        finish_limit: puffer_balancer::FINISH_LIMIT,
    })?;
    Ok(())
}
