//! The Spot market moves: prices rise above what is paid, pools shrink or are withdrawn, single instances get their notice or the
//! advice to move. When the storm is over, the market is the model's again.

use std::time::Duration;

use async_trait::async_trait;
use puffer_core::ec2::Price;
use puffer_inventory::spot::PoolChange;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::actors::{Actor, Stage};
use crate::dice::one_of;
use crate::mix::TYPES;
use crate::operator;
use crate::plan::ZONES;

/// Prices that a pool may be set to, millionths of a dollar: next to nothing, within what is paid, near it, far beyond.
const PRICES: [u64; 5] = [500, 5_000, 9_800, 90_000, 5_000_000];

pub(crate) struct Market;

#[async_trait]
impl Actor for Market {
    fn name(&self) -> &'static str {
        "market"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(20..150))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let spot: Vec<String> = {
            let view = &stage.world.state.lock().view;
            view.instances.values().filter(|i| i.is_spot()).map(|i| i.id.clone()).collect()
        };
        let kind = dice.random_range(0..10);
        let (Some(name), zone) = (one_of(dice, &TYPES).copied(), one_of(dice, &ZONES).copied()) else {
            return;
        };
        let mut change = PoolChange::default();
        match (kind, one_of(dice, &spot)) {
            (0..=1, Some(id)) => return operator::interrupt(stage.world, id).await,
            (2..=3, Some(id)) => return operator::recommend_rebalance(stage.world, id).await,
            (0..=5, _) => change.price = Some(one_of(dice, &PRICES).map(|p| Price(*p))),
            (6..=7, _) => change.capacity = Some(Some(dice.random_range(0..4))),
            (8, _) => change = PoolChange { price: Some(None), capacity: Some(None) },
            // Nothing is to be had anywhere.
            _ => return everywhere(stage, &PoolChange { price: None, capacity: Some(Some(0)) }).await,
        }
        operator::set_pools(stage.world, name, zone, change).await;
    }

    async fn calm(&mut self, stage: &Stage<'_>) {
        everywhere(stage, &PoolChange { price: Some(None), capacity: Some(None) }).await;
    }
}

async fn everywhere(stage: &Stage<'_>, change: &PoolChange) {
    for name in TYPES {
        operator::set_pools(stage.world, name, None, change.clone()).await;
    }
}
