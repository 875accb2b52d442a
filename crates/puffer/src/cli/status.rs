//! `puffer status`: groups, instances, health, metric against target, activities; live on a terminal.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;

use super::env::DEFAULT_DATA_DIR;
use super::output::stdout;
use crate::data_dir::DataDir;
use crate::server::admin::{Answer, Question, ask};
use crate::server::report::{GroupReport, StatusReport};

/// Between two looks of the live view.
const REFRESH: Duration = Duration::from_secs(1);
/// Width of the capacity bar.
const BAR_CELLS: u32 = 24;
/// Members listed for each group; more are counted.
const MEMBERS_SHOWN: usize = 20;
/// Activities listed for each group.
const ACTIVITIES_SHOWN: usize = 4;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The server's data directory
    #[arg(long, env = "PUFFER_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// Print once, as JSON
    #[arg(long)]
    json: bool,
    /// Print once, as text
    #[arg(long)]
    once: bool,
}

/// Shows the server's state, again and again on a terminal.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let data = DataDir::open(&args.data_dir)?;
    let look = || match ask(&data.admin_socket(), &Question::Status)? {
        Answer::Status(report) => Ok(*report),
        _ => bail!("the server gave an answer of the wrong kind"),
    };
    let mut out = stdout();
    if args.json {
        return Ok(writeln!(out, "{}", serde_json::to_string(&look()?)?)?);
    }
    if args.once || !out.is_terminal() {
        return Ok(write!(out, "{}", text(&look()?))?);
    }
    let mut seen = text(&look()?);
    loop {
        // Home, text, clear what is left of the last look: no flicker.
        write!(out, "\x1b[H{}\x1b[J", seen.replace('\n', "\x1b[K\n"))?;
        out.flush()?;
        std::thread::park_timeout(REFRESH);
        // A server that is gone may come back: what it runs goes on meanwhile.
        seen = look().map_or_else(|error| format!("{error:#}; waiting for one\n"), |report| text(&report));
    }
}

fn text(report: &StatusReport) -> String {
    let mut text = String::new();
    let counts: Vec<_> = report.instances.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let _ =
        writeln!(text, "Instances: {}", if counts.is_empty() { "none".into() } else { counts.join(", ") });
    for b in &report.load_balancers {
        let ports: Vec<_> = b.listeners.iter().map(|l| l.bind_port.to_string()).collect();
        let _ = writeln!(
            text,
            "Load balancer {} ({}): {} at {} port {}",
            b.name,
            b.state,
            b.dns_name,
            b.addresses.join(", "),
            ports.join(", ")
        );
    }
    for g in &report.groups {
        group(&mut text, g);
    }
    text
}

fn group(text: &mut String, g: &GroupReport) {
    let cells = |n: u32| (n * BAR_CELLS).checked_div(g.max).unwrap_or(0).min(BAR_CELLS) as usize;
    let healthy = cells(u32::try_from(g.healthy).unwrap_or(u32::MAX / BAR_CELLS));
    let wanted = cells(g.desired).saturating_sub(healthy);
    let bar = format!("{}{}", "█".repeat(healthy), "░".repeat(wanted));
    let _ = writeln!(text, "\n{}  [{bar:<width$}]", g.name, width = BAR_CELLS as usize);
    let _ = writeln!(
        text,
        "  desired {} (min {}, max {}), in service {}, healthy {}",
        g.desired, g.min, g.max, g.in_service, g.healthy
    );
    for note in &g.notes {
        let _ = writeln!(text, "  {note}");
    }
    for p in &g.policies {
        let value = p.value.map_or("no data".to_owned(), |v| format!("{v:.1}"));
        let target = p.target.map_or(String::new(), |t| format!(", target {t}"));
        let _ = writeln!(text, "  policy {} ({}): {value}{target}", p.name, p.kind);
    }
    for m in g.members.iter().take(MEMBERS_SHOWN) {
        let _ = writeln!(
            text,
            "  {}  {:<11} {:<15} {:<20} {:<9} {}",
            m.instance_id,
            m.zone,
            m.address.as_deref().unwrap_or("-"),
            m.lifecycle,
            m.health,
            m.target_health.as_deref().unwrap_or("")
        );
    }
    if g.members.len() > MEMBERS_SHOWN {
        let _ = writeln!(text, "  … and {} more", g.members.len() - MEMBERS_SHOWN);
    }
    for a in g.activities.iter().take(ACTIVITIES_SHOWN) {
        let _ = writeln!(text, "  {}  {:<12} {}", a.started_at, a.status, a.description);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_shows_healthy_and_wanted() {
        let g = GroupReport {
            name: "web".into(),
            min: 1,
            max: 4,
            desired: 3,
            in_service: 2,
            healthy: 2,
            members: vec![],
            policies: vec![],
            notes: vec!["suspended: Terminate".into()],
            activities: vec![],
        };
        let mut shown = String::new();
        group(&mut shown, &g);
        assert_eq!(shown.matches('█').count(), 12);
        assert!(shown.contains("\n  suspended: Terminate\n"));
        assert_eq!(shown.matches('░').count(), 6);
        let empty = GroupReport { max: 0, desired: 0, healthy: 0, ..g };
        group(&mut String::new(), &empty);
    }
}
