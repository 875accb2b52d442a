//! From an image's manifest or service units to the programs to start.
//!
//! Three things stand in for the machine that a process instance does not have:
//!
//! * **Address.** `HOST`, `PORT` and `PUFFER_INSTANCE_ADDRESS` are in the environment and can be named in the command.
//!   An argument that means "every address" — `0.0.0.0:N` or `[::]:N`, alone or behind a `=` — becomes the instance's own
//!   address with `N` moved by [`port_map`], because its own address is all that an instance has.
//! * **Paths.** Absolute paths are looked up in the instance's tree first.
//! * **Libraries.** A program of a *root file system* is started by that tree's own dynamic loader with that tree's
//!   libraries (the host's may be other versions), scripts by the tree's own interpreter, Python with `PYTHONHOME`.
//!   What such a program later executes by absolute path is the host's: there is no chroot here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::bundle::{BundleKind, BundleManifest, PORT_DEFAULT};
use super::layers::resolve;
use super::port_map;
use super::unit::{self, Service};
use crate::{DriverError, LaunchSpec};

/// Where programs of a root file system are looked for.
const ROOT_PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Set in every process of an instance; its value finds them again, also after they left the session.
pub(super) const MARKER: &str = "PUFFER_INSTANCE_DIR";

/// One program to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    /// For messages.
    pub(super) name: String,
    /// Program (a path, or a name for the host's `PATH`) and arguments.
    pub(super) argv: Vec<String>,
    /// Where it starts.
    pub(super) directory: PathBuf,
    /// Its whole environment.
    pub(super) environment: BTreeMap<String, String>,
}

/// The instance's tree as the planner sees it.
pub(super) struct Tree<'a> {
    /// `<data>/instances/<id>`.
    pub(super) directory: &'a Path,
    /// `<directory>/root`.
    pub(super) root: &'a Path,
    /// Parts linked to the image.
    pub(super) linked: &'a [PathBuf],
}

/// The environment that every process of the instance has.
pub(super) fn base_environment(tree: &Tree<'_>, spec: &LaunchSpec, port: u16) -> BTreeMap<String, String> {
    let host_path = std::env::var("PATH")
        .unwrap_or_else(|_| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |key: &str, value: String| env.insert(key.to_owned(), value);
    set("PATH", host_path);
    set("LANG", "C.UTF-8".to_owned());
    set("HOME", tree.root.display().to_string());
    set("HOSTNAME", spec.hostname.clone());
    set("PORT", port_map(port).to_string());
    set("PUFFER_INSTANCE_ID", spec.instance_id.clone());
    set("PUFFER_INSTANCE_ROOT", tree.root.display().to_string());
    if let Some(network) = &spec.network {
        set("HOST", network.address.to_string());
        set("PUFFER_INSTANCE_ADDRESS", network.address.to_string());
    }
    env.extend(spec.environment.clone());
    env.insert(MARKER.to_owned(), tree.directory.display().to_string());
    env
}

/// What the instance's services are.
pub(super) fn services(
    tree: &Tree<'_>,
    manifest: &BundleManifest,
    spec: &LaunchSpec,
) -> Result<Vec<Command>, DriverError> {
    let base = base_environment(tree, spec, manifest.port.unwrap_or(PORT_DEFAULT));
    let services = if manifest.command.is_empty() {
        unit::enabled_services(tree.root, tree.linked)
    } else {
        vec![Service {
            name: "command".to_owned(),
            command: manifest.command.clone(),
            working_directory: manifest.working_directory.clone(),
            environment: BTreeMap::new(),
        }]
    };
    if services.is_empty() {
        return Err(bad_image(
            spec,
            "it has neither a command in puffer-image.json nor an enabled service in /etc/systemd/system"
                .to_owned(),
        ));
    }
    services.into_iter().map(|service| plan(tree, manifest, spec, &base, service)).collect()
}

fn plan(
    tree: &Tree<'_>,
    manifest: &BundleManifest,
    spec: &LaunchSpec,
    base: &BTreeMap<String, String>,
    service: Service,
) -> Result<Command, DriverError> {
    let mut environment = base.clone();
    for (key, value) in manifest.environment.iter().chain(&service.environment) {
        // The instance's own identity is not the image's to choose.
        if key != MARKER {
            environment.insert(key.clone(), unit::expand_word(value, base));
        }
    }
    let directory = match service.working_directory.as_deref() {
        None | Some("~") => tree.root.to_owned(),
        Some(text) => resolve(tree.root, tree.linked, Path::new(&unit::expand_word(text, &environment)))
            .ok_or_else(|| bad_image(spec, format!("{}: no directory {text}", service.name)))?,
    };
    let address = spec.network.as_ref().map(|n| n.address.to_string());
    let mut words = unit::expand(&service.command, &environment).into_iter();
    let program = words.next().ok_or_else(|| bad_image(spec, format!("{}: empty command", service.name)))?;
    let arguments: Vec<String> = words
        .map(|word| match &address {
            Some(address) => own_address(&word, address),
            None => word,
        })
        .map(|word| own_path(tree, word))
        .collect();
    let mut argv = match manifest.kind {
        BundleKind::Process => vec![host_program(tree, &program)],
        BundleKind::Rootfs => root_program(tree, &program, &mut environment)
            .ok_or_else(|| bad_image(spec, format!("{}: no program {program}", service.name)))?,
    };
    argv.extend(arguments);
    Ok(Command { name: service.name, argv, directory, environment })
}

fn bad_image(spec: &LaunchSpec, reason: String) -> DriverError {
    DriverError::BadImage { image_id: spec.image.image_id.clone(), reason }
}

/// `0.0.0.0:N` → the instance's address; see the module.
fn own_address(word: &str, address: &str) -> String {
    let (head, value) = match word.rsplit_once('=') {
        Some((key, value)) => (&word[..=key.len()], value),
        None => ("", word),
    };
    let port = value.strip_prefix("0.0.0.0:").or_else(|| value.strip_prefix("[::]:"));
    match port.and_then(|p| p.parse::<u16>().ok()) {
        Some(port) => format!("{head}{address}:{}", port_map(port)),
        None => word.to_owned(),
    }
}

/// An absolute path that the instance's tree has is meant there.
fn own_path(tree: &Tree<'_>, word: String) -> String {
    if !word.starts_with('/') || word == "/" {
        return word;
    }
    resolve(tree.root, tree.linked, Path::new(&word)).map_or(word, |path| path.display().to_string())
}

/// A process image's program: in its tree if it has it, else the host's.
fn host_program(tree: &Tree<'_>, program: &str) -> String {
    if !program.contains('/') {
        return program.to_owned();
    }
    // Not resolved: the name by which a program is called matters to virtual environments.
    let own = tree.root.join(program.trim_start_matches('/'));
    if own.exists() { own.display().to_string() } else { program.to_owned() }
}

/// A root file system's program with all that must come before it.
fn root_program(
    tree: &Tree<'_>,
    program: &str,
    environment: &mut BTreeMap<String, String>,
) -> Option<Vec<String>> {
    /// A script's interpreter may be a script once more (execve(2) allows four).
    const SCRIPTS_MAX: usize = 4;
    let mut tail: Vec<String> = Vec::new();
    let mut program = program.to_owned();
    for _ in 0..SCRIPTS_MAX {
        let path = find_in_root(tree, &program)?;
        tail.insert(0, path.display().to_string());
        match read_head(&path) {
            Head::Script(interpreter, argument) => {
                let (interpreter, argument) = skip_env(interpreter, argument);
                tail.splice(0..0, argument);
                program = interpreter;
            }
            Head::Dynamic(loader) => {
                if program.rsplit('/').next().is_some_and(|name| name.starts_with("python")) {
                    environment.insert("PYTHONHOME".to_owned(), tree.root.join("usr").display().to_string());
                }
                if let Some(loader) = resolve(tree.root, tree.linked, Path::new(&loader)) {
                    let head = [loader.display().to_string(), "--library-path".to_owned(), libraries(tree)];
                    tail.splice(0..0, head);
                }
                return Some(tail);
            }
            Head::Other => return Some(tail),
        }
    }
    None
}

/// `#!/usr/bin/env python3` asks for `python3`.
fn skip_env(interpreter: String, argument: Option<String>) -> (String, Option<String>) {
    match argument {
        Some(name) if interpreter.ends_with("/env") && !name.starts_with('-') => (name, None),
        argument => (interpreter, argument),
    }
}

fn find_in_root(tree: &Tree<'_>, program: &str) -> Option<PathBuf> {
    let is_file = |path: PathBuf| path.is_file().then_some(path);
    if program.contains('/') {
        // An interpreter found in the tree is already a real path.
        let path = Path::new(program);
        return resolve(tree.root, tree.linked, path).and_then(is_file);
    }
    ROOT_PATH
        .iter()
        .find_map(|dir| resolve(tree.root, tree.linked, &Path::new(dir).join(program)).and_then(is_file))
}

/// The tree's library directories, in the order of Debian's and Red Hat's loaders.
fn libraries(tree: &Tree<'_>) -> String {
    let mut dirs: Vec<PathBuf> = vec!["/usr/local/lib".into()];
    for base in ["/usr/lib", "/lib"] {
        let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
        dirs.push(Path::new(base).join(multiarch));
    }
    dirs.extend(["/usr/lib64", "/lib64", "/usr/lib", "/lib"].map(PathBuf::from));
    let mut found: Vec<String> = dirs
        .iter()
        .filter_map(|dir| resolve(tree.root, tree.linked, dir))
        .filter(|dir| dir.is_dir())
        .map(|dir| dir.display().to_string())
        .collect();
    found.dedup();
    found.join(":")
}

#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// `#!`: interpreter and its one argument.
    Script(String, Option<String>),
    /// An ELF program that asks for this loader.
    Dynamic(String),
    /// Static, or something the kernel will judge.
    Other,
}

fn read_head(path: &Path) -> Head {
    /// The kernel looks at as much of a script's first line.
    const HEAD_BYTES: usize = 256;
    let Ok(mut file) = File::open(path) else { return Head::Other };
    let mut head = [0; HEAD_BYTES];
    let Ok(n) = file.read(&mut head) else { return Head::Other };
    let head = &head[..n];
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let mut parts = line.trim().splitn(2, char::is_whitespace);
        let interpreter = parts.next().unwrap_or_default().to_owned();
        return Head::Script(interpreter, parts.next().map(|a| a.trim().to_owned()));
    }
    elf_loader(&file, head).map_or(Head::Other, Head::Dynamic)
}

/// The `PT_INTERP` string of a 64-bit little-endian ELF file (the layouts of elf(5)).
fn elf_loader(file: &File, head: &[u8]) -> Option<String> {
    const PT_INTERP: u32 = 3;
    const PROGRAM_HEADERS_MAX: u16 = 128;
    const PATH_BYTES_MAX: u64 = 4096;
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = u64::from_le_bytes(head.get(32..40)?.try_into().ok()?);
    let entry_bytes = u64::from(u16::from_le_bytes(head.get(54..56)?.try_into().ok()?));
    let n_entries = u16::from_le_bytes(head.get(56..58)?.try_into().ok()?).min(PROGRAM_HEADERS_MAX);
    for i in 0..u64::from(n_entries) {
        let mut entry = [0; 56];
        file.read_exact_at(&mut entry, table.checked_add(i * entry_bytes)?).ok()?;
        if u32::from_le_bytes(entry[..4].try_into().ok()?) == PT_INTERP {
            let offset = u64::from_le_bytes(entry[8..16].try_into().ok()?);
            let size = u64::from_le_bytes(entry[32..40].try_into().ok()?).min(PATH_BYTES_MAX);
            let mut path = vec![0; usize::try_from(size).ok()?];
            file.read_exact_at(&mut path, offset).ok()?;
            return String::from_utf8(path).ok().map(|p| p.trim_end_matches('\0').to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_means_the_own_one() {
        let port = port_map(80);
        for (word, want) in [
            ("0.0.0.0:80", format!("127.31.0.9:{port}")),
            ("--bind=0.0.0.0:80", format!("--bind=127.31.0.9:{port}")),
            ("[::]:8081", "127.31.0.9:8081".to_owned()),
            ("0.0.0.0", "0.0.0.0".to_owned()),
            ("10.0.0.0:80", "10.0.0.0:80".to_owned()),
            ("http://0.0.0.0:80/", "http://0.0.0.0:80/".to_owned()),
        ] {
            assert_eq!(own_address(word, "127.31.0.9"), want);
        }
    }

    #[test]
    fn understands_the_heads_of_programs() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "#! /usr/bin/env  python3\nx").unwrap();
        assert_eq!(read_head(&script), Head::Script("/usr/bin/env".into(), Some("python3".into())));
        assert_eq!(skip_env("/usr/bin/env".into(), Some("python3".into())), ("python3".into(), None));
        assert!(
            matches!(read_head(Path::new("/proc/self/exe")), Head::Dynamic(loader) if loader.contains("ld"))
        );
        std::fs::write(&script, "\x7fELF").unwrap();
        assert_eq!(read_head(&script), Head::Other);
    }

    #[test]
    fn a_root_file_systems_program_brings_its_loader_and_libraries() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        for sub in ["usr/bin", "lib64", "usr/lib64"] {
            std::fs::create_dir_all(root.join(sub)).unwrap();
        }
        let own = std::fs::canonicalize("/proc/self/exe").unwrap();
        std::fs::copy(own, root.join("usr/bin/python3")).unwrap();
        let Head::Dynamic(loader) = read_head(Path::new("/proc/self/exe")) else { return };
        std::fs::create_dir_all(root.join(loader.trim_start_matches('/')).parent().unwrap()).unwrap();
        std::fs::write(root.join(loader.trim_start_matches('/')), "loader").unwrap();
        std::fs::write(root.join("usr/bin/app"), "#!/usr/bin/python3 -u\n").unwrap();
        let tree = Tree { directory: dir.path(), root: &root, linked: &[] };
        let mut env = BTreeMap::new();
        let argv = root_program(&tree, "app", &mut env).unwrap();
        assert_eq!(argv[0], root.join(loader.trim_start_matches('/')).display().to_string());
        assert_eq!(argv[1], "--library-path");
        assert!(argv[2].contains("lib64"));
        let rest: Vec<_> = argv[3..].to_vec();
        let at = |p: &str| root.join(p).display().to_string();
        assert_eq!(rest, [at("usr/bin/python3"), "-u".into(), at("usr/bin/app")]);
        assert_eq!(env["PYTHONHOME"], at("usr"));
        assert_eq!(root_program(&tree, "absent", &mut env), None);
    }
}
