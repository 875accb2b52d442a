//! Instances power off by themselves, burn down with their disk, or appear out of nowhere.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::actors::{Actor, Stage};
use crate::dice::one_of;

pub(crate) struct Deaths;

#[async_trait]
impl Actor for Deaths {
    fn name(&self) -> &'static str {
        "deaths"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(10..150))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let now = stage.world.time.now_ms();
        let kind = dice.random_range(0..10);
        let mut state = stage.world.state.lock();
        if kind == 0 {
            let id = format!("i-{:017x}", dice.random::<u64>());
            state.machines.intrude(&id, now);
            drop(state);
            stage.world.machines_changed.notify_one();
            return stage.world.note(format_args!("{id} appears"));
        }
        let ids = state.machines.running(now);
        let Some(id) = one_of(dice, &ids) else { return };
        if kind < 5 {
            state.machines.power_off(id);
        } else {
            state.machines.lose(id);
        }
        drop(state);
        stage.world.machines_changed.notify_one();
        stage.world.note(format_args!("{id} {}", if kind < 5 { "powers off" } else { "burns down" }));
    }
}
