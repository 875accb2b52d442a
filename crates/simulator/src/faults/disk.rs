//! The disk is slow, or refuses for a while.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::actors::{Actor, Stage};
use crate::dice::chance;

pub(crate) struct DiskTrouble;

#[async_trait]
impl Actor for DiskTrouble {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(10..60))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let refuses = if chance(dice, 0.3) { dice.random_range(0.1..1.0) } else { 0.0 };
        let slow = if chance(dice, 0.4) { dice.random_range(20..800) } else { 5 };
        let mut state = stage.world.state.lock();
        (state.faults.disk_refuses, state.faults.commit_ms) = (refuses, slow);
        drop(state);
        stage.world.note(format_args!("the disk refuses {refuses:.2}, takes {slow} ms"));
    }
}
