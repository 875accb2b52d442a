use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;

use super::env::DEFAULT_DATA_DIR;
use super::output::stdout;
use crate::data_dir::DataDir;
use crate::server::admin::{Answer, Question, ask};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only events of this group
    #[arg(long)]
    group: Option<String>,
    /// At most so many, the newest
    #[arg(long, default_value_t = 100)]
    most: usize,
    /// The server's data directory
    #[arg(long, env = "PUFFER_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
}

/// Prints what happened, oldest first.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let data = DataDir::open(&args.data_dir)?;
    let question = Question::Events { group: args.group.clone(), most: args.most };
    let Answer::Events(events) = ask(&data.admin_socket(), &question)? else {
        bail!("the server gave an answer of the wrong kind")
    };
    let mut out = stdout();
    for event in events {
        writeln!(out, "{event}")?;
    }
    Ok(())
}
