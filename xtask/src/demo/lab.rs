use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::server::Server;
use crate::process;

/// CPU that the policy holds, percent.
const TARGET: &str = "20";
/// Group tags for second-level reaction.
const SECOND_LEVEL_TAGS: &str =
    "puffer:metric-period=1 puffer:scale-out-datapoints=3 puffer:scale-in-datapoints=8";

/// Runs the steps of `labs/l0/lab.sh` with the AWS CLI.
pub(crate) struct Lab {
    environment: Vec<(String, String)>,
    state: PathBuf,
    aws: PathBuf,
}

impl Lab {
    pub(crate) fn new(server: &Server, python: &Path, name: &str, aws_timing: bool) -> anyhow::Result<Lab> {
        let state = server.data_dir().join(format!("{name}.lab"));
        let bin = python.join("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let (warmup, tags) = if aws_timing { ("60", "") } else { ("3", SECOND_LEVEL_TAGS) };
        let mut environment: Vec<(String, String)> =
            server.aws_environment().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        for (k, v) in [
            ("PATH", path.as_str()),
            ("LAB_NAME", name),
            ("LAB_STATE", &state.to_string_lossy()),
            ("LAB_TARGET", TARGET),
            ("LAB_WARMUP", warmup),
            ("LAB_TAGS", tags),
            ("AWS_PAGER", ""),
            ("AWS_MAX_ATTEMPTS", "2"),
            // Nothing of the user's own AWS set-up may reach in, nor this lab out.
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            environment.push((k.to_owned(), v.to_owned()));
        }
        Ok(Lab { environment, state, aws: bin.join("aws") })
    }

    /// Runs one step of the script.
    pub(crate) fn run(&self, step: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let script = crate::root().join("labs/l0/lab.sh");
        process::output(self.command("bash").arg(script).arg(step).args(arguments)).map(drop)
    }

    /// Runs one call of the AWS CLI.
    pub(crate) fn aws(&self, arguments: &[&str]) -> anyhow::Result<String> {
        process::output(self.command(&self.aws.to_string_lossy()).args(arguments))
    }

    /// A value that a step remembered.
    pub(crate) fn remembered(&self, name: &str) -> anyhow::Result<String> {
        let state = std::fs::read_to_string(&self.state)?;
        let prefix = format!("{name}=");
        let value = state.lines().rev().find_map(|l| l.strip_prefix(&prefix));
        value.map(str::to_owned).with_context(|| format!("the lab remembers no {name}"))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        command
    }
}
