//! The server is killed some steps from now, wherever that is.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::actors::{Actor, Stage};

/// Steps after which it dies, at most.
const STEPS_MAX: i64 = 120;

pub(crate) struct Crash;

#[async_trait]
impl Actor for Crash {
    fn name(&self) -> &'static str {
        "crash"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(20..240))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        stage.world.life.light(dice.random_range(1..STEPS_MAX));
    }

    async fn calm(&mut self, stage: &Stage<'_>) {
        stage.world.life.extinguish();
    }
}
