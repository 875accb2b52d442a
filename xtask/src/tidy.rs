//! `cargo xtask tidy`: the few rules of style that matter enough to be a test.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// A file beyond this many lines surely tells a second story.
const FILE_LINES_MAX: usize = 700;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "common", "manager", "misc"];
/// Marks of unfinished work. Built from halves so that this file does not find itself.
const UNFINISHED: &[(&str, &str)] =
    &[("todo", "!("), ("unimplemented", "!("), ("#[ign", "ore"), ("FIX", "ME"), ("mark.x", "fail")];

#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> anyhow::Result<()> {
    let root = crate::root();
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    let mut faults = Vec::new();
    let mut n_files = 0;
    for name in String::from_utf8_lossy(&listed.stdout).lines() {
        let path = root.join(name);
        let Ok(text) = fs::read_to_string(&path) else { continue };
        n_files += 1;
        check(name, &text, &mut faults);
    }
    if !faults.is_empty() {
        bail!("untidy:\n  {}", faults.join("\n  "));
    }
    eprintln!("tidy: {n_files} files");
    Ok(())
}

fn check(name: &str, text: &str, faults: &mut Vec<String>) {
    let path = Path::new(name);
    let is_source =
        matches!(path.extension().and_then(|e| e.to_str()), Some("rs" | "py" | "ts" | "tsx" | "sh"));
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    if is_source && EMPTY_NAMES.contains(&stem) {
        faults.push(format!("{name}: the name says nothing; name the file after what it does"));
    }
    if !is_source || text.starts_with("// @generated") {
        return;
    }
    let n_lines = text.lines().count();
    if n_lines > FILE_LINES_MAX {
        faults.push(format!("{name}: {n_lines} lines (at most {FILE_LINES_MAX}); look for the second story"));
    }
    for (number, line) in text.lines().enumerate() {
        if line.ends_with(' ') || line.ends_with('\t') {
            faults.push(format!("{name}:{}: space at the end of the line", number + 1));
        }
        for (a, b) in UNFINISHED {
            if line.find(a).is_some_and(|at| line[at + a.len()..].starts_with(b)) {
                faults.push(format!("{name}:{}: unfinished work ({a}{b})", number + 1));
            }
        }
    }
    if name.starts_with("crates/core/src") {
        for (number, line) in text.lines().enumerate() {
            if ["tokio::", "std::fs", "std::net::Tcp", "async fn"].iter().any(|w| line.contains(w)) {
                faults.push(format!("{name}:{}: core is pure: no I/O, no async", number + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(name: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        check(name, text, &mut faults);
        faults
    }

    #[test]
    fn finds_what_it_should() {
        assert_eq!(faults("crates/x/src/utils.rs", "").len(), 1);
        assert_eq!(faults("crates/x/src/a.rs", "let a = 1; \n").len(), 1);
        assert_eq!(faults("crates/core/src/a.rs", "use tokio::time;\n").len(), 1);
        assert_eq!(faults("crates/x/src/a.rs", &"x\n".repeat(FILE_LINES_MAX + 1)).len(), 1);
        assert_eq!(faults("a.rs", &format!("{}{}x)", UNFINISHED[0].0, UNFINISHED[0].1)).len(), 1);
        assert!(
            faults("crates/x/src/generated.rs", &format!("// @generated\n{}", "x \n".repeat(900))).is_empty()
        );
        assert!(faults("crates/x/src/a.rs", "fn main() {}\n").is_empty());
    }
}
