//! Enough of systemd's service units to start an image's own services without booting it.
//!
//! Taken: `ExecStart=` (one), `WorkingDirectory=`, `Environment=`, `EnvironmentFile=`. Which units: those written into
//! `/etc/systemd/system` and enabled there by a `*.wants` link; the distribution's own units under `/usr/lib` expect a
//! machine of their own and are left alone. Anything else in a unit is not acted on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::layers::resolve;

/// Where administrators put units.
const UNIT_DIR: &str = "etc/systemd/system";
/// A unit or environment file larger than this is not one.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// What is taken from one unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Service {
    /// File name without `.service`.
    pub(super) name: String,
    /// Words of `ExecStart=`, quotes removed, variables not yet expanded.
    pub(super) command: Vec<String>,
    /// `WorkingDirectory=`.
    pub(super) working_directory: Option<String>,
    /// `Environment=` and the files of `EnvironmentFile=`.
    pub(super) environment: BTreeMap<String, String>,
}

/// The enabled services of the tree at `root`, by name.
pub(super) fn enabled_services(root: &Path, linked: &[PathBuf]) -> Vec<Service> {
    let Some(dir) = resolve(root, linked, Path::new(UNIT_DIR)) else { return Vec::new() };
    let mut names: Vec<String> = entries(&dir)
        .filter(|path| path.extension().is_some_and(|e| e == "wants") && path.is_dir())
        .flat_map(|wants| entries(&wants).collect::<Vec<_>>())
        .filter_map(|link| link.file_name().and_then(|n| n.to_str()).map(str::to_owned))
        .filter(|name| name.ends_with(".service"))
        .collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter_map(|file| {
            let path = dir.join(&file);
            let text = read_small(&path)?;
            let mut service = parse(file.trim_end_matches(".service"), &text, &mut |name| {
                resolve(root, linked, Path::new(name)).and_then(|path| read_small(&path))
            });
            service.command.retain(|word| !word.is_empty());
            (!service.command.is_empty()).then_some(service)
        })
        .collect()
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Only regular files: a link here is an alias or masks the unit.
fn read_small(path: &Path) -> Option<String> {
    let meta = fs::symlink_metadata(path).ok()?;
    (meta.is_file() && meta.len() <= FILE_BYTES_MAX).then(|| fs::read_to_string(path).ok())?
}

fn parse(name: &str, text: &str, read_file: &mut dyn FnMut(&str) -> Option<String>) -> Service {
    let mut service = Service { name: name.to_owned(), ..Service::default() };
    let mut section = String::new();
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in joined.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(title) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = title.to_owned();
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        if section != "Service" {
            continue;
        }
        let value = value.trim();
        match key.trim() {
            // The last one counts; an empty one resets.
            "ExecStart" => service.command = words(value.trim_start_matches(['-', '@', ':', '+', '!'])),
            "WorkingDirectory" => service.working_directory = Some(value.trim_start_matches('-').to_owned()),
            "Environment" => service.environment.extend(words(value).iter().filter_map(|w| assignment(w))),
            "EnvironmentFile" => {
                if let Some(file) = read_file(value.trim_start_matches('-')) {
                    let lines = file.lines().map(str::trim).filter(|l| !l.starts_with(['#', ';']));
                    service.environment.extend(lines.filter_map(|l| {
                        let (key, value) = assignment(l)?;
                        Some((key, words(&value).join(" ")))
                    }));
                }
            }
            _ => {}
        }
    }
    service
}

fn assignment(word: &str) -> Option<(String, String)> {
    let (key, value) = word.split_once('=')?;
    Some((key.trim().to_owned(), value.to_owned()))
}

/// Splits at white space; quotes group, a backslash takes the next character as it is.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (_, Some(q)) if c == q => quote = None,
            ('\\', Some('"') | None) => word.get_or_insert_default().extend(chars.next()),
            (_, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => out.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

/// Expands variables as `ExecStart=` does: `${NAME}` within a word, `$NAME` alone as a word of its own that is split
/// at white space, `$$` a dollar sign, `%%` a per cent sign. What is not set is empty.
pub(super) fn expand(command: &[String], environment: &BTreeMap<String, String>) -> Vec<String> {
    let mut out = Vec::with_capacity(command.len());
    for word in command {
        let lone = word.strip_prefix('$').filter(|n| !n.is_empty() && n.bytes().all(is_name_byte));
        match lone {
            Some(name) => {
                out.extend(
                    environment.get(name).into_iter().flat_map(|v| v.split_whitespace()).map(str::to_owned),
                );
            }
            None => out.push(expand_word(word, environment)),
        }
    }
    out
}

/// Expands `${NAME}`, `$$` and `%%` within one word.
pub(super) fn expand_word(word: &str, environment: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find(['$', '%']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$").or_else(|| rest.strip_prefix("%%")) {
            out.push_str(&rest[..1]);
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("${").and_then(|r| r.split_once('}')) {
            out.push_str(environment.get(name).map_or("", String::as_str));
            rest = after;
        } else {
            out.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_labs_unit() {
        let text = "[Unit]\nDescription=x\n[Service]\nWorkingDirectory=/srv/app\nEnvironment=\"A=1 2\" B=3\n\
                    EnvironmentFile=-/etc/default/app\nExecStart=/usr/bin/gunicorn \\\n  app:app -b 0.0.0.0:80\n\
                    Restart=always\n[Install]\nWantedBy=multi-user.target\n";
        let service = parse("app", text, &mut |_| Some("# c\nC=\"x y\"\n".to_owned()));
        assert_eq!(service.command, ["/usr/bin/gunicorn", "app:app", "-b", "0.0.0.0:80"]);
        assert_eq!(service.working_directory.as_deref(), Some("/srv/app"));
        let env: Vec<_> = service.environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(env, ["A=1 2", "B=3", "C=x y"]);
    }

    #[test]
    fn splits_words() {
        for (text, want) in [
            ("a b  c", vec!["a", "b", "c"]),
            (r#"sh -c "a 'b' c""#, vec!["sh", "-c", "a 'b' c"]),
            (r#"'' x\ y"#, vec!["", "x y"]),
            ("", vec![]),
        ] {
            assert_eq!(words(text), want, "{text}");
        }
    }

    #[test]
    fn expands_variables() {
        let env: BTreeMap<String, String> = [("HOST", "127.31.0.9"), ("PORT", "8080"), ("OPTS", "-a -b")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        let command = ["-b", "${HOST}:${PORT}", "$OPTS", "$$5", "100%%", "${NONE}x", "$OPTS!", "${open"];
        let got = expand(&command.map(str::to_owned), &env);
        assert_eq!(got, ["-b", "127.31.0.9:8080", "-a", "-b", "$5", "100%", "x", "$OPTS!", "${open"]);
    }
}
