//! `cargo xtask bench <what>`: the figures that the README promises, measured on this machine.

mod api;
mod balancer;
mod by_hand;
mod fleet;
mod launch;
mod load;
mod machine;
mod metrics;
mod plan;
mod proxies;
mod reaction;
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
    /// Containers: from the API call to running, and to the first answer through a load balancer, as ratio to runc by hand
    Launch(launch::Args),
    /// From a load step to the first answer of a new instance through the load balancer, with second-level tags
    Reaction(reaction::Args),
    /// 20,000 simulated instances in 1,000 groups: time to make them, then CPU and memory while nothing happens
    Fleet(fleet::Args),
    /// Data points per second of PutMetricData, and the memory of a million live series
    Metrics(metrics::Args),
    /// Instructions of deciding a group of 1,000 instances (needs valgrind)
    Plan(plan::Args),
}

/// The figure that is the same on a busy machine as on a quiet one, and so can be a test: instructions of a decision.
pub(crate) fn gate() -> anyhow::Result<()> {
    plan::run(&plan::Args {})
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.bench {
        Bench::Api(args) => api::run(args),
        Bench::Balancer(args) => balancer::run(args),
        Bench::Launch(args) => launch::run(args),
        Bench::Reaction(args) => reaction::run(args),
        Bench::Fleet(args) => fleet::run(args),
        Bench::Metrics(args) => metrics::run(args),
        Bench::Plan(args) => plan::run(args),
    }
}

/// The middle one.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
