//! The state of a world: what lives on when the server is killed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_api::{Ctx, Registry};
use puffer_core::autoscaling::LifecycleState;
use puffer_core::{Clock, Timestamp};
use puffer_store::{Change, MemoryDisk};
use tokio::sync::Notify;

use crate::dice::dice;
use crate::faults::Faults;
use crate::invariants::{self, Act, Invariant, Now, Violation, converges};
use crate::life::Life;
use crate::load::{Load, cpu_ns};
use crate::machines::Machines;
use crate::plan::Plan;
use crate::plane::Plane;
use crate::timeline::Timeline;
use crate::trace::Trace;
use crate::view::View;

/// So long after a refusal may its consequences still be answered: the slowest commit and room.
const REFUSAL_ECHO_MS: i64 = 5_000;

/// What changes with every event. One lock: never held across an await, never taken twice.
pub(crate) struct State {
    pub(crate) view: View,
    pub(crate) machines: Machines,
    pub(crate) plane: Plane,
    pub(crate) faults: Faults,
    pub(crate) load: Load,
    pub(crate) trace: Trace,
    pub(crate) violation: Option<Violation>,
    invariants: Vec<Box<dyn Invariant>>,
    pub(crate) n_transactions: u64,
    pub(crate) n_calls: u64,
}

/// A world.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) time: Timeline,
    pub(crate) life: Life,
    pub(crate) disk: MemoryDisk,
    pub(crate) registry: Registry,
    pub(crate) state: Mutex<State>,
    pub(crate) machines_changed: Notify,
    pub(crate) plane_changed: Notify,
    /// The server, while it answers.
    server: Mutex<Option<Arc<Ctx>>>,
    violated: Notify,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Arc<World> {
        let mut load = Load::default();
        plan.groups.iter().for_each(|g| load.set(&g.name, g.demand));
        let state = State {
            view: View::default(),
            machines: Machines::default(),
            plane: Plane::default(),
            faults: Faults::none(dice(plan.seed, "faults")),
            load,
            trace: Trace::new(plan.keeps_lines),
            violation: None,
            invariants: invariants::all(),
            n_transactions: 0,
            n_calls: 0,
        };
        Arc::new(World {
            plan,
            time: Timeline::new(),
            life: Life::default(),
            disk: MemoryDisk::new(),
            registry: puffer_api::registry(),
            state: Mutex::new(state),
            machines_changed: Notify::new(),
            plane_changed: Notify::new(),
            server: Mutex::new(None),
            violated: Notify::new(),
        })
    }

    /// The server's handlers' context, while it answers.
    pub(crate) fn server(&self) -> Option<Arc<Ctx>> {
        self.server.lock().clone().filter(|_| !self.life.is_dead())
    }

    pub(crate) fn set_server(&self, server: Option<Arc<Ctx>>) {
        *self.server.lock() = server;
    }

    /// The storm is over.
    pub(crate) fn calm(&self) {
        self.state.lock().faults.clear();
    }

    /// Notes an event in the trace.
    pub(crate) fn note(&self, event: fmt::Arguments<'_>) {
        let now = self.time.now_ms();
        self.state.lock().trace.note(now, event);
    }

    /// A transaction is on disk.
    pub(crate) fn committed(&self, changes: &[Change<'_>]) {
        let now = self.time.now_ms();
        let state = &mut *self.state.lock();
        state.n_transactions += 1;
        state.trace.transaction(now, changes);
        let deltas = state.view.take(changes);
        self.judge(state, |invariant, now| invariant.transaction(&deltas, now));
    }

    /// Something that invariants may have an opinion on.
    pub(crate) fn act(&self, act: Act<'_>) {
        self.judge(&mut self.state.lock(), |invariant, now| invariant.act(&act, now));
    }

    /// The world has come to rest.
    pub(crate) fn at_rest(&self) {
        self.judge(&mut self.state.lock(), |invariant, now| invariant.at_rest(now));
    }

    fn judge(
        &self,
        state: &mut State,
        mut of: impl FnMut(&mut dyn Invariant, &Now<'_>) -> Result<(), String>,
    ) {
        if state.violation.is_some() {
            return;
        }
        let State { view, machines, invariants, violation, faults, .. } = state;
        let now = Now {
            view,
            machines,
            disk: &self.disk,
            wall: self.time.wall(),
            true_ms: self.time.now_ms(),
            steady_for: self.time.steady_for(),
            server_lives: self.server.lock().is_some(),
            disk_refuses: faults.disk_refuses > 0.0
                || self.time.now_ms() < faults.refused_ms + REFUSAL_ECHO_MS,
        };
        for invariant in invariants {
            if let Err(text) = of(&mut **invariant, &now) {
                *violation = Some(Violation { invariant: invariant.name(), at_ms: now.true_ms, text });
                self.violated.notify_one();
                return;
            }
        }
    }

    /// Something is wrong that no invariant looks at: it panicked, or never came to rest.
    pub(crate) fn violate(&self, invariant: &'static str, text: String) {
        let mut state = self.state.lock();
        if state.violation.is_none() {
            state.violation = Some(Violation { invariant, at_ms: self.time.now_ms(), text });
            self.violated.notify_one();
        }
    }

    /// Waits until an invariant is violated.
    pub(crate) async fn violated(&self) {
        self.violated.notified().await;
    }

    /// A second passes: work is done, checks are made.
    pub(crate) fn second(&self) {
        let now = self.time.now_ms();
        let state = &mut *self.state.lock();
        let State { view, machines, load, plane, .. } = state;
        for group in view.groups.keys() {
            let serves = |id: &str| machines.by_id.get(id).is_some_and(|m| m.answers(now));
            let serving: Vec<(&str, u32)> = view
                .members_of(group)
                .filter(|m| m.state == LifecycleState::InService && serves(&m.instance_id))
                .map(|m| (m.instance_id.as_str(), m.weight))
                .collect();
            let share = load.share(group, serving.iter().map(|(_, weight)| weight).sum());
            for (id, _) in serving {
                if let Some(machine) = machines.by_id.get_mut(id) {
                    machine.cpu_ns += cpu_ns(share) * machine.n_vcpus;
                }
            }
        }
        if plane.second(machines, now) {
            self.plane_changed.notify_waiters();
        }
        self.judge(state, |invariant, now| invariant.second(now));
    }

    /// Why the world has not come to rest, if it has not.
    pub(crate) fn unrest(&self) -> Option<String> {
        let state = &mut *self.state.lock();
        converges::unrest(&state.view, &state.machines, self.time.now_ms())
    }

    /// What is wanted of each group now, and how long it must have been so to count as settled.
    pub(crate) fn wanted(&self) -> Vec<(String, u32, Duration)> {
        converges::wanted(&self.state.lock().view)
    }
}

/// The server's clock.
pub(crate) struct SimClock(pub(crate) Arc<World>);

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.0.time.wall()
    }
}
