//! CPU per proxied request, against nginx, HAProxy and Envoy: the same targets, the same load generator, one thread each,
//! in interleaved rounds of one run. Ratios are taken round by round, so that what else the machine does falls on all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::json;

use super::median;
use super::proxies::{self, Proxy};
use crate::{process, requirements};

const N_CONNECTIONS: u32 = 64;
/// Peer and the ratio of our CPU to its, at most.
const GOALS: [(&str, f64); 3] = [("nginx", 1.15), ("haproxy", 1.05), ("envoy", 0.6)];
const OURS: &str = "puffer";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A puffer binary, instead of building one with optimizations
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Length of each measurement
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Measurements of each proxy
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Leave Envoy out
    #[arg(long)]
    no_envoy: bool,
    /// Also write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One measurement.
struct Sample {
    cpu_us: f64,
    per_second: f64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let binary = super::server::binary(&args.binary)?;
    requirements::proxies()?;
    let dir = tempfile::Builder::new().prefix("puffer-bench-").tempdir()?;
    let _targets = proxies::targets(dir.path())?;
    let mut all = vec![
        proxies::puffer(dir.path(), &binary)?,
        proxies::nginx(dir.path())?,
        proxies::haproxy(dir.path())?,
    ];
    if !args.no_envoy {
        all.push(proxies::envoy(dir.path(), &requirements::envoy()?)?);
    }
    for proxy in &all {
        load(proxy, 1).with_context(|| format!("warming up {}", proxy.name))?;
    }
    let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for round in 0..args.rounds {
        // Each round begins with another one, so that nobody always follows the same.
        for i in 0..all.len() {
            let proxy = &all[(round + i) % all.len()];
            let before = proxy.cpu_ns()?;
            let (n, per_second) = load(proxy, args.seconds)?;
            let cpu_us = (proxy.cpu_ns()? - before) as f64 / 1e3 / n as f64;
            eprintln!(
                "round {}  {:8} {cpu_us:6.2} µs of CPU per request, {per_second:7.0} requests/s",
                round + 1,
                proxy.name
            );
            samples.entry(proxy.name).or_default().push(Sample { cpu_us, per_second });
        }
    }
    report(args, &samples)
}

/// Requests answered, and how many per second. Any that was not answered by 200 is an error.
fn load(proxy: &Proxy, seconds: u64) -> anyhow::Result<(u64, f64)> {
    let text = process::output(
        Command::new("wrk")
            .args(["--threads", "1", "--connections", &N_CONNECTIONS.to_string()])
            .args(["--duration", &format!("{seconds}s")])
            .arg(format!("http://{}/", proxy.address)),
    )?;
    if let Some(line) = text.lines().find(|l| l.contains("Non-2xx") || l.contains("Socket errors")) {
        bail!("{}: {}", proxy.name, line.trim());
    }
    let number =
        |line: Option<&str>| line.and_then(|l| l.split_whitespace().find_map(|w| w.parse::<f64>().ok()));
    let n = number(text.lines().find(|l| l.contains(" requests in ")));
    let per_second = number(text.lines().find(|l| l.starts_with("Requests/sec")));
    let (Some(n), Some(per_second)) = (n, per_second) else { bail!("wrk said: {text}") };
    Ok((n as u64, per_second))
}

fn report(args: &Args, samples: &BTreeMap<&str, Vec<Sample>>) -> anyhow::Result<()> {
    let ours = &samples[OURS];
    let mut missed = Vec::new();
    let mut rows = Vec::new();
    eprintln!(
        "\n{:8} {:>22} {:>12} {:>20} {:>6}",
        "proxy", "CPU per request, µs", "requests/s", "puffer's CPU ÷ its", "goal"
    );
    for (name, theirs) in samples {
        let cpu_us = median(theirs.iter().map(|s| s.cpu_us));
        let per_second = median(theirs.iter().map(|s| s.per_second));
        let ratio = median(ours.iter().zip(theirs).map(|(o, t)| o.cpu_us / t.cpu_us));
        let goal = GOALS.iter().find(|(peer, _)| peer == name).map(|g| g.1);
        let goal_text = goal.map(|g| format!("{g:.2}")).unwrap_or_default();
        eprintln!("{name:8} {cpu_us:22.2} {per_second:12.0} {ratio:20.2} {goal_text:>6}");
        rows.push(json!({"proxy": name, "cpu_us": cpu_us, "requests_per_s": per_second, "ratio": ratio, "goal": goal}));
        if goal.is_some_and(|g| ratio > g) {
            missed.push(*name);
        }
    }
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&rows)?)?;
    }
    if !missed.is_empty() {
        bail!("goals missed against {}", missed.join(", "));
    }
    Ok(())
}
