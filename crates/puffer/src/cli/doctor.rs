use std::io::Write;
use std::path::PathBuf;

use puffer_compute::container::{self, Level};

use super::env::DEFAULT_DATA_DIR;
use super::output::stdout;
use crate::data_dir::DataDir;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where a server keeps (or would keep) everything
    #[arg(long, env = "PUFFER_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
}

/// Says what this machine allows and what to install or change, with the exact commands.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let data = DataDir::create(&args.data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = container::Options::new(data.path().to_owned(), std::env::current_exe()?);
    let probe = runtime.block_on(container::probe(&options));
    let mut findings = probe.findings;
    for finding in container::host_limits() {
        if findings.iter().all(|f| f.name != finding.name) {
            findings.push(finding);
        }
    }
    let mut out = stdout();
    for finding in &findings {
        let mark = match finding.level {
            Level::Ok => "✓",
            Level::Warning => "!",
            Level::Failure => "✗",
        };
        writeln!(out, "{mark} {}: {}", finding.name, finding.detail)?;
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "    {remedy}")?;
        }
    }
    let network = runtime.block_on(puffer_network::probe());
    for missing in &network {
        writeln!(out, "✗ network: {}", missing.what)?;
        if let Some(remedy) = &missing.remedy {
            writeln!(out, "    {remedy}")?;
        }
    }
    for blocking in runtime.block_on(puffer_network::blocked_forwarding()) {
        writeln!(out, "! forwarding: {}", blocking.what)?;
        if let Some(remedy) = &blocking.remedy {
            writeln!(out, "    {remedy}")?;
        }
    }
    let verdict = if probe.usable && network.is_empty() {
        "Instances can be containers here."
    } else {
        "Instances will be plain processes here (--compute process): not isolated from each other or from you."
    };
    writeln!(out, "\n{verdict}")?;
    Ok(())
}
