//! The container driver: instances as system containers, with nothing but the kernel.
//!
//! Each instance has namespaces of its own for users, processes, mounts, network, names, IPC and cgroups; an overlay over read-only image
//! layers; limits; a seccomp filter and a bounded capability set. A [`shim`] process per instance builds it and stays beside it.
//!
//! The namespace and mount code is ours rather than libcontainer's. Half of what an instance needs here (groups entered before the cgroup namespace
//! on hybrid hosts, shifted lower layers under one overlay, the network namespace inside the user namespace, no host mounts at all, the
//! seccomp filter without `no_new_privs`) lies outside that crate and must happen between its steps; what remains of it is less code than the
//! hooks would be, and a hundred crates fewer.
//!
//! Cloning is unsafe from a threaded process, so the driver re-executes the program: `main` must call [`helper_main`] before it starts any thread.

mod capture;
mod cgroup;
mod cgroup_layout;
mod console;
mod disk;
mod driver;
mod fleet;
mod guest;
mod host_limits;
mod inject;
mod lifecycle;
mod link;
mod meter;
mod netlink;
mod plan;
mod probe;
mod seccomp;
mod shim;
mod state;
mod surroundings;
mod sys;
mod uid_range;

pub use driver::{ContainerDriver, Options};
pub use host_limits::{Finding, Level, host_limits, raise_host_limits, restore_host_limits};
pub use probe::{Probe, probe};

/// The word on the command line that makes the program a helper: `puffer container-helper …`.
pub const HELPER_WORD: &str = "container-helper";

/// The helper's entry. `args` are the words after [`HELPER_WORD`]; returns the exit code. Call it before any thread exists.
pub fn helper_main(args: &[String]) -> u8 {
    match args.first().map(String::as_str) {
        Some("run") => shim::run(),
        Some("probe") => probe::run(args.get(1).map(String::as_str)),
        _ => 64,
    }
}
