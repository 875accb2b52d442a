//! Groups in the form in which the API shows them, kept until they change.
//!
//! A group's shape is some dozens of small texts; making it for each of thousands of answers a second would cost more than
//! all the rest of the answer. So shapes are kept and lent to the encoder. The store says which groups and members
//! changed, before it acknowledges the change to whoever made it; so a request that follows an acknowledged change never
//! sees an older shape.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use puffer_core::autoscaling::{Group, Member};
use puffer_core::ec2::Instance;
use puffer_shapes::autoscaling as shape;
use puffer_store::{Dirty, Store, Subscription};
use puffer_wire::value::ListView;
use puffer_wire::{Schema, Shape, Slot, ValueRef};

use super::describe_groups;

/// Shapes kept; beyond it all are forgotten. Some kilobytes each, so this bounds the memory at some tens of megabytes.
const SHAPES_MAX: usize = 10_000;

/// The kept shapes.
pub(super) struct GroupShapes {
    groups: Subscription,
    members: Subscription,
    /// What a member runs from is its instance's.
    instances: Subscription,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    shapes: HashMap<Arc<str>, Arc<shape::AutoScalingGroup>>,
    /// Group of each instance in a kept shape: a member that has gone says its group no more.
    group_of: HashMap<String, Arc<str>>,
}

impl GroupShapes {
    pub(super) fn new(store: &Store) -> GroupShapes {
        GroupShapes {
            groups: store.subscribe::<Group>(),
            members: store.subscribe::<Member>(),
            instances: store.subscribe::<Instance>(),
            kept: Mutex::default(),
        }
    }

    /// The shapes of these groups; those that do not exist are left out.
    pub(super) fn of(&self, store: &Store, names: &[Arc<str>]) -> Vec<Arc<shape::AutoScalingGroup>> {
        // The lock is held while shapes are made, so that a change heard of meanwhile forgets them afterwards.
        let mut kept = self.kept.lock();
        self.forget_changed(store, &mut kept);
        names.iter().filter_map(|name| kept.get(store, name)).collect()
    }

    fn forget_changed(&self, store: &Store, kept: &mut Kept) {
        match self.groups.take() {
            None => {}
            Some(Dirty::All) => *kept = Kept::default(),
            Some(Dirty::Keys(names)) => names.iter().for_each(|name| kept.forget(name)),
        }
        match self.members.take() {
            None => {}
            Some(Dirty::All) => *kept = Kept::default(),
            Some(Dirty::Keys(ids)) => {
                for id in ids {
                    kept.forget_group_of(&id);
                    if let Some(member) = store.get::<Member>(&id) {
                        kept.forget(&member.group);
                    }
                }
            }
        }
        match self.instances.take() {
            None => {}
            Some(Dirty::All) => *kept = Kept::default(),
            Some(Dirty::Keys(ids)) => ids.iter().for_each(|id| kept.forget_group_of(id)),
        }
    }
}

impl Kept {
    fn forget_group_of(&mut self, instance_id: &str) {
        if let Some(name) = self.group_of.get(instance_id).cloned() {
            self.forget(&name);
        }
    }

    fn forget(&mut self, name: &str) {
        if let Some(shape) = self.shapes.remove(name) {
            for instance in shape.instances.iter().flatten() {
                self.group_of.remove(instance.instance_id.as_deref().unwrap_or_default());
            }
        }
    }

    fn get(&mut self, store: &Store, name: &Arc<str>) -> Option<Arc<shape::AutoScalingGroup>> {
        if let Some(shape) = self.shapes.get(name) {
            return Some(Arc::clone(shape));
        }
        if self.shapes.len() >= SHAPES_MAX {
            *self = Kept::default();
        }
        let shape =
            store.read(|r| Some(Arc::new(describe_groups::group(r, &*r.get::<Group>(name)?, true))))?;
        for instance in shape.instances.iter().flatten() {
            self.group_of.insert(instance.instance_id.clone().unwrap_or_default(), Arc::clone(name));
        }
        self.shapes.insert(Arc::clone(name), Arc::clone(&shape));
        Some(shape)
    }
}

/// `AutoScalingGroupsType` with groups on loan.
#[derive(Debug)]
pub(super) struct GroupsAnswer {
    groups: Lent,
    next_token: Option<String>,
}

#[derive(Debug)]
struct Lent(Vec<Arc<shape::AutoScalingGroup>>);

impl ListView for Lent {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn item(&self, index: usize) -> ValueRef<'_> {
        ValueRef::Struct(&*self.0[index])
    }
}

impl GroupsAnswer {
    pub(super) fn new(groups: Vec<Arc<shape::AutoScalingGroup>>, next_token: Option<String>) -> GroupsAnswer {
        GroupsAnswer { groups: Lent(groups), next_token }
    }
}

impl Shape for GroupsAnswer {
    fn schema(&self) -> &'static Schema {
        &shape::schema::AUTO_SCALING_GROUPS_TYPE
    }

    fn get(&self, member: usize) -> Option<ValueRef<'_>> {
        match member {
            0 => Some(ValueRef::List(&self.groups)),
            1 => self.next_token.as_deref().map(ValueRef::Str),
            _ => None,
        }
    }

    fn slot(&mut self, _: usize) -> Option<Slot<'_>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use puffer_core::Timestamp;
    use puffer_core::autoscaling::InstanceSource;
    use puffer_store::StoreError;

    use super::*;

    fn group(name: &str, desired: u32) -> Group {
        let source = InstanceSource::LaunchConfiguration("lc".into());
        Group { desired, ..Group::new(name, "u", "arn", source, Timestamp::from_secs(1)) }
    }

    async fn put(store: &Store, group: Group) {
        store.transact::<_, StoreError>(|tx| Ok(tx.put(group))).await.unwrap();
    }

    #[tokio::test]
    async fn an_acknowledged_change_is_seen_and_the_rest_is_lent() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.redb"), &puffer_inventory::schema()).unwrap();
        let shapes = GroupShapes::new(&store);
        put(&store, group("a", 1)).await;
        put(&store, group("b", 1)).await;
        let names: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).to_vec();
        let desired = |s: &[Arc<shape::AutoScalingGroup>]| -> Vec<i32> {
            s.iter().filter_map(|g| g.desired_capacity).collect()
        };
        let first = shapes.of(&store, &names);
        assert_eq!(desired(&first), [1, 1]);
        for n in 2..50 {
            put(&store, group("a", n)).await;
            let now = shapes.of(&store, &names);
            assert_eq!(desired(&now), [i32::try_from(n).unwrap(), 1]);
            assert!(Arc::ptr_eq(&now[1], &first[1]), "b is lent again");
        }
        store.transact::<_, StoreError>(|tx| Ok(tx.delete::<Group>("a"))).await.unwrap();
        assert_eq!(shapes.of(&store, &names).len(), 1);
    }

    #[test]
    fn the_answer_has_the_models_members() {
        let names: Vec<&str> =
            shape::schema::AUTO_SCALING_GROUPS_TYPE.members().iter().map(|m| m.name).collect();
        assert_eq!(names, ["AutoScalingGroups", "NextToken"]);
        let answer = GroupsAnswer::new(Vec::new(), Some("t".into()));
        assert!(matches!(answer.get(0), Some(ValueRef::List(l)) if l.is_empty()));
        assert!(matches!(answer.get(1), Some(ValueRef::Str("t"))));
    }
}
