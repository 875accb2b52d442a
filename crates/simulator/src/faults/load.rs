//! Not a fault, but as little asked for: the demand on the groups changes.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::actors::{Actor, Stage};

pub(crate) struct Demand;

#[async_trait]
impl Actor for Demand {
    fn name(&self) -> &'static str {
        "load"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(60..360))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        for group in &stage.world.plan.groups {
            let demand = dice.random_range(0.1..f64::from(group.max) * 0.8 + 0.2);
            stage.world.state.lock().load.set(&group.name, demand);
            stage.world.note(format_args!("{} is asked for the work of {demand:.2} instances", group.name));
        }
    }
}
