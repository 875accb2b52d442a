//! Which addresses of a subnet are taken, and by whom.

use std::net::Ipv4Addr;

use puffer_core::ec2::{AddressHold, Instance, SUBNET_RESERVED_FIRST, Subnet};
use puffer_store::{Reader, Transaction};
use rand::{Rng, RngExt};

/// Whether nothing has this address of the subnet.
pub fn is_free(reader: &Reader<'_>, subnet: &Subnet, address: Ipv4Addr) -> bool {
    subnet.is_usable(address)
        && reader.get::<AddressHold>(&AddressHold::key_of(&subnet.id, address)).is_none()
        // Blocks of different VPCs may overlap, so the address alone says too little.
        && reader.list_by::<Instance>("address", &address.to_string()).iter().all(|i| i.subnet_id != subnet.id)
}

/// A free address of the subnet, or `None` if there is none.
///
/// The search starts at a random place, so it takes about one probe while the subnet is not nearly full, needs no
/// counter on record, and does not hand out an address again as soon as it is given back.
pub fn allocate(tx: &Transaction<'_>, subnet: &Subnet, rng: &mut dyn Rng) -> Option<Ipv4Addr> {
    let n = subnet.n_usable();
    if n == 0 {
        return None;
    }
    let start = rng.random_range(0..n);
    let reader = tx.reader();
    (0..n)
        .filter_map(|i| subnet.cidr.nth(SUBNET_RESERVED_FIRST + (start + i) % n))
        .find(|address| is_free(&reader, subnet, *address))
}

/// How many addresses of the subnet are free (`AvailableIpAddressCount`).
pub fn n_free(reader: &Reader<'_>, subnet: &Subnet) -> u64 {
    let taken = reader.count_by::<Instance>("subnet", &subnet.id)
        + reader.count_by::<AddressHold>("subnet", &subnet.id);
    subnet.n_usable().saturating_sub(taken as u64)
}
