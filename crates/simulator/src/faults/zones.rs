//! A zone goes: it takes no launches, and what runs there may die. Or whoever runs the server takes it down, so that what runs there
//! is held still. It comes back later.

use std::time::Duration;

use async_trait::async_trait;
use puffer_inventory::zones::{self, ZoneError};
use puffer_store::Transaction;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::actors::{Actor, Stage};
use crate::dice::{chance, one_of};
use crate::plan::ZONES;

pub(crate) struct Zones;

impl Zones {
    /// `puffer zone down` or `up`.
    async fn declare(&self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(server) = stage.world.server() else { return };
        let Some(zone) = one_of(dice, &ZONES) else { return };
        let now = server.clock.now();
        let toggle = |tx: &mut Transaction<'_>| {
            let down = !zones::is_down(&tx.reader(), zone);
            zones::set_down(tx, zone, down, now).map(|_| down)
        };
        let done = server.store.transact::<_, ZoneError>(toggle).await;
        stage.world.note(format_args!("{zone} is taken down or up: {done:?}"));
    }
}

#[async_trait]
impl Actor for Zones {
    fn name(&self) -> &'static str {
        "zones"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(30..300))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        if chance(dice, 0.5) {
            return self.declare(stage, dice).await;
        }
        let now = stage.world.time.now_ms();
        let mut state = stage.world.state.lock();
        if !state.faults.zones_down.is_empty() {
            state.faults.zones_down.clear();
            drop(state);
            return stage.world.note(format_args!("all zones are back"));
        }
        let Some(zone) = one_of(dice, &ZONES) else { return };
        state.faults.zones_down.insert((*zone).to_owned());
        let kills = chance(dice, 0.5);
        if kills {
            let here = state.machines.running_in(zone, now);
            here.iter().for_each(|id| state.machines.power_off(id));
        }
        drop(state);
        stage.world.machines_changed.notify_one();
        stage.world.note(format_args!("{zone} goes, with its instances: {kills}"));
    }
}
