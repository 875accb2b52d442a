use std::path::PathBuf;

use anyhow::bail;

use super::env::DEFAULT_DATA_DIR;
use crate::data_dir::DataDir;
use crate::server::admin::{Answer, Question, ask};
use crate::server::simulate::Simulate;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The server's data directory
    #[arg(long, env = "PUFFER_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    #[command(flatten)]
    what: Simulate,
}

/// Has the simulated machine behave otherwise from now on, or something befall an instance.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let data = DataDir::open(&args.data_dir)?;
    match ask(&data.admin_socket(), &Question::Simulate(Box::new(args.what)))? {
        Answer::Done => Ok(()),
        _ => bail!("the server gave an answer of the wrong kind"),
    }
}
