//! Whoever runs the machines: moves the Spot market, declares zones down, shifts groups away, as `puffer spot` and `puffer zone` let
//! people do.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use puffer_core::Timestamp;
use puffer_core::autoscaling::ZonalShift;
use puffer_core::ec2::InterruptionCause;
use puffer_inventory::spot::{self, PoolChange, SpotError};
use puffer_inventory::zones::{self, ZoneError};
use puffer_store::{StoreError, Transaction};

use crate::world::World;

async fn order<E>(
    world: &Arc<World>,
    what: String,
    body: impl FnOnce(&mut Transaction<'_>, Timestamp) -> Result<(), E> + Send,
) where
    E: From<StoreError> + Display + Send,
{
    let Some(server) = world.server() else { return };
    world.life.step().await;
    let now = server.clock.now();
    let done = server.store.transact::<_, E>(|tx| body(tx, now)).await;
    match done {
        Ok(()) => world.note(format_args!("operator: {what}")),
        Err(error) => world.note(format_args!("operator: {what}: {error}")),
    }
}

/// Declares a zone down or up.
pub(crate) async fn set_down(world: &Arc<World>, zone: &str, down: bool) {
    order::<ZoneError>(world, format!("{zone} is down: {down}"), |tx, now| {
        zones::set_down(tx, zone, down, now).map(drop)
    })
    .await;
}

/// Shifts a group away from a zone for a while, or ends its shift.
pub(crate) async fn shift(world: &Arc<World>, group: &str, away: Option<(&str, Duration)>) {
    order::<ZoneError>(world, format!("{group} is shifted: {away:?}"), |tx, now| {
        let shift = away.map(|(zone, time)| ZonalShift { zone: zone.to_owned(), until: now + time });
        zones::set_shift(tx, group, shift)
    })
    .await;
}

/// Sets the pools of a type, in one zone or all.
pub(crate) async fn set_pools(world: &Arc<World>, pattern: &str, zone: Option<&str>, change: PoolChange) {
    order::<SpotError>(world, format!("pools {pattern} in {zone:?}: {change:?}"), |tx, now| {
        let zones: Vec<String> = zone.map(str::to_owned).into_iter().collect();
        spot::set_pools(tx, pattern, &zones, &change, now).map(drop)
    })
    .await;
}

/// Gives an instance its notice.
pub(crate) async fn interrupt(world: &Arc<World>, id: &str) {
    order::<SpotError>(world, format!("{id} is interrupted"), |tx, now| {
        spot::interrupt(tx, id, InterruptionCause::User, now)
    })
    .await;
}

/// Advises an instance to move.
pub(crate) async fn recommend_rebalance(world: &Arc<World>, id: &str) {
    order::<SpotError>(world, format!("{id} is advised to move"), |tx, now| {
        spot::recommend_rebalance(tx, id, now)
    })
    .await;
}
