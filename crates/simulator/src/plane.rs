//! The data plane: it has the configuration it was given and checks the machines that the world lets live. It outlives the
//! server; when it dies itself, it forgets everything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use puffer_balancer::{Applied, BalancerConfig, ClientError, Report, TargetReport};
use puffer_control::DataPlane;
use puffer_core::Timestamp;
use puffer_core::elb::TargetState;
use puffer_core::elb::health::Reason;

use crate::machines::Machines;
use crate::world::World;

/// How long requests under way at a draining target go on, milliseconds.
const IN_FLIGHT_MS: i64 = 4_000;

/// A target as its checks see it.
#[derive(Debug, Clone)]
struct Checked {
    state: TargetState,
    since_ms: i64,
    /// When its last check was made, true time.
    checked_ms: i64,
    /// Equal results in a row: positive passed, negative failed.
    streak: i32,
    draining_ms: Option<i64>,
}

/// The data plane.
#[derive(Default)]
pub(crate) struct Plane {
    runs: bool,
    epoch: u64,
    config: BalancerConfig,
    change: u64,
    targets: BTreeMap<(String, String, u16), Checked>,
}

impl Plane {
    pub(crate) fn die(&mut self) {
        let (epoch, change) = (self.epoch, self.change);
        *self = Plane { epoch, change, ..Plane::default() };
    }

    fn apply(&mut self, config: &BalancerConfig, now_ms: i64) -> Applied {
        if !self.runs {
            (self.runs, self.epoch) = (true, self.epoch + 1);
        }
        self.config = config.clone();
        self.change += 1;
        let mut targets = BTreeMap::new();
        for group in &config.target_groups {
            for t in &group.targets {
                let key = (group.arn.clone(), t.id.clone(), t.port);
                let mut checked = self.targets.remove(&key).unwrap_or(Checked {
                    state: TargetState::Initial,
                    since_ms: now_ms,
                    checked_ms: now_ms,
                    streak: 0,
                    draining_ms: None,
                });
                match (t.draining, checked.draining_ms) {
                    (true, None) => {
                        checked.draining_ms = Some(now_ms);
                        (checked.state, checked.since_ms) = (TargetState::Draining, now_ms);
                    }
                    (false, Some(_)) => {
                        checked.draining_ms = None;
                        (checked.state, checked.since_ms, checked.streak) = (TargetState::Initial, now_ms, 0);
                    }
                    _ => {}
                }
                targets.insert(key, checked);
            }
        }
        self.targets = targets;
        Applied { epoch: self.epoch, generation: config.generation, bind_errors: Vec::new() }
    }

    /// A second passes: checks that are due are made. Says whether any state changed.
    pub(crate) fn second(&mut self, machines: &Machines, now_ms: i64) -> bool {
        let mut changed = false;
        for group in &self.config.target_groups {
            let check = &group.health_check;
            let interval = i64::try_from(check.interval_ms).unwrap_or(i64::MAX);
            for t in &group.targets {
                let key = (group.arn.clone(), t.id.clone(), t.port);
                let Some(checked) = self.targets.get_mut(&key) else { continue };
                if let Some(since) = checked.draining_ms {
                    changed |= now_ms - since >= IN_FLIGHT_MS && now_ms - since < IN_FLIGHT_MS + 1000;
                    continue;
                }
                if now_ms - checked.checked_ms < interval {
                    continue;
                }
                checked.checked_ms = now_ms;
                let passed = machines.by_id.get(&t.id).is_some_and(|m| m.answers(now_ms));
                checked.streak = match (passed, checked.streak) {
                    (true, n) => n.max(0) + 1,
                    (false, n) => n.min(0) - 1,
                };
                let enough = match checked.state {
                    TargetState::Initial => passed,
                    _ => checked.streak >= i32::from(check.healthy_threshold),
                };
                let state = if enough {
                    TargetState::Healthy
                } else if checked.streak <= -i32::from(check.unhealthy_threshold) {
                    TargetState::Unhealthy
                } else {
                    checked.state
                };
                if state != checked.state {
                    (checked.state, checked.since_ms) = (state, now_ms);
                    changed = true;
                }
            }
        }
        self.change += u64::from(changed);
        changed
    }

    fn report(&self, now_ms: i64) -> Report {
        let targets = self.targets.iter().map(|((group, id, port), t)| TargetReport {
            target_group: group.clone(),
            id: id.clone(),
            port: *port,
            state: t.state,
            reason: match t.state {
                TargetState::Initial => Some(Reason::InitialHealthChecking),
                TargetState::Unhealthy => Some(Reason::FailedHealthChecks),
                TargetState::Draining => Some(Reason::DeregistrationInProgress),
                _ => None,
            },
            since: Timestamp::from_millis(t.since_ms),
            in_flight: u32::from(t.draining_ms.is_some_and(|since| now_ms - since < IN_FLIGHT_MS)),
        });
        Report {
            epoch: self.epoch,
            generation: self.config.generation,
            change: self.change,
            at: Timestamp::from_millis(now_ms),
            targets: targets.collect(),
            counters: Vec::new(),
            hosts: Vec::new(),
        }
    }
}

/// The control plane's link to it.
pub(crate) struct SimPlane(pub(crate) Arc<World>);

impl SimPlane {
    fn away() -> ClientError {
        let error = std::io::Error::new(std::io::ErrorKind::NotFound, "the simulated data plane is away");
        ClientError::Absent(PathBuf::from("simulated"), error)
    }
}

impl DataPlane for SimPlane {
    async fn apply(&self, config: &BalancerConfig) -> Result<Applied, ClientError> {
        self.0.life.step().await;
        let now = self.0.time.now_ms();
        let applied = self.0.state.lock().plane.apply(config, now);
        self.0.note(format_args!("data plane: generation {}", config.generation));
        self.0.plane_changed.notify_waiters();
        self.0.life.step().await;
        Ok(applied)
    }

    async fn report(&self) -> Result<Report, ClientError> {
        self.0.life.step().await;
        let now = self.0.time.now_ms();
        let state = self.0.state.lock();
        if state.plane.runs { Ok(state.plane.report(now)) } else { Err(Self::away()) }
    }

    async fn wait_change(&self, since: u64, at_most: Duration) -> Result<u64, ClientError> {
        let until = tokio::time::Instant::now() + at_most;
        loop {
            let news = self.0.plane_changed.notified();
            {
                let state = self.0.state.lock();
                if !state.plane.runs {
                    return Err(Self::away());
                }
                if state.plane.change != since {
                    return Ok(state.plane.change);
                }
            }
            if tokio::time::timeout_at(until, news).await.is_err() {
                return Ok(since);
            }
        }
    }
}
