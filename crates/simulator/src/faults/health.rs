//! What runs in an instance stops answering for a while, and the health checks see it.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::actors::{Actor, Stage};
use crate::dice::chance;

pub(crate) struct Flapping;

#[async_trait]
impl Actor for Flapping {
    fn name(&self) -> &'static str {
        "health"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(5..90))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let now = stage.world.time.now_ms();
        let mut state = stage.world.state.lock();
        let ids = state.machines.running(now);
        // Now and then many at once: a bad deployment, a database that is away.
        let share = if chance(dice, 0.2) { 0.8 } else { 0.15 };
        let sick: Vec<&String> = ids.iter().filter(|_| chance(dice, share)).collect();
        let until = now + dice.random_range(3_000..120_000);
        sick.iter().for_each(|id| state.machines.sicken(id, until));
        let n = sick.len();
        drop(state);
        stage.world.note(format_args!("{n} instances stop answering for {} ms", until - now));
    }

    async fn calm(&mut self, stage: &Stage<'_>) {
        stage.world.state.lock().machines.heal();
    }
}
