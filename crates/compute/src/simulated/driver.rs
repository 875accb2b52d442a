use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use puffer_core::{Clock, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::machine::Machine;
use super::{Load, SimulatedSettings};
use crate::{Driver, DriverError, DriverInstance, DriverState, LaunchSpec, Usage};

/// Driver calls that may wait at once: they are timers, so only memory bounds them.
const CALLS_AT_ONCE: usize = 8_192;

/// The simulated driver. See the module.
pub struct SimulatedDriver {
    machines: Mutex<HashMap<String, Machine>>,
    settings: Mutex<SimulatedSettings>,
    dice: Mutex<Pcg64>,
    clock: Arc<dyn Clock>,
    changed: Notify,
}

/// How a boot begins.
enum Boot {
    /// It runs already.
    Runs,
    /// Wait until then and finish that boot.
    Until(Instant, u64),
}

impl SimulatedDriver {
    /// An empty machine.
    pub fn new(settings: SimulatedSettings, clock: Arc<dyn Clock>) -> SimulatedDriver {
        SimulatedDriver {
            machines: Mutex::default(),
            dice: Mutex::new(Pcg64::seed_from_u64(settings.seed)),
            settings: Mutex::new(settings),
            clock,
            changed: Notify::new(),
        }
    }

    /// A machine that already has these instances, running or stopped as given.
    pub fn restore(
        settings: SimulatedSettings,
        clock: Arc<dyn Clock>,
        instances: impl IntoIterator<Item = (LaunchSpec, DriverState)>,
    ) -> SimulatedDriver {
        let driver = SimulatedDriver::new(settings, clock);
        let (now, at) = (Instant::now(), driver.clock.now());
        {
            let mut machines = driver.machines.lock();
            for (spec, state) in instances {
                let mut machine = Machine::of(&spec, now);
                if state != DriverState::Stopped {
                    machine.run(now, at);
                }
                machines.insert(spec.instance_id, machine);
            }
        }
        driver
    }

    /// Changes how the machine behaves from now on.
    pub fn adjust(&self, change: impl FnOnce(&mut SimulatedSettings)) {
        change(&mut self.settings.lock());
    }

    /// The guest powers off by itself: it is stopped and nobody asked. Says whether it ran.
    pub fn power_off(&self, instance_id: &str) -> bool {
        self.befall(instance_id, |machine| machine.state = DriverState::Stopped)
    }

    /// The guest dies. Says whether it ran.
    pub fn crash(&self, instance_id: &str, how: &str) -> bool {
        self.befall(instance_id, |machine| {
            machine.state = DriverState::Stopped;
            machine.trouble = Some(how.to_owned());
        })
    }

    /// The guest runs on and cannot be reached (why), or can again (`None`). Says whether it ran.
    pub fn impair(&self, instance_id: &str, why: Option<&str>) -> bool {
        self.befall(instance_id, |machine| machine.trouble = why.map(str::to_owned))
    }

    fn befall(&self, instance_id: &str, what: impl FnOnce(&mut Machine)) -> bool {
        let ran = match self.machines.lock().get_mut(instance_id) {
            Some(machine) if machine.state == DriverState::Running => {
                what(machine);
                true
            }
            _ => false,
        };
        if ran {
            self.changed.notify_one();
        }
        ran
    }

    /// The instance is gone with its disk, as if its host had burnt down. Says whether it existed.
    pub fn lose(&self, instance_id: &str) -> bool {
        let existed = self.machines.lock().remove(instance_id).is_some();
        if existed {
            self.changed.notify_one();
        }
        existed
    }

    /// An instance that nobody recorded appears.
    pub fn intrude(&self, instance_id: &str) {
        let mut machine = Machine::new(1000, 0, Instant::now());
        machine.state = DriverState::Running;
        self.machines.lock().insert(instance_id.to_owned(), machine);
        self.changed.notify_one();
    }

    fn missing(id: &str) -> DriverError {
        DriverError::NotFound(id.to_owned())
    }

    /// Throws the dice for a boot.
    fn fate(&self, spec: &LaunchSpec, is_new: bool, n_machines: usize) -> Result<Duration, DriverError> {
        let settings = self.settings.lock();
        if settings.bad_images.contains(&spec.image.image_id) {
            let reason = "the simulation was told so".to_owned();
            return Err(DriverError::BadImage { image_id: spec.image.image_id.clone(), reason });
        }
        if is_new && n_machines >= settings.n_instances_max {
            return Err(DriverError::InsufficientCapacity("the simulated machine is full".into()));
        }
        let (capacity, transient) = (settings.capacity_failures, settings.transient_failures);
        let permanent = settings.permanent_failures;
        if capacity + transient + permanent > 0.0 {
            let thrown: f64 = self.dice.lock().random();
            if thrown < capacity {
                return Err(DriverError::InsufficientCapacity(
                    "the simulated machine has no room now".into(),
                ));
            }
            if thrown < capacity + transient {
                return Err(DriverError::Transient("the simulated machine hiccuped".into()));
            }
            if thrown < capacity + transient + permanent {
                return Err(DriverError::Permanent("the simulated machine refused".into()));
            }
        }
        Ok(settings.boot)
    }

    fn begin(&self, spec: &LaunchSpec, may_be_new: bool) -> Result<Boot, DriverError> {
        let now = Instant::now();
        let mut machines = self.machines.lock();
        let n_machines = machines.len();
        match machines.get_mut(&spec.instance_id) {
            Some(machine) if machine.root != spec.root => Err(DriverError::other_root(spec, machine.root)),
            Some(machine) => match machine.state {
                DriverState::Running => Ok(Boot::Runs),
                DriverState::Starting => Ok(Boot::Until(machine.ready_at, machine.boot)),
                DriverState::Stopped => {
                    let ready_at = now + self.fate(spec, false, n_machines)?;
                    Ok(Boot::Until(ready_at, machine.start(ready_at)))
                }
            },
            None if may_be_new => {
                let ready_at = now + self.fate(spec, true, n_machines)?;
                let mut machine = Machine::of(spec, now);
                let boot = machine.start(ready_at);
                machines.insert(spec.instance_id.clone(), machine);
                Ok(Boot::Until(ready_at, boot))
            }
            None => Err(Self::missing(&spec.instance_id)),
        }
    }

    async fn boot(&self, spec: &LaunchSpec, may_be_new: bool) -> Result<(), DriverError> {
        let Boot::Until(ready_at, boot) = self.begin(spec, may_be_new)? else { return Ok(()) };
        if ready_at > Instant::now() {
            tokio::time::sleep_until(ready_at).await;
        }
        let mut machines = self.machines.lock();
        match machines.get_mut(&spec.instance_id) {
            Some(machine) if machine.boot == boot => {
                if machine.state == DriverState::Starting {
                    machine.run(Instant::now(), self.clock.now());
                }
                Ok(())
            }
            _ => Err(DriverError::Transient(format!("{} was ended while it booted", spec.instance_id))),
        }
    }

    async fn shut_down(&self) {
        let shutdown = self.settings.lock().shutdown;
        if !shutdown.is_zero() {
            tokio::time::sleep(shutdown).await;
        }
    }
}

#[async_trait]
impl Driver for SimulatedDriver {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn calls_at_once(&self) -> usize {
        CALLS_AT_ONCE
    }

    async fn launch(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        self.boot(spec, true).await
    }

    async fn start(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        self.boot(spec, false).await
    }

    async fn stop(&self, instance_id: &str, _grace_s: u32) -> Result<(), DriverError> {
        match self.machines.lock().get(instance_id) {
            None => return Err(Self::missing(instance_id)),
            Some(machine) if machine.state == DriverState::Stopped => return Ok(()),
            Some(_) => {}
        }
        self.shut_down().await;
        if let Some(machine) = self.machines.lock().get_mut(instance_id) {
            machine.state = DriverState::Stopped;
            machine.trouble = None;
            machine.suspended = false;
        }
        Ok(())
    }

    async fn reboot(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        let boot = self.settings.lock().boot;
        let (ready_at, number) = {
            let mut machines = self.machines.lock();
            let machine =
                machines.get_mut(&spec.instance_id).ok_or_else(|| Self::missing(&spec.instance_id))?;
            if machine.root != spec.root {
                return Err(DriverError::other_root(spec, machine.root));
            }
            let ready_at = Instant::now() + boot;
            (ready_at, machine.start(ready_at))
        };
        tokio::time::sleep_until(ready_at).await;
        if let Some(machine) = self.machines.lock().get_mut(&spec.instance_id)
            && machine.boot == number
            && machine.state == DriverState::Starting
        {
            machine.run(Instant::now(), self.clock.now());
        }
        Ok(())
    }

    async fn replace_root(&self, spec: &LaunchSpec, _grace_s: u32) -> Result<(), DriverError> {
        let root = self.machines.lock().get(&spec.instance_id).map(|machine| machine.root);
        let root = root.ok_or_else(|| Self::missing(&spec.instance_id))?;
        if root > spec.root {
            return Err(DriverError::other_root(spec, root));
        }
        if root != spec.root {
            self.fate(spec, false, 0)?;
            self.shut_down().await;
            if let Some(machine) = self.machines.lock().get_mut(&spec.instance_id) {
                machine.state = DriverState::Stopped;
                (machine.root, machine.n_boots) = (spec.root, 0);
            }
        }
        self.boot(spec, false).await
    }

    async fn suspend(&self, instance_id: &str, suspended: bool) -> Result<(), DriverError> {
        let mut machines = self.machines.lock();
        let machine = machines.get_mut(instance_id).ok_or_else(|| Self::missing(instance_id))?;
        machine.suspended = suspended && machine.state == DriverState::Running;
        Ok(())
    }

    async fn terminate(&self, instance_id: &str) -> Result<(), DriverError> {
        if self.machines.lock().contains_key(instance_id) {
            self.shut_down().await;
            self.machines.lock().remove(instance_id);
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<DriverInstance>, DriverError> {
        let machines = self.machines.lock();
        Ok(machines
            .iter()
            .map(|(id, m)| DriverInstance {
                instance_id: id.clone(),
                state: m.state,
                trouble: m.trouble.clone(),
                suspended: m.suspended && m.state == DriverState::Running,
                root: m.root,
            })
            .collect())
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    fn usage(&self, instance_ids: &mut dyn Iterator<Item = &str>, out: &mut Vec<(String, Usage)>) {
        let load: Load = Arc::clone(&self.settings.lock().load);
        let now = Instant::now();
        let mut machines = self.machines.lock();
        for id in instance_ids {
            if let Some(usage) = machines.get_mut(id).and_then(|m| m.usage(now, load(id))) {
                out.push((id.to_owned(), usage));
            }
        }
    }

    async fn create_image(&self, instance_id: &str, _target: &Path) -> Result<Vec<PathBuf>, DriverError> {
        let known = self.machines.lock().contains_key(instance_id);
        // There is no disk, so the image has no layers; it launches all the same.
        if known { Ok(Vec::new()) } else { Err(Self::missing(instance_id)) }
    }

    async fn console_output(&self, instance_id: &str) -> Result<(Vec<u8>, Option<Timestamp>), DriverError> {
        let machines = self.machines.lock();
        let machine = machines.get(instance_id).ok_or_else(|| Self::missing(instance_id))?;
        let text = match machine.n_boots {
            0 => String::new(),
            n => format!("simulated instance {instance_id}: boot {n}\n"),
        };
        Ok((text.into_bytes(), machine.booted_at))
    }
}
