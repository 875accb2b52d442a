//! The API's figures: 100 groups, 16 connections, everything signed and verified, writes durable before they are answered.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::load::{self, Client, Figures};
use super::machine;
use super::server::{self, Server};

const N_GROUPS: usize = 100;
const N_CONNECTIONS: usize = 16;

/// Name, requests per second to reach.
const DESCRIBE_ONE: (&str, f64) = ("DescribeAutoScalingGroups, one group", 40_000.0);
const DESCRIBE_FIFTY: (&str, f64) = ("DescribeAutoScalingGroups, 50 groups", 8_000.0);
const SET_DESIRED: (&str, f64) = ("SetDesiredCapacity, durable", 8_000.0);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A puffer binary, instead of building one with optimizations
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Length of each measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Also write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let binary = server::binary(&args.binary)?;
    let server = Server::start(&binary, &[])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let length = Duration::from_secs(args.seconds);
    let rows = runtime.block_on(async {
        prepare(&server).await.context("cannot make the groups")?;
        let one = |i: usize| {
            (i..N_GROUPS)
                .step_by(N_CONNECTIONS)
                .map(|g| format!("{DESCRIBE}&AutoScalingGroupNames.member.1=bench-{g}"))
                .collect()
        };
        let fifty = |_| vec![format!("{DESCRIBE}&MaxRecords=50")];
        // Each connection has groups of its own and moves them between two sizes, so that every call changes something.
        let set = |i: usize| {
            let sizes =
                |g| [1, 2].map(|n| format!("{SET}&AutoScalingGroupName=bench-{g}&DesiredCapacity={n}"));
            (i..N_GROUPS).step_by(N_CONNECTIONS).flat_map(sizes).collect()
        };
        let mut rows = Vec::new();
        rows.push((DESCRIBE_ONE, load::run(&server, "autoscaling", N_CONNECTIONS, length, one).await?));
        rows.push((DESCRIBE_FIFTY, load::run(&server, "autoscaling", N_CONNECTIONS, length, fifty).await?));
        rows.push((SET_DESIRED, load::run(&server, "autoscaling", N_CONNECTIONS, length, set).await?));
        anyhow::Ok(rows)
    })?;
    show(&rows);
    if let Some(file) = &args.json {
        let rows = rows.iter().map(|((name, goal), f)| {
            json!({
                "name": name, "goal_per_s": goal, "per_s": f.per_second, "p50_us": f.p50_us, "p99_us": f.p99_us,
                "answer_bytes": f.answer_bytes, "server_cpu_us_per_request": f.cpu_us_per_request,
                "generator_cpu_us_per_request": f.own_cpu_us_per_request, "other_processes_cpus": f.others_cpus,
            })
        });
        std::fs::write(file, serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?)?;
    }
    for ((name, goal), f) in &rows {
        anyhow::ensure!(f.per_second >= *goal, "{name}: {:.0}/s, of {goal:.0}/s to reach", f.per_second);
    }
    Ok(())
}

const DESCRIBE: &str = "Action=DescribeAutoScalingGroups&Version=2011-01-01";
const SET: &str = "Action=SetDesiredCapacity&Version=2011-01-01";

/// Makes the groups. They launch nothing, so that what is measured is the API and the store.
async fn prepare(server: &Server) -> anyhow::Result<()> {
    let mut ec2 = Client::connect(&server.endpoint, "ec2").await?;
    ec2.call(
        "Action=CreateLaunchTemplate&Version=2016-11-15&LaunchTemplateName=bench\
         &LaunchTemplateData.ImageId=ami-0123456789abcdef0&LaunchTemplateData.InstanceType=t3.micro",
    )
    .await?;
    let mut autoscaling = Client::connect(&server.endpoint, "autoscaling").await?;
    for g in 0..N_GROUPS {
        let create = "Action=CreateAutoScalingGroup&Version=2011-01-01&MinSize=0&MaxSize=4&LaunchTemplate.LaunchTemplateName=bench";
        let zones = "AvailabilityZones.member.1=us-east-1a&AvailabilityZones.member.2=us-east-1b";
        autoscaling.call(&format!("{create}&{zones}&AutoScalingGroupName=bench-{g}")).await?;
        let suspend = "Action=SuspendProcesses&Version=2011-01-01&ScalingProcesses.member.1=Launch&ScalingProcesses.member.2=Terminate";
        autoscaling.call(&format!("{suspend}&AutoScalingGroupName=bench-{g}")).await?;
    }
    Ok(())
}

fn show(rows: &[((&str, f64), Figures)]) {
    eprintln!(
        "{:<38} {:>8} {:>8} {:>7} {:>7} {:>7} {:>11} {:>11} {:>11}",
        "", "goal/s", "per s", "p50 µs", "p99 µs", "bytes", "CPU µs/req", "generator's", "others' CPUs"
    );
    for ((name, goal), f) in rows {
        eprintln!(
            "{name:<38} {goal:>8.0} {:>8.0} {:>7} {:>7} {:>7} {:>11.1} {:>11.1} {:>11.2}",
            f.per_second,
            f.p50_us,
            f.p99_us,
            f.answer_bytes,
            f.cpu_us_per_request,
            f.own_cpu_us_per_request,
            f.others_cpus
        );
    }
    eprintln!(
        "\nThe generator runs on the same {} processors; what other processes take is missing to both.",
        machine::n_cpus()
    );
}
