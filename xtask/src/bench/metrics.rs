//! Metric data from outside: how many points per second PutMetricData takes, and what a million live series cost in memory.
//!
//! The points are those of a shop's hosts: three dimensions, a time, a value with a fraction, a unit. A request has a thousand
//! of them, each of another series, in the forms in which clients send them: boto3 and the AWS CLI compressed JSON, older
//! ones the query protocol.

mod data;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::load::{self, Client, Figures, texts, unix_ms};
use super::machine;
use super::server::{self, Server};
use crate::process::now;
use data::{BATCH, Form, NAMESPACE, dimensions, message};

/// Points per second to reach, in each form.
const GOAL_POINTS_PER_S: f64 = 200_000.0;
/// Memory that all series may take, at its peak.
const GOAL_BYTES: u64 = 2 << 30;
const N_CONNECTIONS: usize = 8;
/// Requests that a connection sends in turn; each has series of its own.
const N_BODIES: usize = 6;
/// Values that a series takes in turn, so that its buckets hold distributions and not one value.
const N_VARIANTS: usize = 2;
/// Connections that make the series.
const N_MAKERS: usize = 4;
/// More than the server's time between two flushes of its metrics, and the flush's own.
const FLUSH_GAP: Duration = Duration::from_secs(40);
/// Series that are asked for at the end.
const N_ASKED: usize = 50;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A puffer binary, instead of building one with optimizations
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Length of each measurement of throughput
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Series that are made; 0 leaves that part out
    #[arg(long, default_value_t = 1_000_000)]
    series: usize,
    /// Points of each series, a minute apart, with a flush of the store after each minute
    #[arg(long, default_value_t = 3)]
    points: usize,
    /// Also write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What many series cost.
struct Memory {
    points_per_s: f64,
    rss_bytes: u64,
    peak_bytes: u64,
    disk_bytes: u64,
    cpu_us_per_point: f64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.series.is_multiple_of(BATCH), "the number of series must be a multiple of {BATCH}");
    let binary = server::binary(&args.binary)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows: Vec<Value> = Vec::new();
    let mut missed = Vec::new();
    {
        let server = Server::start(&binary, &[])?;
        for form in Form::ALL {
            let figures = runtime.block_on(throughput(args, &server, form))?;
            if show_throughput(form, &figures, &mut rows) < GOAL_POINTS_PER_S {
                missed.push(form.name());
            }
        }
    }
    if args.series > 0 {
        let server = Server::start(&binary, &[])?;
        let memory = runtime.block_on(many_series(args, &server))?;
        if show_memory(args, &memory, &mut rows) > GOAL_BYTES {
            missed.push("memory");
        }
    }
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&rows)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    ensure!(missed.is_empty(), "goals missed: {}", missed.join(", "));
    Ok(())
}

/// Each connection sends its bodies in turn, again and again.
async fn throughput(args: &Args, server: &Server, form: Form) -> anyhow::Result<Figures> {
    let at_s = unix_ms() / 1000;
    let bodies = |i: usize| {
        let numbers = (0..N_VARIANTS).flat_map(move |v| (0..N_BODIES).map(move |b| (v, i * N_BODIES + b)));
        numbers.map(|(variant, batch)| message(form, batch, variant, at_s)).collect()
    };
    load::run(server, "monitoring", N_CONNECTIONS, Duration::from_secs(args.seconds), bodies).await
}

/// Prints a row; gives points per second.
fn show_throughput(form: Form, f: &Figures, rows: &mut Vec<Value>) -> f64 {
    let n = BATCH as f64;
    let per_s = f.per_second * n;
    let request_bytes = message(form, 0, 0, unix_ms() / 1000).body.len();
    eprintln!(
        "{:<28} {per_s:>9.0} points/s (goal {GOAL_POINTS_PER_S:.0}), {request_bytes:>7} bytes per request, p50 {:.1} ms, p99 {:.1} ms, \
         CPU per point {:.2} µs, the generator's {:.2} µs, others used {:.2} CPUs",
        form.name(),
        f.p50_us as f64 / 1e3,
        f.p99_us as f64 / 1e3,
        f.cpu_us_per_request / n,
        f.own_cpu_us_per_request / n,
        f.others_cpus
    );
    rows.push(json!({
        "name": form.name(), "goal_points_per_s": GOAL_POINTS_PER_S, "points_per_s": per_s, "request_bytes": request_bytes,
        "p50_us": f.p50_us, "p99_us": f.p99_us, "server_cpu_us_per_point": f.cpu_us_per_request / n,
        "generator_cpu_us_per_point": f.own_cpu_us_per_request / n, "other_processes_cpus": f.others_cpus,
    }));
    per_s
}

/// Gives each series its points, minute by minute, with a flush after each; then asks whether they are there.
async fn many_series(args: &Args, server: &Server) -> anyhow::Result<Memory> {
    let first_s = unix_ms() / 1000 / 60 * 60 - 60 * args.points as i64;
    let cpu_before = server.cpu_s();
    let mut sending_s = 0.0;
    for minute in 0..args.points {
        let began = now();
        let at_s = first_s + 60 * minute as i64;
        let mut makers = tokio::task::JoinSet::new();
        for i in 0..N_MAKERS {
            let mut client = Client::connect(&server.endpoint, "monitoring").await?;
            let batches = (i..args.series / BATCH).step_by(N_MAKERS);
            makers.spawn(async move {
                for batch in batches {
                    client.send(&message(Form::JsonGzip, batch, minute, at_s)).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = makers.join_next().await {
            done??;
        }
        sending_s += began.elapsed().as_secs_f64();
        let sent = server.memory_bytes("VmRSS") as f64 / 1e6;
        tokio::time::sleep(FLUSH_GAP).await;
        let flushed = server.memory_bytes("VmRSS") as f64 / 1e6;
        eprintln!("minute {}: {sent:.0} MB when sent, {flushed:.0} MB when flushed", minute + 1);
    }
    let memory = Memory {
        points_per_s: (args.series * args.points) as f64 / sending_s,
        rss_bytes: server.memory_bytes("VmRSS"),
        peak_bytes: server.memory_bytes("VmHWM"),
        disk_bytes: server.file_bytes("metrics.redb"),
        cpu_us_per_point: (server.cpu_s() - cpu_before) * 1e6 / (args.series * args.points) as f64,
    };
    ask(args, server, first_s).await?;
    Ok(memory)
}

/// Asks some of the series, all over the range, for their data.
async fn ask(args: &Args, server: &Server, first_s: i64) -> anyhow::Result<()> {
    let mut client = Client::connect(&server.endpoint, "monitoring").await?;
    for i in 0..N_ASKED {
        let series = i * (args.series / N_ASKED) + i;
        let (name, dimensions) = dimensions(series);
        let dimensions: String = (1..)
            .zip(&dimensions)
            .map(|(n, (k, v))| format!("&Dimensions.member.{n}.Name={k}&Dimensions.member.{n}.Value={v}"))
            .collect();
        let answer = client
            .call(&format!(
                "Action=GetMetricStatistics&Version=2010-08-01&Namespace={NAMESPACE}&MetricName={name}{dimensions}\
                 &StartTime={first_s}&EndTime={}&Period=60&Statistics.member.1=SampleCount",
                first_s + 60 * args.points as i64
            ))
            .await?;
        let n = texts(&answer, "<SampleCount>").filter(|n| n.parse() == Ok(1.0)).count();
        ensure!(n == args.points, "series {series} has {n} points instead of {}", args.points);
    }
    Ok(())
}

/// Prints the rows; gives the peak.
fn show_memory(args: &Args, m: &Memory, rows: &mut Vec<Value>) -> u64 {
    let n = args.series as f64;
    let goal_mb = GOAL_BYTES as f64 / 1e6;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    eprintln!(
        "{} live series with {} points each: resident {:.0} MB, at the peak {:.0} MB (goal {goal_mb:.0}), {:.0} bytes per series, \
         {:.0} MB on disk; made at {:.0} points/s, CPU per point {:.2} µs, flushes included ({} processors)",
        args.series,
        args.points,
        mb(m.rss_bytes),
        mb(m.peak_bytes),
        m.rss_bytes as f64 / n,
        mb(m.disk_bytes),
        m.points_per_s,
        m.cpu_us_per_point,
        machine::n_cpus()
    );
    rows.push(json!({
        "name": "live series", "series": args.series, "points_each": args.points, "goal_mb": goal_mb, "resident_mb": mb(m.rss_bytes),
        "peak_mb": mb(m.peak_bytes), "disk_mb": mb(m.disk_bytes), "points_per_s_while_made": m.points_per_s,
        "server_cpu_us_per_point": m.cpu_us_per_point,
    }));
    m.peak_bytes
}
