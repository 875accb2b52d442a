use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;

use super::env::DEFAULT_DATA_DIR;
use super::output::stdout;
use crate::data_dir::DataDir;
use crate::server::admin::{Answer, Question, ask};
use crate::server::report::ExplainReport;

#[derive(clap::Args)]
pub(super) struct Args {
    /// An activity's id, or a group's name for all of its activities
    what: String,
    /// The server's data directory
    #[arg(long, env = "PUFFER_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
}

/// Prints why: AWS's cause and the numbers behind the decision.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let data = DataDir::open(&args.data_dir)?;
    let answer = ask(&data.admin_socket(), &Question::Explain { what: args.what.clone() })?;
    let Answer::Explained(ExplainReport { refresh, activities }) = answer else {
        bail!("the server gave an answer of the wrong kind")
    };
    let mut out = stdout();
    for (at, line) in refresh.iter().enumerate() {
        writeln!(out, "{}{line}", if at == 0 { "" } else { "  " })?;
    }
    if !refresh.is_empty() {
        writeln!(out)?;
    }
    if activities.is_empty() {
        writeln!(out, "{} has had no activity yet.", args.what)?;
    }
    for a in activities {
        writeln!(out, "{}  {}  {}", a.started_at, a.status, a.description)?;
        writeln!(out, "  {}", a.cause.replace(".  At ", ".\n  At "))?;
        for reason in &a.reasons {
            writeln!(out, "  because {reason}")?;
        }
        if let Some(message) = &a.message {
            writeln!(out, "  {message}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
