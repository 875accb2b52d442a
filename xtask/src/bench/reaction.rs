//! From a load step to help: the lab's group with second-level tags has one instance; load begins; a new instance is there when
//! its host name first comes back through the load balancer with a 200.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;

use super::median;
use crate::demo::lab::Lab;
use crate::demo::load::{Load, get};
use crate::demo::server::Server;
use crate::demo::{LOAD_CONNECTIONS, LOAD_N, LOAD_REQUESTS_MAX};
use crate::process::{self, now};
use crate::requirements;

/// From the first request of the load to the first answer of a new instance, seconds.
const GOAL_S: f64 = 10.0;
/// Group and lab name.
const NAME: &str = "counter";
/// Between two looks who answers.
const POLL_GAP: Duration = Duration::from_millis(20);
/// Longest that a step may take.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A puffer binary, instead of building one with optimizations
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Load steps
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What runs the instances: container or process
    #[arg(long, default_value = "container", value_parser = ["container", "process"])]
    compute: String,
    /// Also write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let binary = super::server::binary(&args.binary)?.canonicalize()?;
    let compute = if args.compute == "process" { "process" } else { "container" };
    if compute == "container" {
        ensure!(process::is_root(), "containers need root; or: --compute process");
        requirements::container()?;
    }
    let python = requirements::python()?;
    let server = Server::start(&binary, compute, false)?;
    let outcome = measure(args, &server, &python);
    if outcome.is_err() {
        server.show_log_tail();
    }
    let stopped = server.stop();
    let times = outcome?;
    stopped?;
    report(args, &times)
}

/// When, after the load's begin, what was first seen; seconds.
struct Times {
    desired: f64,
    answers: f64,
}

fn measure(args: &Args, server: &Server, python: &std::path::Path) -> anyhow::Result<Vec<Times>> {
    let image = server.lab_image()?;
    let lab = Lab::new(server, python, NAME, false)?;
    for step in ["find_network", "make_key_pair", "make_security_group"] {
        lab.run(step, &[])?;
    }
    lab.run("launch_first_instance", &[&image])?;
    for step in ["make_image", "make_launch_template", "make_load_balancer", "make_group"] {
        lab.run(step, &[])?;
    }
    let name = lab.remembered("DNS_NAME")?;
    let mut all = Vec::new();
    for round in 1..=args.rounds {
        wait_for_one(server)?;
        let address = server.resolve(&name)?;
        let times = step(server, address)?;
        eprintln!(
            "round {round}: more wanted after {:.1} s, a new instance answers after {:.1} s",
            times.desired, times.answers
        );
        all.push(times);
    }
    lab.run("clean_up", &[])?;
    Ok(all)
}

/// One healthy instance, and nothing of what was before.
fn wait_for_one(server: &Server) -> anyhow::Result<()> {
    process::wait_for("the group to have one instance", PATIENCE, || {
        let group = server.group(NAME)?;
        let quiet = group.policies.iter().all(|p| p.value.zip(p.target).is_some_and(|(v, t)| v < t));
        let one = group.desired == 1 && group.healthy == 1 && group.members.len() == 1;
        Ok(if one && quiet { Ok(()) } else { Err(group.line()) })
    })
}

fn step(server: &Server, address: SocketAddr) -> anyhow::Result<Times> {
    let who = |n: u64| -> anyhow::Result<String> {
        let (status, body) = get(address, &format!("/?n={n}"))?;
        ensure!(status == 200, "status {status}");
        Ok(body.split(':').next().context("an answer without a name")?.to_owned())
    };
    let old = who(0)?;
    let began = now();
    let load = Load::start(address, LOAD_N, LOAD_CONNECTIONS, LOAD_REQUESTS_MAX);
    let outcome = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            loop {
                if who(0).is_ok_and(|name| name != old) {
                    return Some(began.elapsed().as_secs_f64());
                }
                if began.elapsed() > PATIENCE {
                    return None;
                }
                std::thread::park_timeout(POLL_GAP);
            }
        });
        let desired = process::wait_for("a greater wanted capacity", PATIENCE, || {
            let group = server.group(NAME)?;
            Ok(if group.desired > 1 { Ok(()) } else { Err(group.line()) })
        });
        let desired = desired.map(|()| began.elapsed().as_secs_f64());
        let answers = watching.join().ok().flatten().context("no new instance answered");
        anyhow::Ok((desired?, answers?))
    });
    load.stop();
    let (desired, answers) = outcome?;
    Ok(Times { desired, answers })
}

fn report(args: &Args, times: &[Times]) -> anyhow::Result<()> {
    let answers = || times.iter().map(|t| t.answers);
    let worst = answers().fold(0.0, f64::max);
    eprintln!(
        "load step to a new instance's 200: median {:.1} s, worst {worst:.1} s of {} (at most {GOAL_S})",
        median(answers()),
        times.len()
    );
    if let Some(file) = &args.json {
        let rows: Vec<_> =
            times.iter().map(|t| json!({"desired_s": t.desired, "answers_s": t.answers})).collect();
        std::fs::write(file, serde_json::to_string_pretty(&rows)?)?;
    }
    ensure!(worst <= GOAL_S, "{worst:.1} s from a load step to a new instance's answer");
    Ok(())
}
