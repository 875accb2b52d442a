//! The machine room: what runs, and the driver over it. Machines go on while the server is dead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use puffer_compute::{Driver, DriverError, DriverInstance, DriverState, LaunchSpec, Usage};
use puffer_core::Timestamp;
use rand::RngExt;

use crate::dice::chance;
use crate::invariants::Act;
use crate::load::{BYTES_PER_CPU_S, NS_PER_S};
use crate::world::World;

/// Slow boots take up to this: beyond the converger's patience.
const SLOW_BOOT_MS: std::ops::Range<i64> = 30_000..300_000;
/// Guests take up to this to power off, milliseconds.
const SHUTDOWN_MS: u64 = 3_000;
/// Calls that may be under way at once.
const CALLS_AT_ONCE: usize = 64;

/// What a machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    /// Boots until then, true time.
    Starting(i64),
    On,
    Off,
}

/// One machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    power: Power,
    zone: String,
    /// Answers nobody until then, true time.
    sick_until: i64,
    /// Held still.
    suspended: bool,
    /// Number of its root volume.
    pub(crate) root: u32,
    /// The image that it was told to boot last; nobody told those that appeared by themselves.
    pub(crate) image: Option<String>,
    /// CPU time used since the boot, nanoseconds.
    pub(crate) cpu_ns: f64,
    pub(crate) n_vcpus: f64,
}

impl Machine {
    pub(crate) fn state(&self, now_ms: i64) -> DriverState {
        match self.power {
            Power::Starting(ready) if now_ms < ready => DriverState::Starting,
            Power::Starting(_) | Power::On => DriverState::Running,
            Power::Off => DriverState::Stopped,
        }
    }

    /// Runs and answers health checks.
    pub(crate) fn answers(&self, now_ms: i64) -> bool {
        self.state(now_ms) == DriverState::Running && self.sick_until <= now_ms && !self.suspended
    }

    /// Runs, but not a step further.
    pub(crate) fn is_held(&self) -> bool {
        self.suspended
    }

    fn boot(&mut self, ready_ms: i64) {
        (self.power, self.cpu_ns, self.suspended) = (Power::Starting(ready_ms), 0.0, false);
    }
}

/// All machines.
#[derive(Default)]
pub(crate) struct Machines {
    pub(crate) by_id: BTreeMap<String, Machine>,
}

impl Machines {
    fn ids(&self, wanted: impl Fn(&Machine) -> bool) -> Vec<String> {
        self.by_id.iter().filter(|(_, m)| wanted(m)).map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn running(&self, now_ms: i64) -> Vec<String> {
        self.ids(|m| m.state(now_ms) == DriverState::Running)
    }

    pub(crate) fn running_in(&self, zone: &str, now_ms: i64) -> Vec<String> {
        self.ids(|m| m.state(now_ms) == DriverState::Running && m.zone == zone)
    }

    pub(crate) fn power_off(&mut self, id: &str) {
        if let Some(machine) = self.by_id.get_mut(id) {
            machine.power = Power::Off;
            machine.suspended = false;
        }
    }

    pub(crate) fn lose(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    pub(crate) fn intrude(&mut self, id: &str, now_ms: i64) {
        self.by_id.insert(id.to_owned(), machine(String::new(), now_ms));
    }

    pub(crate) fn sicken(&mut self, id: &str, until_ms: i64) {
        if let Some(machine) = self.by_id.get_mut(id) {
            machine.sick_until = machine.sick_until.max(until_ms);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.by_id.values_mut().for_each(|m| m.sick_until = 0);
    }
}

fn machine(zone: String, ready_ms: i64) -> Machine {
    Machine {
        power: Power::Starting(ready_ms),
        zone,
        sick_until: 0,
        suspended: false,
        root: 0,
        image: None,
        cpu_ns: 0.0,
        n_vcpus: 1.0,
    }
}

/// What becomes of a call.
struct Fate {
    boot_ms: i64,
    /// It works, but the answer never comes.
    lost: bool,
}

/// The driver over the machine room.
pub(crate) struct SimDriver(pub(crate) Arc<World>);

impl SimDriver {
    fn begin(&self, spec: &LaunchSpec, is_launch: bool) -> Result<(i64, bool), DriverError> {
        let now = self.0.time.now_ms();
        let state = &mut *self.0.state.lock();
        let zone = state.view.instances.get(&spec.instance_id).map(|i| i.zone.clone()).unwrap_or_default();
        if let Some(machine) = state.machines.by_id.get(&spec.instance_id) {
            if machine.root != spec.root {
                return Err(DriverError::other_root(spec, machine.root));
            }
            match machine.power {
                Power::On => return Ok((now, false)),
                Power::Starting(ready) => return Ok((ready.max(now), false)),
                Power::Off => {}
            }
        } else if !is_launch {
            return Err(DriverError::NotFound(spec.instance_id.clone()));
        }
        let fate = fate(&mut state.faults, &zone, &spec.image.image_id, &self.0.plan.boot_ms)?;
        let ready = now + fate.boot_ms;
        let made = state
            .machines
            .by_id
            .entry(spec.instance_id.clone())
            .or_insert_with(|| Machine { root: spec.root, ..machine(zone, ready) });
        made.n_vcpus = f64::from(spec.cpu_millis) / 1000.0;
        made.image = Some(spec.image.image_id.clone());
        made.boot(ready);
        Ok((ready, fate.lost))
    }

    async fn boot(&self, spec: &LaunchSpec, is_launch: bool) -> Result<(), DriverError> {
        self.0.life.step().await;
        let verb = if is_launch { "launch" } else { "start" };
        self.0.act(Act::Boot { id: &spec.instance_id });
        let begun = self.begin(spec, is_launch);
        self.0.note(format_args!("driver: {verb} {}: {begun:?}", spec.instance_id));
        let (ready, lost) = begun?;
        if lost {
            std::future::pending::<()>().await;
        }
        let wait = u64::try_from(ready - self.0.time.now_ms()).unwrap_or(0);
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        self.0.life.step().await;
        let mut state = self.0.state.lock();
        match state.machines.by_id.get_mut(&spec.instance_id) {
            Some(machine) if machine.power == Power::Starting(ready) => {
                machine.power = Power::On;
                Ok(())
            }
            Some(machine) if machine.power == Power::On => Ok(()),
            _ => Err(DriverError::Transient(format!("{} was ended while it booted", spec.instance_id))),
        }
    }

    /// A call that may fail in passing, or work and not be answered.
    async fn call(&self, what: &str, id: &str, takes_ms: u64) -> Result<bool, DriverError> {
        self.0.life.step().await;
        let (fails, lost, takes) = {
            let f = &mut self.0.state.lock().faults;
            let fails = f.calls > 0.0 && chance(&mut f.dice, f.calls);
            let lost = f.lost > 0.0 && chance(&mut f.dice, f.lost / 4.0);
            (fails, lost, f.dice.random_range(0..=takes_ms))
        };
        self.0.note(format_args!("driver: {what} {id}: fails {fails}, lost {lost}"));
        if fails {
            return Err(DriverError::Transient(format!("the simulated machine hiccuped at {what}")));
        }
        tokio::time::sleep(Duration::from_millis(takes)).await;
        self.0.life.step().await;
        Ok(lost)
    }
}

fn fate(
    f: &mut crate::faults::Faults,
    zone: &str,
    image_id: &str,
    boots: &std::ops::RangeInclusive<i64>,
) -> Result<Fate, DriverError> {
    if f.zones_down.contains(zone) {
        return Err(DriverError::InsufficientCapacity(format!("{zone} is away")));
    }
    let dice = &mut f.dice;
    if f.capacity > 0.0 && chance(dice, f.capacity) {
        return Err(DriverError::InsufficientCapacity("the simulated machine has no room now".into()));
    }
    if f.transient > 0.0 && chance(dice, f.transient) {
        return Err(DriverError::Transient("the simulated machine hiccuped".into()));
    }
    if f.permanent > 0.0 && chance(dice, f.permanent) {
        return Err(DriverError::Permanent("the simulated machine refused".into()));
    }
    if f.bad_image > 0.0 && chance(dice, f.bad_image) {
        return Err(DriverError::BadImage { image_id: image_id.to_owned(), reason: "it is damaged".into() });
    }
    if f.unsupported > 0.0 && chance(dice, f.unsupported) {
        return Err(DriverError::Unsupported { driver: "simulated", what: "this".into() });
    }
    let slow = f.slow > 0.0 && chance(dice, f.slow);
    let boot_ms = if slow { dice.random_range(SLOW_BOOT_MS) } else { dice.random_range(boots.clone()) };
    Ok(Fate { boot_ms, lost: f.lost > 0.0 && chance(dice, f.lost) })
}

#[async_trait]
impl Driver for SimDriver {
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

    async fn stop(&self, instance_id: &str, _: u32) -> Result<(), DriverError> {
        let lost = self.call("stop", instance_id, SHUTDOWN_MS).await?;
        {
            let mut state = self.0.state.lock();
            if !state.machines.by_id.contains_key(instance_id) {
                return Err(DriverError::NotFound(instance_id.to_owned()));
            }
            state.machines.power_off(instance_id);
        }
        unanswered(lost).await;
        Ok(())
    }

    async fn reboot(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        let lost = self.call("reboot", &spec.instance_id, SHUTDOWN_MS).await?;
        {
            let mut state = self.0.state.lock();
            let Some(machine) = state.machines.by_id.get_mut(&spec.instance_id) else {
                return Err(DriverError::NotFound(spec.instance_id.clone()));
            };
            if machine.root != spec.root {
                return Err(DriverError::other_root(spec, machine.root));
            }
            machine.image = Some(spec.image.image_id.clone());
            machine.boot(self.0.time.now_ms());
        }
        unanswered(lost).await;
        Ok(())
    }

    async fn replace_root(&self, spec: &LaunchSpec, _: u32) -> Result<(), DriverError> {
        let id = &spec.instance_id;
        let lost = self.call("replace_root", id, SHUTDOWN_MS).await?;
        {
            let state = &mut *self.0.state.lock();
            let Some(machine) = state.machines.by_id.get_mut(id) else {
                return Err(DriverError::NotFound(id.clone()));
            };
            if machine.root > spec.root {
                return Err(DriverError::other_root(spec, machine.root));
            }
            if machine.root != spec.root {
                // What is wrong with the image, or lacks, shows before the old disk is given up.
                fate(&mut state.faults, &machine.zone, &spec.image.image_id, &self.0.plan.boot_ms)?;
                (machine.power, machine.suspended, machine.root) = (Power::Off, false, spec.root);
            }
        }
        unanswered(lost).await;
        self.boot(spec, false).await
    }

    async fn suspend(&self, instance_id: &str, suspended: bool) -> Result<(), DriverError> {
        let lost = self.call("suspend", instance_id, 0).await?;
        {
            let mut state = self.0.state.lock();
            let Some(machine) = state.machines.by_id.get_mut(instance_id) else {
                return Err(DriverError::NotFound(instance_id.to_owned()));
            };
            machine.suspended = suspended && machine.power != Power::Off;
        }
        unanswered(lost).await;
        Ok(())
    }

    async fn terminate(&self, instance_id: &str) -> Result<(), DriverError> {
        let lost = self.call("terminate", instance_id, SHUTDOWN_MS).await?;
        self.0.state.lock().machines.lose(instance_id);
        unanswered(lost).await;
        Ok(())
    }

    async fn list(&self) -> Result<Vec<DriverInstance>, DriverError> {
        self.0.life.step().await;
        let now = self.0.time.now_ms();
        let mut state = self.0.state.lock();
        let f = &mut state.faults;
        if f.calls > 0.0 && chance(&mut f.dice, f.calls / 2.0) {
            return Err(DriverError::Transient("the simulated machine could not list".into()));
        }
        let entry = |(id, m): (&String, &Machine)| DriverInstance {
            instance_id: id.clone(),
            state: m.state(now),
            trouble: None,
            suspended: m.suspended && m.state(now) == DriverState::Running,
            root: m.root,
        };
        Ok(state.machines.by_id.iter().map(entry).collect())
    }

    async fn changed(&self) {
        self.0.machines_changed.notified().await;
    }

    fn usage(&self, instance_ids: &mut dyn Iterator<Item = &str>, out: &mut Vec<(String, Usage)>) {
        let now = self.0.time.now_ms();
        let state = self.0.state.lock();
        for id in instance_ids {
            let runs = |m: &&Machine| m.state(now) == DriverState::Running && !m.suspended;
            let machine = state.machines.by_id.get(id).filter(runs);
            if let Some(machine) = machine {
                let network_out_bytes = (machine.cpu_ns / NS_PER_S * BYTES_PER_CPU_S) as u64;
                let usage = Usage { cpu_ns: machine.cpu_ns as u64, network_out_bytes, ..Usage::default() };
                out.push((id.to_owned(), usage));
            }
        }
    }

    async fn create_image(&self, instance_id: &str, _: &Path) -> Result<Vec<PathBuf>, DriverError> {
        match self.0.state.lock().machines.by_id.contains_key(instance_id) {
            true => Ok(Vec::new()),
            false => Err(DriverError::NotFound(instance_id.to_owned())),
        }
    }

    async fn console_output(&self, _: &str) -> Result<(Vec<u8>, Option<Timestamp>), DriverError> {
        Ok((Vec::new(), None))
    }
}

/// The answer of a lost call never comes; the caller's patience ends it.
async fn unanswered(lost: bool) {
    if lost {
        std::future::pending::<()>().await;
    }
}
