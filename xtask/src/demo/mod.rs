//! `cargo xtask demo`: lab L0 from nothing to a clean machine, on a private server, with real instances.
//!
//! Installs what is missing, builds, starts a server on a fresh data directory and free ports, runs `labs/l0/lab.sh` with the
//! AWS CLI, loads the balancer until the group has grown, lets it shrink, kills an instance, cleans up, and
//! prints what happened when. Any step that fails makes the exit status non-zero.

pub(crate) mod lab;
pub(crate) mod load;
mod name_lookup;
pub(crate) mod server;
pub(crate) mod status;
mod summary;
mod view;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::{process, requirements};
use lab::Lab;
use load::Load;
use server::Server;
pub(crate) use server::lab_root;
use status::GroupStatus;
use summary::Summary;
use view::View;

/// Group and lab name.
const NAME: &str = "counter";
/// Healthy instances that the load must bring about.
const SCALE_OUT_TO: usize = 3;
/// Requests in flight at a time: enough to keep two instances busy at any moment.
pub(crate) const LOAD_CONNECTIONS: usize = 4;
/// Upper bound of the work of one request (the lab's `n`): about a tenth of a second of CPU.
pub(crate) const LOAD_N: u64 = 2_000_000;
/// Requests that one run may send at most, and with AWS's timing, where it takes the group minutes to react.
pub(crate) const LOAD_REQUESTS_MAX: u64 = 20_000;
const LOAD_REQUESTS_SLOW_MAX: u64 = 300_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the summary to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// AWS's own timing: no second-level tags (takes about half an hour)
    #[arg(long)]
    aws_timing: bool,
    /// What runs the instances: auto, container or process
    #[arg(long, default_value = "auto", value_parser = ["auto", "container", "process"])]
    compute: String,
    /// Use this puffer binary instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Keep the data directory (logs, store) for a look afterwards
    #[arg(long)]
    keep: bool,
}

impl Args {
    /// The demo as a test of `binary`.
    pub(crate) fn with_binary(binary: PathBuf) -> Args {
        Args { json: None, aws_timing: false, compute: "auto".to_owned(), binary: Some(binary), keep: false }
    }
}

/// How long things may take, by timing.
struct Limits {
    first_healthy: Duration,
    scale_out: Duration,
    scale_in: Duration,
    replace: Duration,
}

impl Limits {
    fn new(aws_timing: bool) -> Limits {
        let s = Duration::from_secs;
        if aws_timing {
            Limits { first_healthy: s(180), scale_out: s(900), scale_in: s(2400), replace: s(300) }
        } else {
            Limits { first_healthy: s(60), scale_out: s(60), scale_in: s(90), replace: s(60) }
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let view = View::new();
    let mut summary = Summary::new(args.aws_timing);
    let result = run_lab(args, &view, &mut summary);
    if let Err(error) = &result {
        summary.failed(&format!("{error:#}"));
    }
    view.finish();
    summary.print();
    if let Some(file) = &args.json {
        std::fs::write(file, summary.to_json()?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    result
}

fn run_lab(args: &Args, view: &View, summary: &mut Summary) -> anyhow::Result<()> {
    let compute = choose_compute(args, view)?;
    summary.compute = compute.to_owned();
    let python = summary.step(view, "AWS CLI", requirements::python)?;
    let binary = match &args.binary {
        Some(binary) => binary.canonicalize().with_context(|| format!("no {}", binary.display()))?,
        None => summary.step(view, "build", build)?,
    };
    let server = summary.step(view, "server", || Server::start(&binary, compute, args.keep))?;
    let outcome = run_steps(args, view, summary, &server, &python);
    if outcome.is_err() {
        server.show_log_tail();
    }
    // Also after a failure: nothing may stay behind.
    let cleaned = summary.step(view, "stop and check", || server.stop());
    outcome.and(cleaned)
}

fn run_steps(
    args: &Args,
    view: &View,
    summary: &mut Summary,
    server: &Server,
    python: &std::path::Path,
) -> anyhow::Result<()> {
    let limits = Limits::new(args.aws_timing);
    let image = summary.step(view, "base image", || server.lab_image())?;
    let lab = Lab::new(server, python, NAME, args.aws_timing)?;
    for step in ["find_network", "make_key_pair", "make_security_group"] {
        summary.step(view, step, || lab.run(step, &[]))?;
    }
    summary.step(view, "launch_first_instance", || lab.run("launch_first_instance", &[&image]))?;
    for step in ["make_image", "make_launch_template", "make_load_balancer", "make_group"] {
        summary.step(view, step, || lab.run(step, &[]))?;
    }
    let address = summary.step(view, "first healthy instance", || {
        wait_for_group(server, view, limits.first_healthy, |g| g.healthy >= 1)?;
        let name = lab.remembered("DNS_NAME")?;
        server.resolve(&name)
    })?;
    summary.step(view, "answer through the balancer", || load::get_once(address, "/?n=1000", "500500"))?;

    let requests_max = if args.aws_timing { LOAD_REQUESTS_SLOW_MAX } else { LOAD_REQUESTS_MAX };
    let load = Load::start(address, LOAD_N, LOAD_CONNECTIONS, requests_max);
    let grown = summary.step(view, "scale-out under load", || {
        wait_for_group(server, view, limits.scale_out, |g| g.healthy >= SCALE_OUT_TO)
    });
    summary.load(load.stop());
    summary.peak(grown?.in_service);
    summary.check_load()?;
    let shrunk = summary.step(view, "scale-in without load", || {
        wait_for_group(server, view, limits.scale_in, |g| {
            g.desired == 1 && g.in_service == 1 && g.members.len() == 1
        })
    })?;
    let victim = shrunk.members.first().map(|m| m.instance_id.clone()).context("a group without a member")?;
    summary.step(view, "replace a killed instance", || {
        lab.aws(&["ec2", "terminate-instances", "--instance-ids", &victim])?;
        wait_for_group(server, view, limits.replace, |g| {
            g.healthy == 1 && g.members.iter().all(|m| m.instance_id != victim)
        })
    })?;
    summary.step(view, "clean_up", || lab.run("clean_up", &[]))
}

fn wait_for_group(
    server: &Server,
    view: &View,
    limit: Duration,
    done: impl Fn(&GroupStatus) -> bool,
) -> anyhow::Result<GroupStatus> {
    process::wait_for("the group", limit, || {
        let group = server.group(NAME)?;
        view.show(&group);
        if group.members.len() > 5 {
            bail!("{} instances in a group of at most 5", group.members.len());
        }
        Ok(if done(&group) { Ok(group) } else { Err(group.line()) })
    })
}

/// Containers where the machine allows them; else processes, and says so.
fn choose_compute(args: &Args, view: &View) -> anyhow::Result<&'static str> {
    let wants_container = args.compute == "container" || (args.compute == "auto" && process::is_root());
    if !wants_container {
        view.note(
            "Instances are plain processes on loopback addresses: NOT isolated from each other or from you.",
        );
        if args.compute == "auto" {
            view.note("Run as root for real containers.");
        }
        return Ok("process");
    }
    match requirements::container() {
        Ok(()) => Ok("container"),
        Err(error) if args.compute == "auto" => {
            view.note(&format!("{error:#}. Instances are plain processes: NOT isolated."));
            Ok("process")
        }
        Err(error) => Err(error),
    }
}

/// The release binary.
fn build() -> anyhow::Result<PathBuf> {
    process::run(
        Command::new("cargo").args(["build", "--release", "--package", "puffer"]).current_dir(crate::root()),
    )?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root().join("target"), PathBuf::from);
    Ok(target.join("release/puffer"))
}
