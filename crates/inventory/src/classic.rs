//! Classic load balancers over the store: the record and the target group of its instances change together, in one transaction.

use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::autoscaling::{Group, Member};
use puffer_core::ec2::AddressHold;
use puffer_core::elb::classic::ClassicLoadBalancer;
use puffer_core::elb::{Target, TargetGroup};
use puffer_store::{Reader, Transaction};

use crate::nodes;

/// Stores a load balancer together with the target group of its instances.
pub fn put(tx: &mut Transaction<'_>, balancer: ClassicLoadBalancer) -> Arc<ClassicLoadBalancer> {
    let group = balancer.target_group();
    if tx.get::<TargetGroup>(&group.arn).as_deref() != Some(&group) {
        tx.put(group);
    }
    tx.put(balancer)
}

/// Takes a load balancer away, with the registrations of its instances. Its nodes' addresses become free once nobody is connected
/// there any more.
///
/// Groups stay attached to its name, but forget whom they registered: another one of this name, and so of this ARN, is a new one.
pub fn remove(tx: &mut Transaction<'_>, balancer: &ClassicLoadBalancer, now: Timestamp) {
    for target in tx.list_by::<Target>("target_group", &balancer.arn) {
        tx.delete::<Target>(&Target::key_of(&balancer.arn, &target.id, target.port));
    }
    for hold in tx.list_by::<AddressHold>("holder", &balancer.arn) {
        nodes::release(tx, &hold.subnet_id, hold.address, now);
    }
    let groups = tx.list::<Group>();
    for group in groups.iter().filter(|g| is_attached(g, &balancer.arn)) {
        for member in tx.list_by::<Member>("group", &group.name) {
            if member.traffic_sources.contains(&balancer.arn) {
                tx.update::<Member>(&member.instance_id, |m| {
                    m.traffic_sources.retain(|a| *a != balancer.arn)
                });
            }
        }
        if group.traffic_in_service.contains(&balancer.arn) {
            tx.update::<Group>(&group.name, |g| _ = g.traffic_in_service.remove(&balancer.arn));
        }
    }
    tx.delete::<TargetGroup>(&balancer.arn);
    tx.delete::<ClassicLoadBalancer>(&balancer.name);
}

/// Whether members of a group are, or were until just now, registered with the target group.
fn is_attached(group: &Group, arn: &str) -> bool {
    group.target_groups.iter().any(|a| a == arn) || group.traffic_removing.contains(arn)
}

/// The registered instances in the order of their registration; those that are on their way out included.
pub fn registrations(reader: &Reader<'_>, balancer: &ClassicLoadBalancer) -> Vec<Arc<Target>> {
    let mut found = reader.list_by::<Target>("target_group", &balancer.arn);
    found.sort_by(|a, b| (a.registered_at, &a.id).cmp(&(b.registered_at, &b.id)));
    found
}

#[cfg(test)]
mod tests {
    use puffer_core::ec2::InstanceState;
    use puffer_core::elb::TargetState;
    use puffer_core::elb::classic::WHOLE_INSTANCE;

    use super::*;
    use crate::fixtures::{NOW, classic, edit, instance, store};
    use crate::targets::{self, TargetDescription, health_of, is_in_use};

    #[tokio::test]
    async fn instances_are_targets_of_a_group_that_comes_and_goes_with_the_load_balancer() {
        let (_dir, store) = store();
        let balancer = classic("web");
        let arn = balancer.arn.clone();
        let one = [TargetDescription::of("i-1")];
        edit(&store, |tx| {
            put(tx, balancer.clone());
            tx.put(instance("i-1", InstanceState::Running, "10.0.0.4".parse().unwrap()));
        })
        .await;
        edit(&store, |tx| targets::register(tx, &arn, &one, NOW)).await.unwrap();
        let health = || store.read(|r| health_of(r, &arn, "i-1")).map(|t| (t.state, t.port));
        assert!(store.read(|r| is_in_use(r, &arn)), "its instances are checked, whatever listens");
        assert_eq!(health(), Some((TargetState::Initial, WHOLE_INSTANCE)));
        edit(&store, |tx| targets::deregister(tx, &arn, &one, NOW)).await.unwrap();
        assert_eq!(health(), Some((TargetState::Draining, WHOLE_INSTANCE)));
        assert_eq!(store.read(|r| registrations(r, &balancer)).len(), 1);

        let mut changed = balancer.clone();
        changed.attributes.draining = true;
        edit(&store, |tx| put(tx, changed.clone())).await;
        assert_eq!(store.get::<TargetGroup>(&arn).map(|g| g.deregistration_delay_s()), Some(300));
        edit(&store, |tx| remove(tx, &changed, NOW)).await;
        assert!(store.list::<TargetGroup>().is_empty() && store.list::<Target>().is_empty());
        assert!(store.list::<ClassicLoadBalancer>().is_empty());
        assert!(!store.read(|r| is_in_use(r, &arn)));
    }
}
