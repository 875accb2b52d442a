//! No address is held twice: neither by two instances nor by an instance and a load balancer's node.

use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct AddressOnce;

impl Invariant for AddressOnce {
    fn name(&self) -> &'static str {
        "address_once"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        let new = deltas.instances.iter().filter(|d| d.before.is_none()).filter_map(|d| d.after.as_ref());
        for instance in new {
            let (subnet, address) = (&instance.subnet_id, instance.private_ip);
            let holders = now
                .view
                .instances
                .values()
                .filter(|i| i.state.is_alive() && i.subnet_id == *subnet && i.private_ip == address);
            let n = holders.count();
            holds!(n <= 1, "{n} instances hold {address} in {subnet}");
            let node = now.view.holds.values().find(|h| h.subnet_id == *subnet && h.address == address);
            holds!(
                node.is_none(),
                "{} and a node of {:?} hold {address}",
                instance.id,
                node.map(|h| &h.holder)
            );
        }
        Ok(())
    }
}
