//! The balancer's process dies and forgets everything.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::actors::{Actor, Stage};

pub(crate) struct PlaneDeaths;

#[async_trait]
impl Actor for PlaneDeaths {
    fn name(&self) -> &'static str {
        "data-plane"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(60..400))
    }

    async fn act(&mut self, stage: &Stage<'_>, _: &mut Pcg64) {
        stage.world.state.lock().plane.die();
        stage.world.plane_changed.notify_waiters();
        stage.world.note(format_args!("the data plane dies"));
    }
}
