//! The machine sleeps for a day, guests and all: for them no time passes, for the wall clock it does. What is measured in days (the
//! maximum instance lifetime, tokens, forecasts) is over when it wakes.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::actors::{Actor, Stage};

/// About a day, milliseconds.
const SLEEP_MS: std::ops::Range<i64> = 80_000_000..95_000_000;

pub(crate) struct Sleeps;

#[async_trait]
impl Actor for Sleeps {
    fn name(&self) -> &'static str {
        "sleeps"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(120..700))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let by = dice.random_range(SLEEP_MS);
        stage.world.time.step_wall(by);
        stage.world.note(format_args!("the machine slept for {} s", by / 1000));
    }
}
