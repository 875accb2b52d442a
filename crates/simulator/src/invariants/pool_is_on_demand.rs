//! No Spot Instance waits in a warm pool, nor is on its way there: only the market stops it.

use puffer_core::ec2::InstanceLifecycle;

use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct PoolIsOnDemand;

impl Invariant for PoolIsOnDemand {
    fn name(&self) -> &'static str {
        "pool_is_on_demand"
    }

    fn transaction(&mut self, deltas: &Deltas, _: &Now<'_>) -> Found {
        let spot = deltas
            .members
            .iter()
            .filter_map(|d| d.after.as_ref())
            .find(|m| m.state.is_of_pool() && m.lifecycle == InstanceLifecycle::Spot);
        holds!(spot.is_none(), "{:?} is Spot and in the warm pool", spot.map(|m| &m.instance_id));
        Ok(())
    }
}
