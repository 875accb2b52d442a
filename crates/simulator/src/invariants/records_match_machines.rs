//! At rest, no machine without a record and no record without a machine, and each runs from the root volume and the image that are on
//! record.

use puffer_compute::DriverState;
use puffer_core::ec2::InstanceState;

use super::{Found, Invariant, Now, holds};

pub(crate) struct RecordsMatchMachines;

impl Invariant for RecordsMatchMachines {
    fn name(&self) -> &'static str {
        "records_match_machines"
    }

    fn at_rest(&mut self, now: &Now<'_>) -> Found {
        for (id, machine) in &now.machines.by_id {
            let root = now.view.instances.get(id).map_or(machine.root, |i| i.root_serial);
            holds!(machine.root == root, "{id} has root volume {} and on record {root}", machine.root);
            if let (Some(booted), Some(i)) = (&machine.image, now.view.instances.get(id))
                && i.state == InstanceState::Running
            {
                holds!(*booted == i.image_id, "{id} booted {booted} and has {} on record", i.image_id);
            }
            let record = now.view.instances.get(id).map(|i| i.state);
            let state = machine.state(now.true_ms);
            let agree = matches!(
                (record, state),
                (Some(InstanceState::Running), DriverState::Running)
                    | (Some(InstanceState::Stopped), DriverState::Stopped)
            );
            holds!(!machine.is_held(), "{id} is held still and its zone is up");
            holds!(agree, "{id} is {state:?} and on record as {record:?}");
        }
        for (id, instance) in now.view.instances.iter().filter(|(_, i)| i.state.is_alive()) {
            let known = now.machines.by_id.contains_key(id);
            holds!(known, "{id} is on record as {} and does not exist", instance.state.name());
        }
        Ok(())
    }
}
