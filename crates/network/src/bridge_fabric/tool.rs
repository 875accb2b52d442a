//! Running `ip` and `nft`, with a bound on their time.

use std::process::Stdio;
use std::time::Duration;

use puffer_core::ErrorClass;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::FabricError;

/// Thousands of rules load in a second; more is a machine that does not answer.
const TOOL_TIMEOUT: Duration = Duration::from_secs(20);
/// Of a tool's complaints, as much as helps.
const COMPLAINT_BYTES_MAX: usize = 2000;

/// One transaction of the packet filter's.
pub(super) async fn nft(script: &str) -> Result<(), FabricError> {
    run("nft", &["-f", "-"], script).await.map(drop)
}

/// A batch of link, address and route changes; stops at the first that fails.
pub(super) async fn ip_batch(lines: &[String]) -> Result<(), FabricError> {
    if lines.is_empty() {
        return Ok(());
    }
    run("ip", &["-batch", "-"], &(lines.join("\n") + "\n")).await.map(drop)
}

/// What `ip` shows, as JSON.
pub(super) async fn ip_json(arguments: &[&str]) -> Result<Vec<serde_json::Value>, FabricError> {
    let mut all = vec!["-json", "-details"];
    all.extend(arguments);
    let text = run("ip", &all, "").await?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).map_err(|error| failed("ip", error.to_string(), ErrorClass::Bug))
}

/// Runs a tool with `input`; its output, or its complaint as an error.
pub(super) async fn run(tool: &str, arguments: &[&str], input: &str) -> Result<String, FabricError> {
    let mut child = Command::new(tool)
        .args(arguments)
        .env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                let install = super::probe::install_command(tool);
                failed(
                    tool,
                    format!("it is not installed; install it with: {install}"),
                    ErrorClass::Permanent,
                )
            }
            _ => failed(tool, error.to_string(), ErrorClass::Transient),
        })?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A tool that has failed already closes its input; its complaint says more than the broken pipe.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let work = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = match tokio::time::timeout(TOOL_TIMEOUT, work).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(failed(tool, error.to_string(), ErrorClass::Transient)),
        Err(_) => {
            let reason = format!("no answer within {} s", TOOL_TIMEOUT.as_secs());
            return Err(failed(tool, reason, ErrorClass::Transient));
        }
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint: String = complaint.trim().chars().take(COMPLAINT_BYTES_MAX).collect();
    let class = if complaint.contains("ermitted") { ErrorClass::Permanent } else { ErrorClass::Transient };
    Err(failed(tool, complaint, class))
}

fn failed(tool: &str, reason: String, class: ErrorClass) -> FabricError {
    FabricError { what: format!("changing the network with {tool}"), reason, class }
}
