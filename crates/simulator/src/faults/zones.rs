//! A zone goes: it takes no launches, and what runs there may die; sometimes somebody declares it down. It comes back later.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::actors::{Actor, Stage};
use crate::dice::{chance, one_of};
use crate::operator;
use crate::plan::ZONES;

pub(crate) struct Zones;

#[async_trait]
impl Actor for Zones {
    fn name(&self) -> &'static str {
        "zones"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(30..300))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let now = stage.world.time.now_ms();
        if !stage.world.state.lock().faults.zones_down.is_empty() {
            stage.world.state.lock().faults.zones_down.clear();
            stage.world.note(format_args!("all zones are back"));
            return self.calm(stage).await;
        }
        let Some(zone) = one_of(dice, &ZONES) else { return };
        let kills = chance(dice, 0.5);
        {
            let state = &mut *stage.world.state.lock();
            state.faults.zones_down.insert((*zone).to_owned());
            let here = if kills { state.machines.running_in(zone, now) } else { Vec::new() };
            here.iter().for_each(|id| state.machines.power_off(id));
        }
        stage.world.machines_changed.notify_one();
        stage.world.note(format_args!("{zone} goes, with its instances: {kills}"));
        if chance(dice, 0.5) {
            operator::set_down(stage.world, zone, true).await;
        }
    }

    async fn calm(&mut self, stage: &Stage<'_>) {
        for zone in ZONES {
            operator::set_down(stage.world, zone, false).await;
        }
    }
}
