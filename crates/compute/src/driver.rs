//! The contract between Puffer and whatever runs an instance.
//!
//! A driver turns a [`LaunchSpec`] into something that runs, and reports what exists. It keeps no
//! truth of its own beyond what is on the machine: the store decides what *should* exist, and
//! the control plane compares the two at every start.
//!
//! # Rules every driver keeps (checked by `contract.rs`, which runs against each of them)
//!
//! * **Idempotent by instance id.** `launch` of an id that already runs returns `Ok` without a second
//!   launch, also when the first call was cut short by a crash: leftovers of a half-done launch are
//!   completed or rebuilt. `stop`, `start`, `reboot` and `terminate` of an instance already in the wanted
//!   state return `Ok`. `terminate` of an unknown id returns `Ok`.
//! * **A root volume is replaced once.** Each has a number ([`LaunchSpec::root`]), which the driver keeps with the disk and reports.
//!   `replace_root` of an instance whose disk has the number already makes no other one, so a call that was cut short is simply made
//!   again. An image that cannot be used costs the guest nothing: it runs on from the disk that it has. Numbers only grow: a call that
//!   comes late, with a smaller one than the disk's, is refused and changes nothing.
//! * **A guest boots from what its disk was made from.** `launch`, `start` and `reboot` of an instance whose disk has another number than
//!   the spec are refused and change nothing: the spec's image would be the wrong one. A replacement that was cut short has either happened
//!   or not, whoever is asked next.
//! * **Not found is typed.** `stop`, `start`, `reboot`, `replace_root`, `suspend`, `create_image` and `console_output` of an unknown id
//!   return [`DriverError::NotFound`].
//! * **Nothing leaks.** A failed `launch` leaves nothing behind; `terminate` removes disk, names, mounts,
//!   cgroups and processes before it returns.
//! * **Instances outlive the control plane.** Dropping the driver or killing the process stops no instance.
//! * **Suspended is not stopped.** A suspended instance counts as running, is not metered, keeps its memory and answers nobody, also
//!   after the driver was opened anew. `stop` and `terminate` end it all the same; what is started runs.
//! * **Bounded.** Every call ends by itself; drivers put a time-out on each thing they wait for.
//! * **Retry class is in the error.** See [`DriverError::class`].

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use puffer_core::Timestamp;

/// All that a driver needs to run an instance. Complete by itself: a driver never reads the store.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LaunchSpec {
    /// `i-…`; the key of every later call.
    pub instance_id: String,
    /// Where the image's root comes from.
    pub image: ImageRef,
    /// Number of the root volume: `launch` and `replace_root` give it to the disk that they make; other calls leave the disk as it is, and
    /// refuse if it has another one.
    #[serde(default)]
    pub root: u32,
    /// Virtual CPUs, in thousandths (2000 = two CPUs).
    pub cpu_millis: u32,
    /// Memory limit in bytes.
    pub memory_bytes: u64,
    /// Host name inside the instance.
    pub hostname: String,
    /// The instance's place in the network; `None` for drivers or tests without one.
    pub network: Option<NetworkAttachment>,
    /// OpenSSH public keys for the image's default user and root.
    pub ssh_public_keys: Vec<String>,
    /// User data as the guest shall see it (decoded), run at first boot.
    pub user_data: Option<Vec<u8>>,
    /// Extra environment for the init process.
    pub environment: BTreeMap<String, String>,
}

/// A stored image as drivers see it: an unpacked, read-only root below the image store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageRef {
    /// `ami-…`.
    pub image_id: String,
    /// Layers, lowest first: directories that hold (parts of) a root file system.
    pub layers: Vec<PathBuf>,
}

/// One interface on a bridge that the network room made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NetworkAttachment {
    /// Bridge in the host's network namespace; empty for drivers whose instances share the host's loopback.
    pub bridge: String,
    /// Name of the host's end of the pair (at most 15 bytes).
    pub host_interface: String,
    /// The instance's address.
    pub address: Ipv4Addr,
    /// Prefix length of its subnet.
    pub prefix: u8,
    /// Default gateway (the bridge's own address).
    pub gateway: Ipv4Addr,
    /// MAC address, `02:…`.
    pub mac: String,
    /// Name servers for `/etc/resolv.conf`.
    pub dns: Vec<Ipv4Addr>,
}

/// What a driver reports of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DriverState {
    /// Created, not yet running its init.
    Starting,
    /// Init runs.
    Running,
    /// Its disk exists, nothing runs (stopped, powered off by the guest or died).
    Stopped,
}

/// One entry of [`Driver::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverInstance {
    /// `i-…`.
    pub instance_id: String,
    /// What it does now.
    pub state: DriverState,
    /// What is wrong with it. Of a stopped one: how it died, if neither its guest powered it off nor anybody asked. Of a running one: why
    /// its guest cannot be reached. Drivers that cannot tell say nothing.
    pub trouble: Option<String>,
    /// It runs but is held still ([`Driver::suspend`]).
    pub suspended: bool,
    /// Number of its root volume ([`LaunchSpec::root`]).
    pub root: u32,
}

/// Cumulative counters of an instance since its last start; readers take differences.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// CPU time used, nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory now, bytes.
    pub memory_bytes: u64,
    /// Bytes received by the instance.
    pub network_in_bytes: u64,
    /// Bytes sent by the instance.
    pub network_out_bytes: u64,
    /// Packets received.
    pub network_in_packets: u64,
    /// Packets sent.
    pub network_out_packets: u64,
    /// Bytes read from its disk.
    pub disk_read_bytes: u64,
    /// Bytes written to its disk.
    pub disk_write_bytes: u64,
    /// Read operations of its disk; `None`: the driver cannot count them.
    pub disk_read_ops: Option<u64>,
    /// Write operations of its disk; `None`: the driver cannot count them.
    pub disk_write_ops: Option<u64>,
}

/// What went wrong in a driver, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// No such instance.
    #[error("instance {0} does not exist on this driver")]
    NotFound(String),
    /// Not enough CPU, memory, disk or addresses now; another zone or a later time may do.
    #[error("insufficient capacity: {0}")]
    InsufficientCapacity(String),
    /// The image is missing or damaged.
    #[error("image {image_id} cannot be used: {reason}")]
    BadImage {
        /// `ami-…`
        image_id: String,
        /// Why.
        reason: String,
    },
    /// This driver cannot do it at all on this machine.
    #[error("not supported by the {driver} driver: {what}")]
    Unsupported {
        /// Driver's name.
        driver: &'static str,
        /// What was asked.
        what: String,
    },
    /// A passing fault; retry with back-off.
    #[error("{0}")]
    Transient(String),
    /// Retrying the same call will not help.
    #[error("{0}")]
    Permanent(String),
}

impl DriverError {
    /// What is said of a spec whose root volume is not the one of the instance's disk.
    pub fn other_root(spec: &LaunchSpec, has: u32) -> DriverError {
        DriverError::Permanent(format!(
            "{} has the root volume of number {has}, not {}",
            spec.instance_id, spec.root
        ))
    }

    /// Class for retry decisions.
    pub fn class(&self) -> puffer_core::ErrorClass {
        use puffer_core::ErrorClass as C;
        match self {
            DriverError::NotFound(_) => C::Caller,
            DriverError::InsufficientCapacity(_) => C::Capacity,
            DriverError::BadImage { .. } | DriverError::Unsupported { .. } | DriverError::Permanent(_) => {
                C::Permanent
            }
            DriverError::Transient(_) => C::Transient,
        }
    }
}

/// Runs instances. See the module's rules.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// `container`, `process` or `simulated`.
    fn name(&self) -> &'static str;

    /// How many calls may usefully run at once.
    fn calls_at_once(&self) -> usize {
        CALLS_AT_ONCE_DEFAULT
    }

    /// Creates and starts the instance; returns when its init runs.
    async fn launch(&self, spec: &LaunchSpec) -> Result<(), DriverError>;

    /// Starts a stopped instance from its own disk. The spec is the current one (same id, same image).
    async fn start(&self, spec: &LaunchSpec) -> Result<(), DriverError>;

    /// Powers off: asks the guest, then kills after `grace_s` seconds. Keeps the disk.
    async fn stop(&self, instance_id: &str, grace_s: u32) -> Result<(), DriverError>;

    /// Restarts the guest with the same disk.
    async fn reboot(&self, spec: &LaunchSpec) -> Result<(), DriverError>;

    /// Replaces the disk by a new one from the spec's image: asks the guest to power off, kills it after `grace_s` seconds, and starts it
    /// from the new disk as at a first boot, user data included. The instance keeps everything else.
    async fn replace_root(&self, spec: &LaunchSpec, grace_s: u32) -> Result<(), DriverError>;

    /// Holds a running guest still, all of its processes at once, or lets it go on. Does nothing to one that does not run.
    async fn suspend(&self, instance_id: &str, suspended: bool) -> Result<(), DriverError>;

    /// Ends the instance and removes all it had.
    async fn terminate(&self, instance_id: &str) -> Result<(), DriverError>;

    /// Everything this driver has on the machine, whoever asked for it.
    async fn list(&self) -> Result<Vec<DriverInstance>, DriverError>;

    /// Waits until the set of instances or their states may have changed (an instance's init ended, for
    /// example) or `None`-like spurious wake-ups; used as a wake, never as truth.
    async fn changed(&self);

    /// Counters of the given instances; those unknown or stopped are left out. Cheap: called each second.
    fn usage(&self, instance_ids: &mut dyn Iterator<Item = &str>, out: &mut Vec<(String, Usage)>);

    /// Copies the instance's disk as it is now into `target` (a new empty directory) as one image layer on
    /// top of the layers it was launched from; returns all layers, lowest first.
    async fn create_image(&self, instance_id: &str, target: &Path) -> Result<Vec<PathBuf>, DriverError>;

    /// The latest console output (at most [`CONSOLE_BYTES_MAX`]) and when it last grew.
    async fn console_output(&self, instance_id: &str) -> Result<(Vec<u8>, Option<Timestamp>), DriverError>;
}

/// EC2 keeps the newest 64 KiB of console output (GetConsoleOutput).
pub const CONSOLE_BYTES_MAX: usize = 64 * 1024;

/// Calls that a driver gets at once unless it says otherwise: launches are bound by CPU and disk, and more at a time would
/// only make each slower.
pub const CALLS_AT_ONCE_DEFAULT: usize = 16;
