//! `puffer replay`: what a group would have done under a recorded load, in virtual time.

use super::output::stdout;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use puffer_core::Timestamp;
use puffer_simulator::replay::{Replay, Scenario, replay};

/// Lines of a trace: a year by the minute.
const TRACE_LINES_MAX: usize = 600_000;
/// Width of the bar of instances in service.
const BAR_CELLS: u32 = 30;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A scaling policy as PutScalingPolicy takes it, in JSON (repeat for several)
    #[arg(long, required = true)]
    policy: Vec<PathBuf>,
    /// An alarm as PutMetricAlarm takes it, in JSON; its actions may name policies (repeat for several)
    #[arg(long)]
    alarm: Vec<PathBuf>,
    /// The load: lines of time and number, separated by a comma
    #[arg(long)]
    trace: PathBuf,
    /// Load that keeps one instance fully busy
    #[arg(long, default_value_t = 100.0)]
    capacity: f64,
    /// Least instances
    #[arg(long, default_value_t = 1)]
    min: u32,
    /// Most instances
    #[arg(long)]
    max: u32,
    /// Instances at the beginning; the least by default
    #[arg(long)]
    desired: Option<u32>,
    /// Seconds from launch to running
    #[arg(long, default_value_t = 30)]
    boot_time: u64,
    /// DefaultInstanceWarmup, seconds
    #[arg(long)]
    warmup: Option<u32>,
    /// DefaultCooldown, seconds
    #[arg(long)]
    cooldown: Option<u32>,
    /// The tag puffer:metric-period, seconds
    #[arg(long)]
    metric_period: Option<u32>,
    /// Utilization above which time counts as over the target, percent; the first policy's target by default
    #[arg(long)]
    target: Option<f64>,
    /// Seconds between two lines
    #[arg(long, default_value_t = 300)]
    every: i64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Replays and prints.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let policies = read_all(&args.policy)?;
    let load = trace(&args.trace)?;
    let scenario = Scenario {
        min: args.min,
        max: args.max,
        desired: args.desired.unwrap_or(args.min),
        boot: Duration::from_secs(args.boot_time),
        warmup_s: args.warmup,
        cooldown_s: args.cooldown,
        metric_period_s: args.metric_period,
        target: args.target.or_else(|| target_of(&policies)).unwrap_or(100.0),
        policies,
        alarms: read_all(&args.alarm)?,
        capacity: args.capacity,
        load,
        every_s: args.every,
    };
    if !(scenario.capacity.is_finite() && scenario.capacity > 0.0) {
        bail!("--capacity must be more than 0");
    }
    let done = replay(&scenario).map_err(anyhow::Error::msg)?;
    let mut out = stdout();
    if args.json {
        return Ok(writeln!(out, "{}", serde_json::to_string(&done)?)?);
    }
    Ok(write!(out, "{}", text(&done, &scenario))?)
}

fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Vec<u8>>> {
    paths.iter().map(|p| fs::read(p).with_context(|| format!("cannot read {}", p.display()))).collect()
}

/// The first target that a policy tracks.
fn target_of(policies: &[Vec<u8>]) -> Option<f64> {
    policies.iter().find_map(|p| {
        let policy: serde_json::Value = serde_json::from_slice(p).ok()?;
        policy["TargetTrackingConfiguration"]["TargetValue"].as_f64()
    })
}

/// Seconds from the first line, and the load; lines in order of time.
fn trace(path: &Path) -> anyhow::Result<Vec<(i64, f64)>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut points = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        let Some((at, load)) = line.split_once(',') else {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            bail!("{}:{}: a line is a time and a number, separated by a comma", path.display(), n + 1);
        };
        let point = seconds(at.trim()).zip(load.trim().parse::<f64>().ok().filter(|l| l.is_finite()));
        match point {
            Some(point) => points.push(point),
            // The first line may name its columns.
            None if n == 0 => {}
            None => bail!("{}:{}: cannot read “{line}”", path.display(), n + 1),
        }
        if points.len() > TRACE_LINES_MAX {
            bail!("{} has more than {TRACE_LINES_MAX} lines", path.display());
        }
    }
    points.sort_by_key(|(at, _)| *at);
    let first = points.first().map_or(0, |(at, _)| *at);
    points.iter_mut().for_each(|(at, _)| *at -= first);
    Ok(points)
}

/// Seconds since 1970, from a number, an RFC 3339 time, or one with a blank and without a zone.
fn seconds(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(number as i64);
    }
    let time = Timestamp::parse_rfc3339(text)
        .or_else(|| Timestamp::parse_rfc3339(&format!("{}Z", text.replacen(' ', "T", 1))));
    time.map(Timestamp::as_secs)
}

fn text(done: &Replay, scenario: &Scenario) -> String {
    let mut out =
        format!("{:>10} {:>12} {:>8} {:>10} {:>6}\n", "time", "load", "desired", "in service", "busy");
    for s in &done.samples {
        let (hours, minutes, seconds) = (s.at_s / 3600, s.at_s / 60 % 60, s.at_s % 60);
        let cells = s.in_service * BAR_CELLS / scenario.max.max(1);
        let bar = "█".repeat(cells as usize);
        let _ = writeln!(
            out,
            "{hours:>4}:{minutes:02}:{seconds:02} {:>12.1} {:>8} {:>10} {:>5.0}% {bar}",
            s.load, s.desired, s.in_service, s.utilization
        );
    }
    let share = |s: i64| 100.0 * s as f64 / done.lasted_s.max(1) as f64;
    let _ = write!(
        out,
        "\n{:.1} instance-hours in {:.1} hours; at most {} in service; the wanted capacity changed {} times\n\
         over the target of {} %: {} s ({:.1} %); beyond what instances can do: {} s ({:.1} %)\n",
        done.instance_hours,
        done.lasted_s as f64 / 3600.0,
        done.peak,
        done.n_changes,
        scenario.target,
        done.over_target_s,
        share(done.over_target_s),
        done.overloaded_s,
        share(done.overloaded_s),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_several_kinds() {
        assert_eq!(seconds("1397088240"), Some(1_397_088_240));
        assert_eq!(seconds("2014-04-10 00:04:00"), Some(1_397_088_240));
        assert_eq!(seconds("2014-04-10T00:04:00Z"), Some(1_397_088_240));
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn traces_begin_at_zero_and_say_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("load.csv");
        fs::write(&path, "timestamp,value\n2014-04-10 00:05:00,7\n2014-04-10 00:04:00,5.5\n").unwrap();
        assert_eq!(trace(&path).unwrap(), [(0, 5.5), (60, 7.0)]);
        fs::write(&path, "1,2\n3,many\n").unwrap();
        assert!(trace(&path).unwrap_err().to_string().contains(":2:"));
    }
}
