//! Debian images by mmdebstrap.
//!
//! Packages come from where the host's own come from: the Debian entries of the host's apt sources are handed to
//! mmdebstrap, so mirrors and proxies of the place are respected and no mirror is named here.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::{ImageError, OnProgress, Progress, Trying};

/// A build takes half a minute with a near mirror; one that takes this long is stuck.
const BUILD_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Lines of mmdebstrap's kept for the error message.
const LAST_LINES: usize = 12;
/// Steps that mmdebstrap announces in an ordinary build; for the fraction only.
const STEPS_USUAL: f32 = 14.0;

/// What to build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DebianBuild {
    /// `bookworm`, …; the host's own if absent.
    pub suite: Option<String>,
    /// Packages beside the minimal system (`--variant=minbase`).
    pub packages: Vec<String>,
    /// Files put into the tree: `(path on the host, directory in the image)`.
    pub copies: Vec<(PathBuf, String)>,
    /// Shell commands run on the host with the tree's path as `$1`, after the packages are installed.
    pub hooks: Vec<String>,
}

/// The program's path, if it is installed.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Writes the tarball; returns the suite.
pub(super) fn build(
    build: &DebianBuild,
    tarball: &Path,
    on_progress: OnProgress<'_>,
) -> Result<String, ImageError> {
    let tool = find_tool("mmdebstrap").ok_or(ImageError::MissingTool {
        tool: "mmdebstrap",
        install: "sudo apt-get install --yes mmdebstrap",
    })?;
    let suite = match &build.suite {
        Some(suite) => suite.clone(),
        None => host_suite().ok_or_else(|| {
            ImageError::Input("this host's Debian release is not known; name one with --suite".to_owned())
        })?,
    };
    let word = |text: &str| !text.is_empty() && !text.starts_with('-') && !text.contains(char::is_whitespace);
    if let Some(odd) = build.packages.iter().chain([&suite]).find(|text| !word(text)) {
        return Err(ImageError::Input(format!("{odd:?} is not a suite's or package's name")));
    }
    let mut command = Command::new(tool);
    command.arg("--variant=minbase").arg("--format=tar").args(["--aptopt=Acquire::Retries \"3\""]);
    if !build.packages.is_empty() {
        command.arg(format!("--include={}", build.packages.join(",")));
    }
    for (from, to) in &build.copies {
        let to = quoted(Path::new(to));
        command.arg(format!("--customize-hook=mkdir -p \"$1\"{to}"));
        command.arg(format!("--customize-hook=copy-in {} {to}", quoted(from)));
    }
    for hook in &build.hooks {
        command.arg(format!("--customize-hook={hook}"));
    }
    command.arg(&suite).arg(tarball).args(sources_for(&suite)?);
    run(command, on_progress)?;
    Ok(suite)
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Runs it in a process group of its own, so that a time-out ends all of it.
fn run(mut command: Command, on_progress: OnProgress<'_>) -> Result<(), ImageError> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().trying(|| "start mmdebstrap".to_owned())?;
    let stderr = child.stderr.take().ok_or_else(|| tool_failed("no output".to_owned()))?;
    let (send, lines) = mpsc::channel();
    // Ends with the program: its pipe closes.
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let begin = tokio::time::Instant::now();
    let mut last: Vec<String> = Vec::new();
    let mut n_steps = 0.0;
    loop {
        match lines.recv_timeout(BUILD_TIMEOUT.saturating_sub(begin.elapsed())) {
            Ok(line) => {
                if let Some(step) = line.strip_prefix("I: ") {
                    n_steps += 1.0;
                    let fraction = Some((n_steps / STEPS_USUAL).min(0.99));
                    on_progress(Progress { step: step.trim_end_matches('.').to_owned(), fraction });
                }
                if !line.trim().is_empty() {
                    last.push(line);
                }
                if last.len() > LAST_LINES {
                    last.remove(0);
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if let Ok(group) = i32::try_from(child.id()) {
                    let group = nix::unistd::Pid::from_raw(group);
                    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
                }
                let _ = child.wait();
                return Err(tool_failed(format!("it did not end within {} s", BUILD_TIMEOUT.as_secs())));
            }
        }
    }
    let status = child.wait().trying(|| "wait for mmdebstrap".to_owned())?;
    if status.success() {
        return Ok(());
    }
    Err(tool_failed(format!("{status}\n{}", last.join("\n"))))
}

fn tool_failed(reason: String) -> ImageError {
    ImageError::Tool { tool: "mmdebstrap", reason }
}

fn host_suite() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|v| v.trim_matches('"').to_owned())
}

/// The host's source files that speak of the suite; else one made for it from the host's mirror.
fn sources_for(suite: &str) -> Result<Vec<String>, ImageError> {
    let mut candidates = vec![PathBuf::from("/etc/apt/sources.list")];
    let mut more: Vec<PathBuf> =
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|e| e.path()).collect();
    more.sort();
    candidates.extend(more);
    let texts: Vec<(PathBuf, String)> = candidates
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "list" || e == "sources"))
        .filter_map(|path| fs::read_to_string(&path).ok().map(|text| (path, text)))
        .collect();
    let chosen: Vec<String> = texts
        .iter()
        .filter(|(_, text)| is_distribution(text) && names_suite(text, suite))
        .map(|(path, _)| path.display().to_string())
        .collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let mirror = texts.iter().filter(|(_, text)| is_distribution(text)).find_map(|(_, text)| mirror_of(text));
    mirror.map(|mirror| vec![format!("deb {mirror} {suite} main")]).ok_or_else(|| {
        ImageError::Input("this host has no apt source of Debian packages to build from".to_owned())
    })
}

/// Lines that count, without comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A source of the distribution's main archive rather than of somebody's extra packages.
fn is_distribution(text: &str) -> bool {
    lines(text).any(|line| {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Components:" | "deb") => words.any(|word| word == "main"),
            _ => false,
        }
    }) && mirror_of(text).is_some_and(|uri| uri.contains("debian") || uri.contains("ubuntu"))
}

fn names_suite(text: &str, suite: &str) -> bool {
    lines(text).any(|line| line.split_whitespace().any(|word| word == suite))
}

fn mirror_of(text: &str) -> Option<String> {
    lines(text).find_map(|line| {
        let mut words = line.split_whitespace();
        match words.next()? {
            "URIs:" => words.next().map(str::to_owned),
            "deb" => words.find(|word| word.contains("://")).map(str::to_owned),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_the_distributions_sources() {
        let deb822 = "# c\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n";
        let list = "deb [signed-by=/k] https://mirror.example/debian trixie main contrib\n";
        let other = "deb https://packages.example/apt stable main\n";
        assert!(is_distribution(deb822) && names_suite(deb822, "bookworm") && !names_suite(deb822, "trixie"));
        assert!(is_distribution(list) && names_suite(list, "trixie"));
        assert!(!is_distribution(other));
        assert_eq!(mirror_of(list).as_deref(), Some("https://mirror.example/debian"));
        assert!(!is_distribution("#deb http://mirror.example/debian bookworm main\n"));
    }

    #[test]
    fn refuses_names_that_are_options() {
        let build_it =
            DebianBuild { packages: vec!["--evil".into()], suite: Some("x".into()), ..Default::default() };
        if find_tool("mmdebstrap").is_some() {
            let result = build(&build_it, Path::new("/nonexistent/x.tar"), &mut |_| {});
            assert!(matches!(result, Err(ImageError::Input(_))));
        }
    }
}
