//! Addresses of load balancer nodes: taken from the subnets in which instances live, and given back only when nobody
//! can be connected to them any more.

use std::net::Ipv4Addr;

use puffer_core::ec2::{AddressHold, Subnet};
use puffer_core::{Timestamp, ids};
use puffer_store::Transaction;
use rand::Rng;

use crate::addresses;

/// No address is left in a subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Not enough IP space available in {0}. ELB requires a free IP address in each subnet.")]
pub struct NoAddressLeft(pub String);

/// Who takes an address.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// ARN of the load balancer.
    pub arn: &'a str,
    /// `ELB app/…`.
    pub description: &'a str,
    /// Security groups of the node.
    pub security_groups: &'a [String],
}

/// Takes an address of `subnet` for a node; one that the same holder is just giving back, if there is one.
pub fn hold(
    tx: &mut Transaction<'_>,
    subnet: &Subnet,
    holder: Holder<'_>,
    rng: &mut dyn Rng,
    now: Timestamp,
) -> Result<Ipv4Addr, NoAddressLeft> {
    let holds = tx.list_by::<AddressHold>("subnet", &subnet.id);
    if let Some(own) = holds.iter().find(|h| h.holder == holder.arn) {
        tx.update::<AddressHold>(&AddressHold::key_of(&subnet.id, own.address), |h| {
            h.releasing_since = None;
            h.security_groups = holder.security_groups.to_vec();
        });
        return Ok(own.address);
    }
    let address = addresses::allocate(tx, subnet, rng).ok_or_else(|| NoAddressLeft(subnet.id.clone()))?;
    tx.put(AddressHold {
        subnet_id: subnet.id.clone(),
        address,
        holder: holder.arn.to_owned(),
        description: holder.description.to_owned(),
        network_interface_id: ids::resource_id("eni", rng),
        mac: ids::mac(rng),
        security_groups: holder.security_groups.to_vec(),
        since: now,
        releasing_since: None,
    });
    Ok(address)
}

/// Gives an address back: it becomes free once the data plane has nothing open there ([`free`]).
pub fn release(tx: &mut Transaction<'_>, subnet_id: &str, address: Ipv4Addr, now: Timestamp) {
    tx.update::<AddressHold>(&AddressHold::key_of(subnet_id, address), |hold| {
        hold.releasing_since.get_or_insert(now);
    });
}

/// Lets others have an address. Says whether it did: one taken again meanwhile stays.
pub fn free(tx: &mut Transaction<'_>, subnet_id: &str, address: Ipv4Addr) -> bool {
    let key = AddressHold::key_of(subnet_id, address);
    let released = tx.get::<AddressHold>(&key).is_some_and(|h| h.releasing_since.is_some());
    released && tx.delete::<AddressHold>(&key)
}

/// Changes the security groups of all nodes of a holder.
pub fn set_security_groups(tx: &mut Transaction<'_>, holder: &str, groups: &[String]) {
    for hold in tx.list_by::<AddressHold>("holder", holder) {
        let key = AddressHold::key_of(&hold.subnet_id, hold.address);
        tx.update::<AddressHold>(&key, |h| h.security_groups = groups.to_vec());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{NOW, edit, instance, store, subnet};
    use puffer_core::ec2::InstanceState;
    use rand::SeedableRng;

    fn holder(arn: &str) -> Holder<'_> {
        Holder { arn, description: "ELB app/web/1", security_groups: &[] }
    }

    #[tokio::test]
    async fn addresses_are_shared_with_instances_and_freed_late() {
        let (_dir, store) = store();
        let mut rng = rand_pcg::Pcg64::seed_from_u64(1);
        // Usable: .4 to .6 of a block of eight.
        let subnet = subnet("subnet-a", "us-east-1a", "10.0.0.0/29");
        edit(&store, |tx| {
            tx.put(instance("i-1", InstanceState::Running, "10.0.0.5".parse().unwrap()));
        })
        .await;
        let first = edit(&store, |tx| hold(tx, &subnet, holder("lb-1"), &mut rng, NOW)).await.unwrap();
        let second = edit(&store, |tx| hold(tx, &subnet, holder("lb-2"), &mut rng, NOW)).await.unwrap();
        let mut got = [first, second].map(|a| a.octets()[3]);
        got.sort_unstable();
        assert_eq!(got, [4, 6]);
        let third = edit(&store, |tx| hold(tx, &subnet, holder("lb-3"), &mut rng, NOW)).await;
        assert_eq!(third, Err(NoAddressLeft("subnet-a".into())));

        edit(&store, |tx| release(tx, "subnet-a", first, NOW)).await;
        let still = edit(&store, |tx| hold(tx, &subnet, holder("lb-3"), &mut rng, NOW)).await;
        assert!(still.is_err(), "a released address is not free yet");
        let again = edit(&store, |tx| hold(tx, &subnet, holder("lb-1"), &mut rng, NOW)).await;
        assert_eq!(again, Ok(first), "its holder can take it back");
        assert!(!edit(&store, |tx| free(tx, "subnet-a", first)).await, "it is in use again");
        edit(&store, |tx| release(tx, "subnet-a", first, NOW)).await;
        assert!(edit(&store, |tx| free(tx, "subnet-a", first)).await);
        let third = edit(&store, |tx| hold(tx, &subnet, holder("lb-3"), &mut rng, NOW)).await;
        assert_eq!(third, Ok(first));
    }
}
