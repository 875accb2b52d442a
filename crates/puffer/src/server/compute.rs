//! What runs the instances: chosen at the start from what was asked and what the machine allows.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use puffer_compute::container::{self, ContainerDriver};
use puffer_compute::process::ProcessDriver;
use puffer_compute::simulated::{SimulatedDriver, SimulatedSettings};
use puffer_compute::{Driver, DriverState, ImageRef, LaunchSpec};
use puffer_core::Clock;
use puffer_core::ec2::{Cidr, Instance, InstanceState, instance_types};
use puffer_inventory::bootstrap::DEFAULT_SUBNET_PREFIX;
use puffer_store::Store;

use crate::cli::{Compute, ServeArgs};
use crate::data_dir::DataDir;

/// Subnets of simulated instances are larger than AWS's: tens of thousands of instances fit.
const SIMULATED_SUBNET_PREFIX: u8 = 18;
/// Blocks tried for the default VPC, AWS's own first.
const VPC_BLOCK: &str = "172.31.0.0/16";
/// Instances as processes share the host's loopback network.
const LOOPBACK_BLOCK: &str = "127.31.0.0/16";
const LOOPBACK_SPACE: &str = "127.0.0.0/8";

/// What runs the instances here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    Process,
    Simulated,
}

impl Kind {
    /// As `--compute` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Container => "container",
            Kind::Process => "process",
            Kind::Simulated => "simulated",
        }
    }

    /// Block of the default VPC, prefix of its subnets, and where every block must lie.
    pub(crate) async fn network(
        self,
        asked: Option<&str>,
        data: &DataDir,
    ) -> anyhow::Result<(Cidr, u8, Cidr)> {
        let parse =
            |text: &str| text.parse::<Cidr>().map_err(|e| anyhow::anyhow!("{text} is no CIDR block: {e}"));
        let (block, prefix, space) = match self {
            Kind::Container => (VPC_BLOCK, DEFAULT_SUBNET_PREFIX, Cidr::ANY),
            Kind::Process => (LOOPBACK_BLOCK, DEFAULT_SUBNET_PREFIX, parse(LOOPBACK_SPACE)?),
            Kind::Simulated => (VPC_BLOCK, SIMULATED_SUBNET_PREFIX, Cidr::ANY),
        };
        let block = match (asked, self) {
            (Some(asked), _) => parse(asked).context("--vpc-cidr")?,
            (None, Kind::Container) => puffer_network::pick_vpc_cidr(data.path())
                .await?
                .context("every private block is in use on this machine; choose one with --vpc-cidr")?,
            (None, Kind::Process | Kind::Simulated) => parse(block)?,
        };
        if !space.contains_block(block) {
            bail!(
                "--vpc-cidr {block}: instances as processes have loopback addresses, so it must lie in {space}"
            );
        }
        Ok((block, prefix, space))
    }
}

/// What the instances that the records call alive are. Another kind of compute would not find them, take them for lost, and start
/// others in their place while they run on.
pub(crate) fn of_the_living(data: &DataDir, store: &Store) -> Option<Kind> {
    let alive = |i: &Arc<Instance>| i.state != InstanceState::Terminated;
    let any = store.read(|r| r.iter::<Instance>().any(alive));
    let kinds = [Kind::Container, Kind::Process, Kind::Simulated];
    let name = data.compute().filter(|_| any)?;
    kinds.into_iter().find(|k| k.name() == name)
}

/// Decides between containers and processes by trying, unless there are instances already: then it is what they are (`living`).
pub(crate) async fn choose(asked: Compute, living: Option<Kind>, data: &DataDir) -> anyhow::Result<Kind> {
    let wanted = match asked {
        Compute::Auto => living,
        Compute::Container => Some(Kind::Container),
        Compute::Process => Some(Kind::Process),
        Compute::Simulated => Some(Kind::Simulated),
    };
    if let (Some(living), Some(wanted)) = (living, wanted)
        && living != wanted
    {
        bail!(
            "the instances of {} are of the kind {}: go on with --compute {}, or end them first (puffer teardown --yes)",
            data.path().display(),
            living.name(),
            living.name()
        );
    }
    match wanted {
        Some(kind @ (Kind::Simulated | Kind::Process)) => return Ok(kind),
        Some(Kind::Container) | None => {}
    }
    let probe = container::probe(&container_options(data)?).await;
    let network = puffer_network::probe().await;
    if probe.usable && network.is_empty() {
        return Ok(Kind::Container);
    }
    let mut reasons: Vec<String> = probe
        .findings
        .iter()
        .filter(|f| f.level == container::Level::Failure)
        .map(|f| format!("{}: {}", f.name, f.detail))
        .collect();
    reasons.extend(network.into_iter().map(|missing| missing.what));
    if wanted == Some(Kind::Container) {
        bail!("containers cannot be used on this machine: {}. Try: puffer doctor", reasons.join("; "));
    }
    tracing::warn!(
        reasons = reasons.join("; "),
        "instances are plain processes on loopback addresses, NOT isolated from each other or from you"
    );
    Ok(Kind::Process)
}

/// The driver of this kind; twice, if it simulates.
pub(crate) fn driver(
    kind: Kind,
    args: &ServeArgs,
    data: &DataDir,
    store: &Store,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Arc<dyn Driver>, Option<Arc<SimulatedDriver>>)> {
    Ok(match kind {
        Kind::Container => {
            container::raise_host_limits(&host_limits_file(data))
                .unwrap_or_else(|error| tracing::warn!(%error, "cannot raise the machine's inotify limit"));
            let driver = ContainerDriver::new(container_options(data)?).context("the container driver")?;
            (Arc::new(driver), None)
        }
        Kind::Process => (Arc::new(ProcessDriver::open(data.path()).context("the process driver")?), None),
        Kind::Simulated => {
            let settings = SimulatedSettings {
                boot: Duration::from_millis(args.boot_time),
                ..SimulatedSettings::default()
            };
            let driver = SimulatedDriver::restore(settings, Arc::clone(clock), survivors(store));
            let driver = Arc::new(driver);
            (Arc::clone(&driver) as Arc<dyn Driver>, Some(driver))
        }
    })
}

/// The driver that ran the instances of a data directory, for ending them without a server. Simulated ones ended with theirs.
pub(crate) fn driver_of(kind: &str, data: &DataDir) -> anyhow::Result<Option<Box<dyn Driver>>> {
    Ok(match kind {
        "container" => Some(Box::new(ContainerDriver::new(container_options(data)?)?)),
        "process" => Some(Box::new(ProcessDriver::open(data.path())?)),
        _ => None,
    })
}

/// Puts back the settings of the machine that were changed for the instances.
pub(crate) fn restore_machine(data: &DataDir) {
    container::restore_host_limits(&host_limits_file(data))
        .unwrap_or_else(|error| tracing::warn!(%error, "cannot restore the machine's inotify limit"));
}

fn host_limits_file(data: &DataDir) -> std::path::PathBuf {
    data.path().join("host-limits.json")
}

fn container_options(data: &DataDir) -> anyhow::Result<container::Options> {
    Ok(container::Options::new(data.path(), std::env::current_exe()?))
}

/// Instances outlive the control plane. Simulated ones live in its memory, so a new one begins with those that the records say were
/// there.
fn survivors(store: &Store) -> Vec<(LaunchSpec, DriverState)> {
    store.read(|r| r.iter::<Instance>().filter_map(|i| Some((spec_of(i), left_behind(i)?))).collect())
}

/// What the machine has of an instance whose server died, as far as its record tells.
fn left_behind(instance: &Instance) -> Option<DriverState> {
    match instance.state {
        InstanceState::Running | InstanceState::Stopping | InstanceState::ShuttingDown => {
            Some(DriverState::Running)
        }
        InstanceState::Stopped => Some(DriverState::Stopped),
        // It was stopped before and is being started again: its disk is what must not be lost.
        InstanceState::Pending if instance.has_disk => Some(DriverState::Stopped),
        InstanceState::Pending | InstanceState::Terminated => None,
    }
}

fn spec_of(instance: &Instance) -> LaunchSpec {
    let kind = instance_types::find(&instance.instance_type);
    LaunchSpec {
        instance_id: instance.id.clone(),
        image: ImageRef { image_id: instance.image_id.clone(), layers: Vec::new() },
        root: instance.root_serial,
        cpu_millis: kind.map_or(1000, |k| k.n_vcpus * 1000),
        memory_bytes: kind.map_or(1 << 30, |k| u64::from(k.memory_mib) << 20),
        hostname: String::new(),
        network: None,
        ssh_public_keys: Vec::new(),
        user_data: None,
        environment: std::collections::BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use puffer_core::{ManualClock, Timestamp};
    use puffer_inventory::bootstrap::{Bootstrap, BootstrapError, bootstrap_account};
    use puffer_inventory::launch::{LaunchError, LaunchRequest, run_instances};

    #[tokio::test]
    async fn a_server_does_not_change_the_kind_of_living_instances() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create(dir.path()).unwrap();
        for (asked, living, chosen) in [
            (Compute::Process, None, Some(Kind::Process)),
            (Compute::Simulated, None, Some(Kind::Simulated)),
            (Compute::Auto, Some(Kind::Process), Some(Kind::Process)),
            (Compute::Auto, Some(Kind::Simulated), Some(Kind::Simulated)),
            (Compute::Process, Some(Kind::Process), Some(Kind::Process)),
            (Compute::Process, Some(Kind::Container), None),
            (Compute::Simulated, Some(Kind::Process), None),
            (Compute::Container, Some(Kind::Simulated), None),
        ] {
            assert_eq!(choose(asked, living, &data).await.ok(), chosen, "{asked:?}, {living:?}");
        }
        let store = Store::open(&data.store(), &puffer_inventory::schema()).unwrap();
        data.write_compute("container").unwrap();
        assert_eq!(of_the_living(&data, &store), None, "nothing lives");
        data.forget_compute().unwrap();
        assert_eq!(data.compute(), None);
    }

    /// Each state in which a server can die: what the next one's simulated machine begins with.
    #[tokio::test]
    async fn simulated_instances_survive_the_server_in_every_state() {
        use InstanceState as S;
        let cases = [
            (S::Pending, false, None),
            (S::Pending, true, Some(DriverState::Stopped)),
            (S::Running, true, Some(DriverState::Running)),
            (S::Stopping, true, Some(DriverState::Running)),
            (S::Stopped, true, Some(DriverState::Stopped)),
            (S::ShuttingDown, true, Some(DriverState::Running)),
            (S::Terminated, true, None),
        ];
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap();
        let now = Timestamp::from_secs(1_000_000);
        let wanted = Bootstrap {
            account: "123456789012".into(),
            region: "us-east-1".into(),
            vpc_cidr: VPC_BLOCK.parse().unwrap(),
            subnet_prefix: SIMULATED_SUBNET_PREFIX,
            address_space: Cidr::ANY,
            any_image: true,
        };
        let mut rng = rand::rng();
        store
            .transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &wanted, now, &mut rng))
            .await
            .unwrap();
        let request = LaunchRequest {
            min_count: 7,
            max_count: 7,
            ..LaunchRequest::new("ami-0123456789abcdef0", "t2.micro")
        };
        let ids: Vec<String> = store
            .transact::<_, LaunchError>(|tx| {
                let made = run_instances(tx, &request, now, &mut rng)?;
                for (made, (state, has_disk, _)) in made.iter().zip(cases) {
                    tx.update::<Instance>(&made.id, |i| (i.state, i.has_disk) = (state, has_disk));
                }
                Ok(made.iter().map(|i| i.id.clone()).collect())
            })
            .await
            .unwrap();
        let clock = Arc::new(ManualClock::new(now));
        let driver = SimulatedDriver::restore(SimulatedSettings::default(), clock, survivors(&store));
        let listed = driver.list().await.unwrap();
        for (id, (state, has_disk, left)) in ids.iter().zip(cases) {
            let found = listed.iter().find(|i| i.instance_id == *id).map(|i| i.state);
            assert_eq!(found, left, "{state:?}, disk: {has_disk}");
            if left == Some(DriverState::Stopped) {
                let spec = spec_of(&store.get::<Instance>(id).unwrap());
                driver.start(&spec).await.unwrap();
            }
        }
    }
}
