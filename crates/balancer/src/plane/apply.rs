//! Making a configuration real: compares it with what runs and changes only what differs.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Shared;
use super::compile::{self, Nonsense};
use super::counters::Blocks;
use super::group::{Group, Setting, Target, UsedBy};
use super::listen::bind;
use super::route::{Endpoint, Route};
use crate::config::{BalancerConfig, HealthCheckConfig, TargetGroupConfig};
use crate::data::worker::{Command, WorkerHandle};
use crate::health_check::{self, Check};
use crate::protocol::{Applied, BindError};
use crate::report::Report;

/// Longest wait for the workers to close a listening socket.
const UNLISTEN_TIMEOUT: Duration = Duration::from_secs(2);

/// Everything that is served, and who serves it.
pub(crate) struct Plane {
    pub(crate) shared: Arc<Shared>,
    workers: Vec<WorkerHandle>,
    generation: u64,
    endpoints: HashMap<SocketAddrV4, Arc<Endpoint>>,
    groups: HashMap<String, LiveGroup>,
    blocks: Blocks,
    next_serial: u64,
    /// How long connections of a closed listener may go on.
    finish_limit: Duration,
    stopping: bool,
}

/// A target group with the tasks that look after its targets.
struct LiveGroup {
    group: Arc<Group>,
    /// By target's serial.
    checks: HashMap<u64, RunningCheck>,
    /// Ends of draining to come, by target's serial.
    drains: HashMap<u64, AbortHandle>,
}

struct RunningCheck {
    config: HealthCheckConfig,
    from: Ipv4Addr,
    task: AbortHandle,
}

/// A configuration that is not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("generation {given} is older than the applied {applied}")]
    Stale { given: u64, applied: u64 },
    #[error("the balancer is stopping")]
    Stopping,
    #[error(transparent)]
    Nonsense(#[from] Nonsense),
}

impl Plane {
    pub(crate) fn new(shared: Arc<Shared>, workers: Vec<WorkerHandle>, finish_limit: Duration) -> Self {
        let blocks = Blocks::new(shared.n_workers);
        Plane {
            shared,
            workers,
            generation: 0,
            endpoints: HashMap::new(),
            groups: HashMap::new(),
            blocks,
            next_serial: 1,
            finish_limit,
            stopping: false,
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Makes `config` real. What is under way elsewhere is not disturbed.
    pub(crate) async fn apply(&mut self, config: &BalancerConfig) -> Result<Applied, ApplyError> {
        if self.stopping {
            return Err(ApplyError::Stopping);
        }
        if config.generation < self.generation {
            return Err(ApplyError::Stale { given: config.generation, applied: self.generation });
        }
        compile::check(config)?;
        let mut users = compile::users(config);
        for group in &config.target_groups {
            let used_by = users.remove(group.arn.as_str());
            self.apply_group(group, used_by);
        }
        let bind_errors = self.apply_listeners(config).await?;
        // Groups go last: until here, routes may have led to them.
        let wanted: HashSet<&str> = config.target_groups.iter().map(|g| g.arn.as_str()).collect();
        let gone: Vec<String> =
            self.groups.keys().filter(|arn| !wanted.contains(arn.as_str())).cloned().collect();
        for arn in gone {
            if let Some(group) = self.groups.remove(&arn) {
                self.retire_group(group);
            }
        }
        self.generation = config.generation;
        self.blocks.retire_unused();
        self.shared.changed();
        Ok(Applied { epoch: self.shared.epoch, generation: self.generation, bind_errors })
    }

    fn apply_group(&mut self, config: &TargetGroupConfig, used_by: Option<UsedBy>) {
        let now = self.shared.clock.now();
        let live = self.groups.entry(config.arn.clone()).or_insert_with(|| LiveGroup {
            group: Group::new(&config.arn),
            checks: HashMap::new(),
            drains: HashMap::new(),
        });
        let mut old = live.group.selection().targets.clone();
        let mut targets = Vec::with_capacity(config.targets.len());
        for wanted in &config.targets {
            let target = match old.iter().position(|t| t.is(wanted)) {
                Some(at) => old.swap_remove(at),
                None => {
                    self.next_serial += 1;
                    Target::new(self.next_serial, wanted, now)
                }
            };
            if target.set_draining(wanted.draining, now) {
                if let Some(timer) = live.drains.remove(&target.serial) {
                    timer.abort();
                }
                if wanted.draining {
                    let delay = Duration::from_secs(config.attributes.deregistration_delay_s.into());
                    let (workers, serial) = (self.workers.clone(), target.serial);
                    let timer = tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        cut(&workers, serial);
                    });
                    live.drains.insert(target.serial, timer.abort_handle());
                }
            }
            targets.push(target);
        }
        let setting = Setting {
            algorithm: config.attributes.algorithm,
            slow_start_s: config.attributes.slow_start_s,
            checked: config.health_check.enabled,
            stickiness: config.attributes.stickiness.clone(),
            fail_open: config.attributes.fail_open,
            cross_zone: config.attributes.cross_zone,
            used_by,
        };
        live.group.configure(setting, targets.clone());
        for target in old {
            live.forget(target.serial);
            cut(&self.workers, target.serial);
        }
        for target in &targets {
            live.look_after(&self.shared, target, &config.health_check);
        }
    }

    fn retire_group(&self, mut live: LiveGroup) {
        let targets = live.group.selection().targets.clone();
        for target in targets {
            live.forget(target.serial);
            cut(&self.workers, target.serial);
        }
    }

    async fn apply_listeners(&mut self, config: &BalancerConfig) -> Result<Vec<BindError>, Nonsense> {
        let groups: HashMap<_, _> =
            self.groups.iter().map(|(arn, g)| (arn.clone(), g.group.clone())).collect();
        let mut wanted: HashMap<SocketAddrV4, Arc<Route>> = HashMap::new();
        let mut errors = Vec::new();
        for lb in &config.load_balancers {
            let hearing = || lb.nodes.iter().filter(|n| !n.deaf);
            for (listener, node) in lb.listeners.iter().flat_map(|l| hearing().map(move |n| (l, n))) {
                let address = SocketAddrV4::new(node.address, listener.bind_port);
                if let Some(other) = wanted.get(&address) {
                    let error = format!("listener {} has this address", other.listener);
                    errors.push(BindError { listener: listener.arn.clone(), address, error });
                    continue;
                }
                wanted.insert(address, compile::route(lb, node, listener, &groups, &mut self.blocks)?);
            }
        }
        let gone = self.endpoints.keys().filter(|a| !wanted.contains_key(a)).copied().collect();
        self.unlisten(gone).await;
        for (address, route) in wanted {
            if let Some(endpoint) = self.endpoints.get(&address) {
                endpoint.set_route(route);
                continue;
            }
            match bind(address, self.workers.len()) {
                Ok(sockets) => {
                    let endpoint = Endpoint::new(address, route);
                    for (worker, socket) in self.workers.iter().zip(sockets) {
                        worker.tell(Command::Listen { endpoint: endpoint.clone(), socket });
                    }
                    self.endpoints.insert(address, endpoint);
                }
                Err(e) => {
                    tracing::warn!(%address, error = %e, "a listener cannot be bound");
                    errors.push(BindError {
                        listener: route.listener.clone(),
                        address,
                        error: e.to_string(),
                    });
                }
            }
        }
        Ok(errors)
    }

    /// Closes listening sockets, and waits until they are, so that the same address can be bound again at once.
    async fn unlisten(&mut self, addresses: Vec<SocketAddrV4>) {
        let (done, mut all_done) = mpsc::channel(1);
        for address in addresses {
            self.endpoints.remove(&address);
            for worker in &self.workers {
                let (limit, done) = (self.finish_limit, done.clone());
                worker.tell(Command::Unlisten { address, limit, done });
            }
        }
        drop(done);
        if timeout(UNLISTEN_TIMEOUT, all_done.recv()).await.is_err() {
            tracing::warn!("a worker is slow to close its listening sockets");
        }
    }

    /// Stops listening, and tells the workers to finish. They end on their own.
    pub(crate) async fn stop(&mut self, grace: Duration) {
        self.stopping = true;
        let all = self.endpoints.keys().copied().collect();
        self.unlisten(all).await;
        for worker in &self.workers {
            worker.tell(Command::Stop { grace });
        }
    }

    /// What has been seen.
    pub(crate) fn report(&self) -> Report {
        // The number is read first: a change in between is then reported again rather than missed.
        let change = self.shared.change();
        let mut report = Report {
            epoch: self.shared.epoch,
            generation: self.generation,
            change,
            at: self.shared.clock.now(),
            targets: Vec::new(),
            counters: self.blocks.report(),
            hosts: Vec::new(),
        };
        for live in self.groups.values() {
            live.group.report(&mut report.targets);
            live.group.report_hosts(&mut report.hosts);
        }
        report
    }

    /// Moves slow starts on and forgets old counters; to be called each second or so.
    pub(crate) fn tick(&mut self) {
        for live in self.groups.values() {
            live.group.tick();
        }
        self.blocks.retire_unused();
    }
}

impl LiveGroup {
    /// Starts, restarts or ends the check of a target as its configuration asks.
    fn look_after(&mut self, shared: &Arc<Shared>, target: &Arc<Target>, config: &HealthCheckConfig) {
        let from = self.group.checked_from(target).filter(|_| config.enabled && !target.is_draining());
        let running = self.checks.get(&target.serial);
        if running.map(|r| (r.from, &r.config)) == from.map(|f| (f, config)) {
            return;
        }
        if let Some(running) = self.checks.remove(&target.serial) {
            running.task.abort();
        }
        let Some(from) = from else { return };
        let check = Check::new(config, from, target.clone(), self.group.clone(), shared.clone());
        let task = tokio::spawn(health_check::run(check)).abort_handle();
        self.checks.insert(target.serial, RunningCheck { config: config.clone(), from, task });
    }

    fn forget(&mut self, serial: u64) {
        if let Some(check) = self.checks.remove(&serial) {
            check.task.abort();
        }
        if let Some(timer) = self.drains.remove(&serial) {
            timer.abort();
        }
    }
}

/// Ends what is under way at a target, and its idle connections.
fn cut(workers: &[WorkerHandle], serial: u64) {
    for worker in workers {
        worker.tell(Command::Cut { target: serial });
    }
}
