//! Somebody sets the server's clock, forward or back.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::actors::{Actor, Stage};
use crate::dice::chance;

/// Largest step, milliseconds: what a machine that slept or lost its time server is off by.
const STEP_MS_MAX: i64 = 600_000;

pub(crate) struct ClockSteps;

#[async_trait]
impl Actor for ClockSteps {
    fn name(&self) -> &'static str {
        "clock-steps"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(60..400))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let max = if chance(dice, 0.5) { 5_000 } else { STEP_MS_MAX };
        let by = dice.random_range(-max..=max);
        stage.world.time.step_wall(by);
        stage.world.note(format_args!("the clock steps by {by} ms"));
    }
}
