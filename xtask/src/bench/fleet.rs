//! A great fleet on the simulated driver: how long it takes from nothing to every instance in service, and what it costs while
//! nothing happens.
//!
//! The groups are made by API calls on sixteen connections; then groups are asked for, a page at a time, until all their
//! members are in service. The fleet is left alone for longer than EC2's five minutes between two datapoints, so that whatever
//! is done for each instance now and then falls into the measurement.

mod balanced;
mod networks;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use super::load::Client;
use super::machine;
use super::server::{self, Server};
use crate::process::now;
use balanced::Balanced;

const N_CONNECTIONS: usize = 16;
/// Groups in one question: DescribeAutoScalingGroups answers at most a hundred.
const PAGE: usize = 100;
/// Between two questions about the same page.
const POLL_GAP: Duration = Duration::from_millis(100);
/// Longest that the fleet may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// After the last instance came into service: its status checks pass and activities end.
const SETTLE: Duration = Duration::from_secs(15);
/// Length of the pieces in which the quiet time is looked at.
const SLICE: Duration = Duration::from_secs(10);

/// From nothing to everything in service, seconds; for fleets of at most [`GOAL_SIZE`].
const GOAL_ALL_S: f64 = 30.0;
/// Of one core, while nothing happens, whatever the fleet.
const GOAL_IDLE: f64 = 0.05;
/// Resident, while nothing happens; for fleets of at most [`GOAL_SIZE`].
const GOAL_RSS_MB: f64 = 600.0;
/// Instances for which growth and memory have goals.
const GOAL_SIZE: usize = 20_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A puffer binary, instead of building one with optimizations
    #[arg(long)]
    binary: Option<PathBuf>,
    #[arg(long, default_value_t = 1000)]
    groups: usize,
    /// Instances of each group
    #[arg(long, default_value_t = 20)]
    size: usize,
    /// Milliseconds from launch to running
    #[arg(long, default_value_t = 500)]
    boot_time: u64,
    /// How long the fleet is watched while nothing happens
    #[arg(long, default_value_t = 310)]
    idle_seconds: u64,
    /// Also a target-tracking policy on each group, so two alarms
    #[arg(long)]
    policies: bool,
    /// Also so many plain alarms, made before the fleet
    #[arg(long, default_value_t = 0)]
    alarms: usize,
    /// Also a target group and a listener for each group: every instance is checked by the data plane and gets healthy
    #[arg(long)]
    balanced: bool,
    /// Also write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The way to a full fleet.
struct Growth {
    calls_s: f64,
    all_s: f64,
    cpu_s: f64,
    others_cpus: f64,
}

/// The quiet time.
struct Idle {
    /// Share of one core, in all and in the busiest slice.
    share: f64,
    share_max: f64,
    balancer_share: f64,
    rss_mb: f64,
    peak_mb: f64,
    others_cpus: f64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.groups.is_multiple_of(PAGE), "the number of groups must be a multiple of {PAGE}");
    let binary = server::binary(&args.binary)?;
    let mut more = vec!["--boot-time".to_owned(), args.boot_time.to_string()];
    if args.balanced {
        // The data plane dials its targets: they must be addresses of this machine.
        more.extend(["--vpc-cidr", balanced::VPC_CIDR].map(str::to_owned));
    }
    let server = Server::start(&binary, &more)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (growth, idle) = runtime.block_on(async {
        let balanced = match args.balanced {
            true => Some(Balanced::prepare(&server, args.groups).await?),
            false => None,
        };
        make_alarms(args, &server).await?;
        let growth = grow(args, &server, balanced.as_ref()).await?;
        eprintln!(
            "{} instances in {} groups: calls {:.1} s, all in service after {:.1} s, {:.1} s of CPU (others used {:.2} CPUs)",
            args.groups * args.size,
            args.groups,
            growth.calls_s,
            growth.all_s,
            growth.cpu_s,
            growth.others_cpus
        );
        if let Some(balanced) = &balanced {
            let began = now();
            balanced.wait_healthy(&server, args.size).await?;
            eprintln!("all targets healthy {:.1} s later", began.elapsed().as_secs_f64());
        }
        tokio::time::sleep(SETTLE).await;
        let idle = watch(&server, Duration::from_secs(args.idle_seconds)).await;
        anyhow::Ok((growth, idle))
    })?;
    report(args, &server, &growth, &idle)
}

async fn grow(args: &Args, server: &Server, balanced: Option<&Balanced>) -> anyhow::Result<Growth> {
    let mut ec2 = Client::connect(&server.endpoint, "ec2").await?;
    ec2.call(
        "Action=CreateLaunchTemplate&Version=2016-11-15&LaunchTemplateName=bench\
         &LaunchTemplateData.ImageId=ami-0123456789abcdef0&LaunchTemplateData.InstanceType=t3.micro",
    )
    .await?;
    let networks = match balanced {
        // The default VPC is where the data plane finds its targets.
        Some(_) => Vec::new(),
        None => networks::prepare(&mut ec2, args.groups * args.size).await?,
    };
    let (began, cpu_before, busy_before, own_before) =
        (now(), server.cpu_s(), machine::busy_s(), machine::own_cpu_s());
    let bodies = |g: usize| {
        let place = match networks.as_slice() {
            [] => networks::DEFAULT_ZONES,
            all => &all[g % all.len()],
        };
        let targets = balanced.map(|b| b.of_group(g)).unwrap_or_default();
        let size = args.size;
        let mut bodies = vec![format!(
            "Action=CreateAutoScalingGroup&Version=2011-01-01&AutoScalingGroupName=fleet-{g}&MinSize={size}&MaxSize={size}\
             &DesiredCapacity={size}&LaunchTemplate.LaunchTemplateName=bench{place}{targets}"
        )];
        if args.policies {
            bodies.push(format!(
                "Action=PutScalingPolicy&Version=2011-01-01&AutoScalingGroupName=fleet-{g}&PolicyName=cpu\
                 &PolicyType=TargetTrackingScaling&TargetTrackingConfiguration.TargetValue=50\
                 &TargetTrackingConfiguration.PredefinedMetricSpecification.PredefinedMetricType=ASGAverageCPUUtilization"
            ));
        }
        bodies
    };
    let of_connection = |i| (i..args.groups).step_by(N_CONNECTIONS).flat_map(&bodies).collect();
    on_connections(server, "autoscaling", of_connection).await?;
    let calls_s = began.elapsed().as_secs_f64();
    wait_in_service(args, server, began).await?;
    let all_s = began.elapsed().as_secs_f64();
    let cpu_s = server.cpu_s() - cpu_before;
    let others = machine::busy_s() - busy_before - cpu_s - (machine::own_cpu_s() - own_before);
    Ok(Growth { calls_s, all_s, cpu_s, others_cpus: (others / all_s).max(0.0) })
}

/// Alarms on the groups' CPU, evaluated each minute.
async fn make_alarms(args: &Args, server: &Server) -> anyhow::Result<()> {
    let began = now();
    let (n, n_groups) = (args.alarms, args.groups);
    on_connections(server, "monitoring", move |i| {
        let body = move |a: usize| {
            format!(
                "Action=PutMetricAlarm&Version=2010-08-01&AlarmName=alarm-{a}&Namespace=AWS%2FEC2&MetricName=CPUUtilization\
                 &Statistic=Average&Period=60&EvaluationPeriods=3&Threshold=90&ComparisonOperator=GreaterThanThreshold\
                 &Dimensions.member.1.Name=AutoScalingGroupName&Dimensions.member.1.Value=fleet-{}",
                a % n_groups
            )
        };
        (i..n).step_by(N_CONNECTIONS).map(body).collect()
    })
    .await?;
    if n > 0 {
        eprintln!("{n} alarms made in {:.1} s", began.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Makes the calls of each connection, on all connections at once.
async fn on_connections(
    server: &Server,
    service: &str,
    bodies: impl Fn(usize) -> Vec<String>,
) -> anyhow::Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..N_CONNECTIONS {
        let mut client = Client::connect(&server.endpoint, service).await?;
        let mine = bodies(i);
        tasks.spawn(async move {
            for body in mine {
                client.call(&body).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn wait_in_service(args: &Args, server: &Server, began: Instant) -> anyhow::Result<()> {
    let mut client = Client::connect(&server.endpoint, "autoscaling").await?;
    for first in (0..args.groups).step_by(PAGE) {
        let names: String = (first..first + PAGE)
            .map(|g| format!("&AutoScalingGroupNames.member.{}=fleet-{g}", g - first + 1))
            .collect();
        let ask = format!("Action=DescribeAutoScalingGroups&Version=2011-01-01&MaxRecords={PAGE}{names}");
        loop {
            let answer = client.call(&ask).await?;
            let seen = answer.matches("<LifecycleState>InService</LifecycleState>").count();
            let members = answer.matches("<InstanceId>").count();
            ensure!(members <= PAGE * args.size, "{members} instances in {PAGE} groups of {}", args.size);
            if seen == PAGE * args.size {
                break;
            }
            ensure!(began.elapsed() < PATIENCE, "only {seen} of {} in service", PAGE * args.size);
            tokio::time::sleep(POLL_GAP).await;
        }
    }
    Ok(())
}

async fn watch(server: &Server, length: Duration) -> Idle {
    let balancer = server.balancer_pid();
    let balancer_cpu = || balancer.map_or(0.0, machine::cpu_s);
    let began = now();
    let (cpu, own, busy, plane) = (server.cpu_s(), machine::own_cpu_s(), machine::busy_s(), balancer_cpu());
    let mut shares = Vec::new();
    let mut last = (began, cpu);
    while began.elapsed() < length {
        tokio::time::sleep(SLICE).await;
        let at = (now(), server.cpu_s());
        shares.push((at.1 - last.1) / (at.0 - last.0).as_secs_f64());
        last = at;
    }
    let elapsed_s = began.elapsed().as_secs_f64();
    let per_slice: Vec<String> = shares.iter().map(|s| format!("{:.1}", s * 100.0)).collect();
    eprintln!("idle, % of a core in each {} s: {}", SLICE.as_secs(), per_slice.join(" "));
    let used = server.cpu_s() - cpu;
    let plane_used = balancer_cpu() - plane;
    let others = machine::busy_s() - busy - used - plane_used - (machine::own_cpu_s() - own);
    Idle {
        share: used / elapsed_s,
        share_max: shares.iter().copied().fold(0.0, f64::max),
        balancer_share: plane_used / elapsed_s,
        rss_mb: server.memory_bytes("VmRSS") as f64 / 1e6,
        peak_mb: server.memory_bytes("VmHWM") as f64 / 1e6,
        others_cpus: (others / elapsed_s).max(0.0),
    }
}

fn report(args: &Args, server: &Server, growth: &Growth, idle: &Idle) -> anyhow::Result<()> {
    let n = args.groups * args.size;
    let store_mb = server.file_bytes("store.redb") as f64 / 1e6;
    let metrics_mb = server.file_bytes("metrics.redb") as f64 / 1e6;
    let of_size = |goal| (n <= GOAL_SIZE).then_some(goal);
    let rows = [
        ("API calls, s", growth.calls_s, None),
        ("empty to all in service, s", growth.all_s, of_size(GOAL_ALL_S)),
        ("  CPU of it, s", growth.cpu_s, None),
        ("  CPU per instance, µs", growth.cpu_s * 1e6 / n as f64, None),
        ("idle, % of one core", idle.share * 100.0, Some(GOAL_IDLE * 100.0)),
        ("  in the busiest slice", idle.share_max * 100.0, None),
        ("  data plane, % of one core", idle.balancer_share * 100.0, None),
        ("resident, MB", idle.rss_mb, of_size(GOAL_RSS_MB)),
        ("  at the peak", idle.peak_mb, None),
        ("store on disk, MB", store_mb, None),
        ("metrics on disk, MB", metrics_mb, None),
        ("other processes while growing, CPUs", growth.others_cpus, None),
        ("other processes while idle, CPUs", idle.others_cpus, None),
    ];
    for (name, value, goal) in &rows {
        let goal = goal.map(|g| format!("at most {g:.0}")).unwrap_or_default();
        eprintln!("{name:<38} {value:>10.1}  {goal}");
    }
    if let Some(file) = &args.json {
        let rows =
            rows.iter().map(|(name, value, goal)| json!({"name": name.trim(), "value": value, "goal": goal}));
        std::fs::write(file, serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let missed: Vec<&str> =
        rows.iter().filter(|(_, v, goal)| goal.is_some_and(|g| *v > g)).map(|(n, ..)| *n).collect();
    ensure!(missed.is_empty(), "goals missed: {}", missed.join(", "));
    Ok(())
}
