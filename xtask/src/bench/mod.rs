//! `cargo xtask bench <what>`: the figures that the README promises, measured on this machine.

mod api;
mod balancer;
mod load;
mod proxies;
mod server;

use clap::Subcommand;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Requests per second of the AWS APIs, signatures verified, on the simulated driver
    Api(api::Args),
    /// CPU per proxied request, as ratios to nginx, HAProxy and Envoy
    Balancer(balancer::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.bench {
        Bench::Api(args) => api::run(args),
        Bench::Balancer(args) => balancer::run(args),
    }
}
