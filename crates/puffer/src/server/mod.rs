//! `puffer serve`: opens the store, starts the reconcilers and answers the AWS APIs.

use crate::cli::ServeArgs;

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(_args: ServeArgs) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}
