//! The users of a world, a file per kind: each does something now and then, knowing no more than a user does.

mod chores;
mod groups;
mod hooks;
mod instances;
mod launches;
mod maintenance;
mod members;
mod notifications;
mod policies;
mod predictions;
mod processes;
mod readers;
mod refresh;
mod schedules;
mod sizes;
mod sources;
mod traffic;
mod verdicts;
mod warm_pool;
mod zone_settings;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand_pcg::Pcg64;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::dice::{dice, one_of};
use crate::plan::{Ingredient, Plan};
use crate::world::World;

/// What an actor acts on.
pub(crate) struct Stage<'w> {
    pub(crate) world: &'w Arc<World>,
    pub(crate) client: Client,
}

impl Stage<'_> {
    /// A group that exists.
    pub(crate) fn group(&self, dice: &mut Pcg64) -> Option<String> {
        let names: Vec<String> = self.world.state.lock().view.groups.keys().cloned().collect();
        one_of(dice, &names).cloned()
    }

    /// The plan of a group that exists.
    pub(crate) fn planned(&self, dice: &mut Pcg64) -> Option<&crate::plan::GroupPlan> {
        let name = self.group(dice)?;
        self.world.plan.groups.iter().find(|g| g.name == name)
    }

    /// A call on an Auto Scaling group, whatever comes of it.
    pub(crate) async fn ask(&self, action: &str, group: &str, params: &[(&str, &str)]) {
        let mut all = vec![("AutoScalingGroupName", group)];
        all.extend_from_slice(params);
        let _ = self.client.autoscaling(action, &all).await;
    }

    /// A member of a group, by group and instance.
    pub(crate) fn member(&self, dice: &mut Pcg64) -> Option<(String, String)> {
        let state = self.world.state.lock();
        let all: Vec<(String, String)> =
            state.view.members.values().map(|m| (m.group.clone(), m.instance_id.clone())).collect();
        one_of(dice, &all).cloned()
    }
}

/// Somebody or something that stirs a world.
#[async_trait]
pub(crate) trait Actor: Send + 'static {
    /// Names its dice.
    fn name(&self) -> &'static str;

    /// Time until it acts next.
    fn pause(&self, dice: &mut Pcg64) -> Duration;

    /// Acts. May be cut off at any await by the server's death; then it acts again.
    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64);

    /// The storm is over: what it did to the world is undone.
    async fn calm(&mut self, _stage: &Stage<'_>) {}
}

/// An actor with its dice, which outlive the server.
#[derive(Clone)]
pub(crate) struct Slot {
    part: Arc<Mutex<Part>>,
}

struct Part {
    actor: Box<dyn Actor>,
    dice: Pcg64,
    /// When it acts next, true time.
    due_ms: Option<i64>,
}

impl Slot {
    pub(crate) fn new(plan: &Plan, actor: impl Actor) -> Slot {
        let dice = dice(plan.seed, actor.name());
        Slot { part: Arc::new(Mutex::new(Part { actor: Box::new(actor), dice, due_ms: None })) }
    }

    /// Lets it play until the runtime ends or the task is aborted.
    pub(crate) fn play(&self, world: &Arc<World>) -> JoinHandle<()> {
        let (slot, world) = (self.clone(), Arc::clone(world));
        tokio::spawn(async move {
            let stage = Stage { client: Client::new(&world), world: &world };
            let mut part = slot.part.lock().await;
            loop {
                let Part { actor, dice, due_ms } = &mut *part;
                let now = world.time.now_ms();
                let due = *due_ms
                    .get_or_insert_with(|| now + i64::try_from(actor.pause(dice).as_millis()).unwrap_or(0));
                let wait = Duration::from_millis(u64::try_from(due - now).unwrap_or(0));
                // At least a moment, so that an actor that is cut off each time cannot stop time.
                tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
                actor.act(&stage, dice).await;
                *due_ms = None;
            }
        })
    }

    pub(crate) async fn calm(&self, stage: &Stage<'_>) {
        self.part.lock().await.actor.calm(stage).await;
    }
}

/// The users of a plan.
pub(crate) fn of(plan: &Plan) -> Vec<Slot> {
    let mut slots = Vec::new();
    let mut add = |ingredient: Ingredient, slot: Slot| {
        if plan.has(ingredient) {
            slots.push(slot);
        }
    };
    add(Ingredient::Sizes, Slot::new(plan, sizes::Sizes));
    add(Ingredient::Members, Slot::new(plan, members::Members));
    add(Ingredient::Verdicts, Slot::new(plan, verdicts::Verdicts));
    add(Ingredient::Policies, Slot::new(plan, policies::Policies));
    add(Ingredient::Processes, Slot::new(plan, processes::Processes));
    add(Ingredient::Groups, Slot::new(plan, groups::Groups));
    add(Ingredient::Instances, Slot::new(plan, instances::Instances));
    add(Ingredient::Hooks, Slot::new(plan, hooks::Hooks));
    add(Ingredient::Refresh, Slot::new(plan, refresh::Refresh));
    add(Ingredient::WarmPool, Slot::new(plan, warm_pool::WarmPool));
    add(Ingredient::Schedules, Slot::new(plan, schedules::Schedules));
    add(Ingredient::Sources, Slot::new(plan, sources::Sources));
    add(Ingredient::ZoneSettings, Slot::new(plan, zone_settings::ZoneSettings));
    add(Ingredient::Maintenance, Slot::new(plan, maintenance::Maintenance));
    add(Ingredient::Notifications, Slot::new(plan, notifications::Notifications));
    add(Ingredient::Launches, Slot::new(plan, launches::Launches));
    add(Ingredient::Traffic, Slot::new(plan, traffic::Traffic));
    add(Ingredient::Chores, Slot::new(plan, chores::Chores));
    add(Ingredient::Readers, Slot::new(plan, readers::Readers));
    slots
}
