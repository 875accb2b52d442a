//! Driver calls fail, in each class, take long, or are never answered: in spells.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::actors::{Actor, Stage};
use crate::dice::chance;

pub(crate) struct DriverErrors;

#[async_trait]
impl Actor for DriverErrors {
    fn name(&self) -> &'static str {
        "driver-errors"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(10..120))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let mut rate = |likely: f64| if chance(dice, likely) { dice.random_range(0.05..0.6) } else { 0.0 };
        let rates = [0.3, 0.4, 0.15, 0.05, 0.05, 0.2, 0.3, 0.3, 0.2].map(&mut rate);
        let mut state = stage.world.state.lock();
        let f = &mut state.faults;
        [
            f.capacity,
            f.transient,
            f.permanent,
            f.bad_image,
            f.unsupported,
            f.lost,
            f.slow,
            f.calls,
            f.network,
        ] = rates;
        drop(state);
        stage.world.note(format_args!("driver errors: {rates:.2?}"));
    }
}
