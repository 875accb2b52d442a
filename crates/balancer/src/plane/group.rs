//! Target groups and their targets, with what is known of each now.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::Instant;

use puffer_core::Timestamp;
use puffer_core::elb::balance::{Algorithm, Candidate, SHARE_FULL, Selector, slow_start_share};
use puffer_core::elb::health::{Health, ProbeOutcome, Reason, TargetState, Thresholds};

use super::Shared;
use crate::config::{StickinessConfig, TargetConfig, ZONE_ALL};
use crate::report::{HostCounts, Scope, TargetReport};

/// A target, from its registration to its last request.
pub(crate) struct Target {
    /// Unique in the process's life: pools and cuts are by it.
    pub(crate) serial: u64,
    pub(crate) id: String,
    pub(crate) address: SocketAddrV4,
    pub(crate) zone: String,
    in_flight: AtomicU32,
    draining: AtomicBool,
    status: Mutex<Status>,
}

struct Status {
    health: Health,
    /// Since when it is draining.
    draining_since: Option<Timestamp>,
    /// When its slow start began; none if it has its full share.
    ramp_from: Option<Instant>,
}

impl Target {
    pub(crate) fn new(serial: u64, config: &TargetConfig, now: Timestamp) -> Arc<Target> {
        Arc::new(Target {
            serial,
            id: config.id.clone(),
            address: SocketAddrV4::new(config.address, config.port),
            zone: config.zone.clone(),
            in_flight: AtomicU32::new(0),
            draining: AtomicBool::new(false),
            status: Mutex::new(Status {
                health: Health::registered(now),
                draining_since: None,
                ramp_from: None,
            }),
        })
    }

    /// Whether this is the target of `config`; its draining aside.
    pub(crate) fn is(&self, config: &TargetConfig) -> bool {
        self.id == config.id
            && self.address == SocketAddrV4::new(config.address, config.port)
            && self.zone == config.zone
    }

    /// Names the target in a cookie; the same in every process, so that stickiness outlives us.
    pub(crate) fn cookie_name(&self) -> u64 {
        // FNV-1a, whose values are fixed for ever, unlike those of the standard library's hashers.
        let bytes = self.id.bytes().chain(self.address.port().to_be_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it has been neither found healthy nor given up.
    pub(crate) fn is_unproven(&self) -> bool {
        self.status.lock().health.state() == TargetState::Initial
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Begins or ends draining; true if that is a change.
    pub(crate) fn set_draining(&self, draining: bool, now: Timestamp) -> bool {
        let changes = self.draining.swap(draining, Ordering::Relaxed) != draining;
        if changes {
            self.status.lock().draining_since = draining.then_some(now);
        }
        changes
    }
}

/// A request under way at a target, as long as it lives.
pub(crate) struct InFlight {
    target: Arc<Target>,
    shared: Arc<Shared>,
}

impl InFlight {
    pub(crate) fn new(target: Arc<Target>, shared: Arc<Shared>) -> Self {
        target.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { target, shared }
    }

    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.target
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let before = self.target.in_flight.fetch_sub(1, Ordering::Relaxed);
        if before == 1 && self.target.is_draining() {
            // Somebody waits for this to take the target out.
            self.shared.changed();
        }
    }
}

/// A target group.
pub(crate) struct Group {
    pub(crate) arn: String,
    setting: Mutex<Setting>,
    selection: ArcSwap<Selection>,
}

/// What of the configuration the choice of a target depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Setting {
    pub(crate) algorithm: Algorithm,
    pub(crate) slow_start_s: u32,
    pub(crate) checked: bool,
    pub(crate) stickiness: StickinessConfig,
    pub(crate) fail_open: bool,
    pub(crate) cross_zone: bool,
    /// The balancer that forwards to it, and its zones; none if no listener does.
    pub(crate) used_by: Option<UsedBy>,
}

/// The balancer of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsedBy {
    pub(crate) load_balancer: String,
    /// It is a classic load balancer.
    pub(crate) classic: bool,
    /// (zone, node) pairs.
    pub(crate) nodes: Vec<(String, Ipv4Addr)>,
}

/// The targets, and the choice among them.
#[derive(Default)]
pub(crate) struct Selection {
    pub(crate) targets: Vec<Arc<Target>>,
    everywhere: Choice,
    /// Without balancing across zones: the choice of each zone's node.
    by_zone: Vec<(String, Choice)>,
    pub(crate) stickiness: StickinessConfig,
}

/// A choice among targets, with whose turn it is. Nodes that choose among different targets must not share turns: in step with each
/// other they would leave some targets out.
#[derive(Default)]
struct Choice {
    selector: Selector,
    /// Outlives the choice, which is made anew whenever a target changes.
    turn: Arc<AtomicU64>,
}

impl Choice {
    fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

impl Selection {
    /// The choice of the node in `zone`.
    fn of_zone(&self, zone: &str) -> &Choice {
        self.own_of_zone(zone).unwrap_or(&self.everywhere)
    }

    fn own_of_zone(&self, zone: &str) -> Option<&Choice> {
        self.by_zone.iter().find(|(z, _)| z == zone).map(|(_, choice)| choice)
    }
}

impl Group {
    pub(crate) fn new(arn: &str) -> Arc<Group> {
        Arc::new(Group { arn: arn.to_owned(), setting: Mutex::default(), selection: ArcSwap::default() })
    }

    /// The targets as they are chosen from now.
    pub(crate) fn selection(&self) -> arc_swap::Guard<Arc<Selection>> {
        self.selection.load()
    }

    /// The target for the next request at the node in `zone`; none if there is none at all.
    pub(crate) fn pick(&self, zone: &str, random: impl FnOnce() -> u64) -> Option<Arc<Target>> {
        let selection = self.selection.load();
        let choice = selection.of_zone(zone);
        let key = match choice.selector.wants_random_key() {
            true => random(),
            false => choice.next_turn(),
        };
        let load = |m: u32| selection.targets.get(m as usize).map_or(u32::MAX, |t| t.in_flight());
        selection.targets.get(choice.selector.pick(key, load)? as usize).cloned()
    }

    /// The next target in turn that is none of those `tried`, by their serials: connections say nothing of the work behind them.
    pub(crate) fn pick_in_turn(&self, zone: &str, tried: &[u64]) -> Option<Arc<Target>> {
        let selection = self.selection.load();
        let choice = selection.of_zone(zone);
        let members = choice.selector.members();
        let turn = usize::try_from(choice.next_turn() % members.len().max(1) as u64).unwrap_or(0);
        let order = members[turn..].iter().chain(&members[..turn]);
        let mut targets = order.filter_map(|&m| selection.targets.get(m as usize));
        targets.find(|t| !tried.contains(&t.serial)).cloned()
    }

    /// The target that a stickiness cookie names, if it may take requests of the node in `zone`.
    pub(crate) fn pick_sticky(&self, zone: &str, name: u64) -> Option<Arc<Target>> {
        let selection = self.selection.load();
        let members = selection.of_zone(zone).selector.members().iter();
        members.filter_map(|&m| selection.targets.get(m as usize)).find(|t| t.cookie_name() == name).cloned()
    }

    /// Takes a new setting and new targets.
    pub(crate) fn configure(&self, setting: Setting, targets: Vec<Arc<Target>>) {
        *self.setting.lock() = setting;
        self.rebuild(targets);
    }

    /// Takes the result of a check. True if what is reported has changed.
    pub(crate) fn observe(
        &self,
        target: &Target,
        outcome: ProbeOutcome,
        thresholds: Thresholds,
        now: Timestamp,
    ) -> bool {
        let (before, changed) = {
            let mut status = target.status.lock();
            let before = status.health.state();
            (before, status.health.observe(outcome, thresholds, now))
        };
        let after = target.status.lock().health.state();
        if before != after {
            let targets = self.selection.load().targets.clone();
            let setting = self.setting.lock().clone();
            if after == TargetState::Healthy && setting.slow_start_s > 0 {
                // The first healthy targets of a group start at their full share: nobody else would take the rest.
                let others = |t: &&Arc<Target>| t.serial != target.serial;
                let relieved = targets
                    .iter()
                    .filter(others)
                    .any(|t| self.state_of(t, &setting).0 == TargetState::Healthy);
                target.status.lock().ramp_from = relieved.then(Instant::now);
            }
            self.rebuild(targets);
        }
        changed
    }

    /// Checks have begun. True if what is reported has changed.
    pub(crate) fn checking(&self, target: &Target) -> bool {
        target.status.lock().health.checking()
    }

    /// Moves slow starts on. True if there are any.
    pub(crate) fn tick(&self) -> bool {
        let targets = self.selection.load().targets.clone();
        let ramps = targets.iter().any(|t| t.status.lock().ramp_from.is_some());
        if ramps {
            self.rebuild(targets);
        }
        ramps
    }

    fn rebuild(&self, targets: Vec<Arc<Target>>) {
        let setting = self.setting.lock().clone();
        let candidates: Vec<_> = targets
            .iter()
            .map(|t| Candidate { state: self.state_of(t, &setting).0, share: share(t, setting.slow_start_s) })
            .collect();
        let choose = |among: &[Candidate]| Selector::build(setting.algorithm, among, setting.fail_open);
        let before = self.selection.load();
        let of_zone = |zone: &String| {
            // Positions stay the same; those elsewhere are simply not there.
            let here = |(target, candidate): (&Arc<Target>, &Candidate)| match target.zone == *zone {
                true => *candidate,
                false => Candidate { state: TargetState::Unused, ..*candidate },
            };
            let among: Vec<_> = targets.iter().zip(&candidates).map(here).collect();
            let turn = before.own_of_zone(zone).map(|choice| choice.turn.clone()).unwrap_or_default();
            (zone.clone(), Choice { selector: choose(&among), turn })
        };
        let nodes = setting.used_by.iter().filter(|_| !setting.cross_zone).flat_map(|by| &by.nodes);
        let by_zone = nodes.map(|(zone, _)| of_zone(zone)).collect();
        let everywhere = Choice { selector: choose(&candidates), turn: before.everywhere.turn.clone() };
        self.selection.store(Arc::new(Selection {
            targets,
            everywhere,
            by_zone,
            stickiness: setting.stickiness,
        }));
    }

    /// The state as AWS would report it.
    fn state_of(&self, target: &Target, setting: &Setting) -> (TargetState, Option<Reason>, Timestamp) {
        let status = target.status.lock();
        let since = status.health.since();
        if let Some(since) = status.draining_since {
            return (TargetState::Draining, Some(Reason::DeregistrationInProgress), since);
        }
        let unused = match &setting.used_by {
            None => Some(Reason::NotInUse),
            Some(by) => {
                let served = target.zone == ZONE_ALL || by.nodes.iter().any(|(zone, _)| *zone == target.zone);
                (!served).then_some(Reason::ZoneNotEnabled)
            }
        };
        if unused.is_some() {
            return (TargetState::Unused, unused, since);
        }
        if !setting.checked {
            return (TargetState::Unavailable, Some(Reason::HealthCheckDisabled), since);
        }
        (status.health.state(), status.health.reason(), since)
    }

    /// Whether it is that of a classic load balancer.
    pub(crate) fn is_classic(&self) -> bool {
        self.setting.lock().used_by.as_ref().is_some_and(|by| by.classic)
    }

    /// The node from which `target` is checked: its own zone's, or else the first; none if the target is unused.
    pub(crate) fn checked_from(&self, target: &Target) -> Option<Ipv4Addr> {
        let setting = self.setting.lock();
        let nodes = &setting.used_by.as_ref()?.nodes;
        if target.zone == ZONE_ALL {
            return nodes.first().map(|n| n.1);
        }
        nodes.iter().find(|(zone, _)| *zone == target.zone).map(|n| n.1)
    }

    pub(crate) fn report(&self, into: &mut Vec<TargetReport>) {
        let setting = self.setting.lock().clone();
        for target in &self.selection.load().targets {
            let (state, reason, since) = self.state_of(target, &setting);
            into.push(TargetReport {
                target_group: self.arn.clone(),
                id: target.id.clone(),
                port: target.address.port(),
                state,
                reason,
                since,
                in_flight: target.in_flight(),
            });
        }
    }

    /// Healthy and unhealthy hosts, of the group and of each zone.
    pub(crate) fn report_hosts(&self, into: &mut Vec<HostCounts>) {
        let setting = self.setting.lock().clone();
        let Some(by) = &setting.used_by else { return };
        let mut zones: Vec<Option<&str>> = by.nodes.iter().map(|(zone, _)| Some(zone.as_str())).collect();
        zones.push(None);
        let selection = self.selection.load();
        for zone in zones {
            let mut counts = HostCounts {
                scope: Scope {
                    load_balancer: by.load_balancer.clone(),
                    target_group: Some(self.arn.clone()),
                    zone: zone.map(str::to_owned),
                },
                registered: 0,
                healthy: 0,
                unhealthy: 0,
            };
            for target in selection.targets.iter().filter(|t| zone.is_none_or(|z| t.zone == z)) {
                let state = self.state_of(target, &setting).0;
                counts.registered += u32::from(state != TargetState::Draining);
                match state {
                    TargetState::Healthy => counts.healthy += 1,
                    TargetState::Unhealthy => counts.unhealthy += 1,
                    _ => {}
                }
            }
            into.push(counts);
        }
    }
}

fn share(target: &Target, slow_start_s: u32) -> u32 {
    let mut status = target.status.lock();
    let Some(from) = status.ramp_from else { return SHARE_FULL };
    let age: Duration = from.elapsed();
    let share = slow_start_share(u64::try_from(age.as_millis()).unwrap_or(u64::MAX), slow_start_s);
    if share == SHARE_FULL {
        status.ramp_from = None;
    }
    share
}
