//! Places in the network: nothing to make ready, but it may fail.

use std::sync::Arc;

use async_trait::async_trait;
use puffer_control::{LoopbackPlacement, Place, Placement, PlacementError};
use puffer_core::ErrorClass;
use puffer_core::ec2::{Instance, Subnet};

use crate::dice::chance;
use crate::world::World;

/// The world's network.
pub(crate) struct SimPlacement(pub(crate) Arc<World>);

#[async_trait]
impl Placement for SimPlacement {
    async fn place(&self, instance: &Instance, subnet: &Subnet) -> Result<Place, PlacementError> {
        self.0.life.step().await;
        let fails = {
            let mut state = self.0.state.lock();
            let rate = state.faults.network;
            rate > 0.0 && chance(&mut state.faults.dice, rate)
        };
        if fails {
            let reason = "the simulated network hiccuped".to_owned();
            return Err(PlacementError { class: ErrorClass::Transient, reason });
        }
        LoopbackPlacement.place(instance, subnet).await
    }

    async fn vacate(&self, instance_id: &str) {
        LoopbackPlacement.vacate(instance_id).await;
    }
}
