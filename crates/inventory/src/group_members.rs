//! What users ask of single members: terminate, attach, detach, standby.
//!
//! Each request changes the memberships and, where it says so, the wanted capacity in one transaction, and begins the
//! activities that its answer shows; the group's converger carries them on.

use std::collections::BTreeSet;
use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::autoscaling::hook::HookStand;
use puffer_core::autoscaling::warm_pool::Way;
use puffer_core::autoscaling::{
    Activity, ActivityStatus, Group, HealthStatus, LifecycleState, Member, process, texts,
};
use puffer_core::ec2::{Instance, InstanceState};
use puffer_store::{StoreError, Transaction};
use rand::Rng;

use crate::group_step::TAG_GROUP_NAME;
use crate::group_step::activity::{self, Begin};
use crate::groups::{self, GroupError};
use crate::{images, mix};

/// Instances in one request (AttachInstances, DetachInstances).
pub const INSTANCES_PER_REQUEST_MAX: usize = 20;

/// Why members cannot be moved as asked. The texts are AWS's where it has them.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Too many at once.
    #[error("At most {INSTANCES_PER_REQUEST_MAX} instances can be named in one request.")]
    TooMany,
    /// Not of this group.
    #[error("The instance {0} is not part of Auto Scaling group {1}.")]
    NotOfGroup(String, String),
    /// Not in the state that the request needs.
    #[error("The instance {id} is not in {wanted}.")]
    State {
        /// `i-…`.
        id: String,
        /// States.
        wanted: &'static str,
    },
    /// It is kept out of service, so there is no capacity to give back.
    #[error(
        "The instance {0} is in {1} and does not count towards the desired capacity, so that cannot be decremented with it."
    )]
    Retained(String, &'static str),
    /// A process that the request needs is suspended.
    #[error("The process {process} of AutoScalingGroup {group} is suspended.")]
    Suspended {
        /// Name.
        process: &'static str,
        /// Name.
        group: String,
    },
    /// On its way out already.
    #[error("Instance {0} is already being terminated.")]
    Terminating(String),
    /// The bound below.
    #[error(
        "Currently, desiredSize equals minSize ({0}). Terminating instance without replacement will violate group's \
         min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size."
    )]
    MinOnTermination(u32),
    /// The bound below.
    #[error(
        "AutoScalingGroup {group} has min-size={min}, max-size={max}, and desired-size={desired}. To take {n} more \
         instances out of service, please update the AutoScalingGroup sizes appropriately."
    )]
    Min {
        /// Name.
        group: String,
        /// Bound.
        min: u32,
        /// Bound.
        max: u32,
        /// Now.
        desired: u32,
        /// Asked.
        n: u32,
    },
    /// The bound above.
    #[error(
        "AutoScalingGroup {group} has min-size={min}, max-size={max}, and desired-size={desired}. To place into service \
         {n} more instances, please update the AutoScalingGroup sizes appropriately."
    )]
    Max {
        /// Name.
        group: String,
        /// Bound.
        min: u32,
        /// Bound.
        max: u32,
        /// Now.
        desired: u32,
        /// Asked.
        n: u32,
    },
    /// It does not exist.
    #[error("Invalid Instance ID(s): [{0}] specified")]
    NoInstance(String),
    /// Another group has it.
    #[error("The instance {0} is already part of AutoScalingGroup: {1}.")]
    OtherGroup(String, String),
    /// It does not run.
    #[error("The instance {0} is not in correct state: it must be running.")]
    NotRunning(String),
    /// Its image was deregistered: a group could not make another one like it.
    #[error("The instance {0} cannot be attached: its image {1} does not exist any more.")]
    NoImage(String, String),
    /// Its zone is not one of the group's.
    #[error("The instance {0} is in zone {1}, which is not one of the group's.")]
    OtherZone(String, String),
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a request works with.
pub struct Request<'t, 's> {
    /// The transaction.
    pub tx: &'t mut Transaction<'s>,
    /// The moment.
    pub now: Timestamp,
    /// Makes ids.
    pub rng: &'t mut dyn Rng,
}

impl Request<'_, '_> {
    /// The same for a member that must be of a certain group.
    pub fn terminate_of(
        &mut self,
        group: Option<&str>,
        id: &str,
        decrement: bool,
    ) -> Result<Arc<Activity>, MemberError> {
        if let Some(group) = group {
            let member = groups::member(&self.tx.reader(), id)?;
            if member.group != group {
                return Err(MemberError::NotOfGroup(id.to_owned(), group.to_owned()));
            }
        }
        self.terminate(id, decrement)
    }

    /// Takes one member out for good, with or without making the group smaller.
    pub fn terminate(&mut self, id: &str, decrement: bool) -> Result<Arc<Activity>, MemberError> {
        let member = groups::member(&self.tx.reader(), id)?;
        let group = groups::active(&self.tx.reader(), &member.group)?;
        if member.is_terminating() {
            return Err(MemberError::Terminating(id.to_owned()));
        }
        if decrement && member.state.is_retained() {
            return Err(MemberError::Retained(id.to_owned(), member.state.name()));
        }
        // A member that does not count (standby) leaves the capacity as it is.
        let units = member.units();
        if decrement && units > 0 && group.desired < group.min.saturating_add(units) {
            return Err(MemberError::MinOnTermination(group.min));
        }
        let shrinking = self.resize(&group, if decrement { -i64::from(units) } else { 0 })?;
        let cause = texts::taken_by_user(id, "taken out of service", shrinking);
        let (state, text) = match member.state.is_of_pool() {
            true => (LifecycleState::WarmedTerminating, texts::terminating_from_pool(id)),
            false => (LifecycleState::Terminating, texts::terminating(id)),
        };
        self.put_out(&group, &member, state, text, cause)
    }

    /// Lets members go; their instances stay.
    pub fn detach(
        &mut self,
        group: &str,
        ids: &[String],
        decrement: bool,
    ) -> Result<Vec<Arc<Activity>>, MemberError> {
        use LifecycleState as S;
        let (group, members) = self.members(group, ids)?;
        for m in &members {
            if decrement && m.state == S::TerminatingRetained {
                return Err(MemberError::Retained(m.instance_id.clone(), m.state.name()));
            }
            if !matches!(m.state, S::InService | S::Standby | S::TerminatingRetained) {
                let wanted = "InService or Standby";
                return Err(MemberError::State { id: m.instance_id.clone(), wanted });
            }
        }
        let n = units(members.iter().filter(|m| m.counts()));
        if decrement {
            self.check_min(&group, n)?;
        }
        let shrinking = self.resize(&group, if decrement { -i64::from(n) } else { 0 })?;
        let one = |m: &Arc<Member>| {
            let id = &m.instance_id;
            let cause = texts::taken_by_user(id, "detached", shrinking);
            self.put_out(&group, m, S::Detaching, texts::detaching(id), cause)
        };
        members.iter().map(one).collect()
    }

    /// Takes members out of service, to come back later.
    pub fn enter_standby(
        &mut self,
        group: &str,
        ids: &[String],
        decrement: bool,
    ) -> Result<Vec<Arc<Activity>>, MemberError> {
        let (group, members) = self.members(group, ids)?;
        if let Some(m) = members.iter().find(|m| m.state != LifecycleState::InService) {
            return Err(MemberError::State { id: m.instance_id.clone(), wanted: "InService" });
        }
        // A spare that was launched ahead is not part of the capacity yet.
        let n = units(members.iter().filter(|m| m.counts()));
        if decrement {
            self.check_min(&group, n)?;
        }
        let shrinking = self.resize(&group, if decrement { -i64::from(n) } else { 0 })?;
        let one = |m: &Arc<Member>| {
            let id = &m.instance_id;
            let cause = texts::taken_by_user(id, "moved to standby", shrinking);
            self.put_out(&group, m, LifecycleState::EnteringStandby, texts::to_standby(id), cause)
        };
        members.iter().map(one).collect()
    }

    /// Brings members in standby back; the capacity grows by them.
    pub fn exit_standby(&mut self, group: &str, ids: &[String]) -> Result<Vec<Arc<Activity>>, MemberError> {
        let (group, members) = self.members(group, ids)?;
        check_launches(&group)?;
        if let Some(m) = members.iter().find(|m| m.state != LifecycleState::Standby) {
            return Err(MemberError::State { id: m.instance_id.clone(), wanted: "Standby" });
        }
        let n = units(members.iter());
        self.check_max(&group, n)?;
        self.resize(&group, i64::from(n))?;
        let (from, to) = (group.desired, group.desired + n);
        let mut activities = Vec::with_capacity(members.len());
        for m in &members {
            let id = &m.instance_id;
            let cause = texts::brought_by_user(id, "moved out of standby", from, to);
            let activity =
                self.begin(&group, m, texts::out_of_standby(id), cause, ActivityStatus::PreInService);
            let now = self.now;
            self.tx.update::<Member>(id, |m| {
                (m.state, m.state_since) = (LifecycleState::Pending, now);
                (m.health, m.unhealthy_cause) = (HealthStatus::Healthy, None);
                m.hooks = HookStand::Done;
                m.activity_id = Some(activity.id.clone());
            });
            activities.push(activity);
        }
        Ok(activities)
    }

    /// Makes running instances members; the capacity grows by them.
    pub fn attach(&mut self, group: &str, ids: &[String]) -> Result<(), MemberError> {
        if ids.len() > INSTANCES_PER_REQUEST_MAX {
            return Err(MemberError::TooMany);
        }
        let group = groups::active(&self.tx.reader(), group)?;
        check_launches(&group)?;
        let ids = each_once(ids);
        let mut instances = Vec::with_capacity(ids.len());
        for id in ids {
            let instance = self.tx.get::<Instance>(id).ok_or_else(|| MemberError::NoInstance(id.clone()))?;
            if let Some(member) = self.tx.get::<Member>(id) {
                return Err(MemberError::OtherGroup(id.clone(), member.group.clone()));
            }
            if instance.state != InstanceState::Running {
                return Err(MemberError::NotRunning(id.clone()));
            }
            if !images::is_launchable(&self.tx.reader(), &instance.image_id) {
                return Err(MemberError::NoImage(id.clone(), instance.image_id.clone()));
            }
            if !group.zones.contains(&instance.zone) {
                return Err(MemberError::OtherZone(id.clone(), instance.zone.clone()));
            }
            instances.push(instance);
        }
        let n =
            instances.iter().map(|i| mix::weight_in(&group, &i.instance_type)).fold(0, u32::saturating_add);
        self.check_max(&group, n)?;
        self.resize(&group, i64::from(n))?;
        for instance in instances {
            self.join(&group, &instance, n);
        }
        Ok(())
    }

    fn join(&mut self, group: &Group, instance: &Instance, n: u32) {
        let member = Member {
            instance_id: instance.id.clone(),
            group: group.name.clone(),
            zone: instance.zone.clone(),
            instance_type: instance.instance_type.clone(),
            state: LifecycleState::Pending,
            state_since: self.now,
            in_service_at: None,
            added_at: self.now,
            health: HealthStatus::Healthy,
            unhealthy_cause: None,
            protected: group.new_instances_protected,
            // Only a template leaves its trace on an instance.
            launch_configuration: None,
            launch_template: instance.launch_template.clone(),
            activity_id: None,
            traffic_sources: Vec::new(),
            surplus: false,
            spare: false,
            refreshed_by: None,
            impaired_since: None,
            weight: mix::weight_in(group, &instance.instance_type),
            lifecycle: instance.lifecycle,
            launched_at: instance.launched_at,
            hooks: HookStand::Done,
            way: Way::Direct,
            scaled_in: false,
            root_target: None,
        };
        let cause = texts::brought_by_user(&instance.id, "attached", group.desired, group.desired + n);
        let text = texts::attaching(&instance.id);
        let activity = self.begin(group, &member, text, cause, ActivityStatus::PreInService);
        self.tx.put(Member { activity_id: Some(activity.id.clone()), ..member });
        self.tx.update::<Instance>(&instance.id, |i| {
            i.auto_scaling_group = Some(group.name.clone());
            i.tags.insert(TAG_GROUP_NAME.to_owned(), group.name.clone());
        });
    }

    fn members(&self, group: &str, ids: &[String]) -> Result<(Arc<Group>, Vec<Arc<Member>>), MemberError> {
        if ids.len() > INSTANCES_PER_REQUEST_MAX {
            return Err(MemberError::TooMany);
        }
        let found = groups::active(&self.tx.reader(), group)?;
        let one = |id: &String| match self.tx.get::<Member>(id) {
            Some(m) if m.group == group => Ok(m),
            _ => Err(MemberError::NotOfGroup(id.clone(), group.to_owned())),
        };
        let members = each_once(ids).into_iter().map(one).collect::<Result<Vec<_>, _>>()?;
        Ok((found, members))
    }

    fn check_min(&self, g: &Group, n: u32) -> Result<(), MemberError> {
        if g.desired.saturating_sub(n) < g.min || n > g.desired {
            let (min, max, desired) = (g.min, g.max, g.desired);
            return Err(MemberError::Min { group: g.name.clone(), min, max, desired, n });
        }
        Ok(())
    }

    fn check_max(&self, g: &Group, n: u32) -> Result<(), MemberError> {
        if g.desired.saturating_add(n) > g.max {
            let (min, max, desired) = (g.min, g.max, g.desired);
            return Err(MemberError::Max { group: g.name.clone(), min, max, desired, n });
        }
        Ok(())
    }

    /// Changes the wanted capacity by what the caller has checked; says from and to if it changes. The group's generation moves
    /// on in any case: its members did.
    fn resize(&mut self, group: &Group, by: i64) -> Result<Option<(u32, u32)>, MemberError> {
        let to = u32::try_from(i64::from(group.desired) + by).unwrap_or(group.min);
        groups::change(self.tx, &group.name, |g| {
            g.desired = to;
            if by != 0 {
                g.policy_cooldown_s = None;
            }
        })?;
        Ok((by != 0).then_some((group.desired, to)))
    }

    fn put_out(
        &mut self,
        group: &Group,
        member: &Member,
        state: LifecycleState,
        description: String,
        cause: String,
    ) -> Result<Arc<Activity>, MemberError> {
        if let Some(open) = &member.activity_id {
            activity::close(self.tx, open, ActivityStatus::Cancelled, self.now);
        }
        let activity = self.begin(group, member, description, cause, ActivityStatus::InProgress);
        let now = self.now;
        self.tx.update::<Member>(&member.instance_id, |m| {
            (m.state, m.state_since, m.hooks) = (state, now, HookStand::Due);
            // It will not take the place that it was launched for.
            m.spare = false;
            m.scaled_in = false;
            m.activity_id = Some(activity.id.clone());
        });
        Ok(activity)
    }

    fn begin(
        &mut self,
        group: &Group,
        member: &Member,
        description: String,
        cause: String,
        status: ActivityStatus,
    ) -> Arc<Activity> {
        let instance = self.tx.get::<Instance>(&member.instance_id);
        let begin = Begin {
            group,
            instance_id: Some(&member.instance_id),
            description,
            cause: vec![texts::sentence(self.now, cause)],
            reasons: vec!["a user asked for it".to_owned()],
            subnet: instance.as_ref().map_or("", |i| i.subnet_id.as_str()),
            zone: &member.zone,
            status,
        };
        activity::begin(self.tx, begin, self.now, self.rng)
    }
}

/// Each id of a request once: to name an instance twice is to name it.
fn each_once(ids: &[String]) -> BTreeSet<&String> {
    ids.iter().collect()
}

fn units<'m>(members: impl Iterator<Item = &'m Arc<Member>>) -> u32 {
    members.map(|m| m.weight).fold(0, u32::saturating_add)
}

/// Instances come into a group only while it may launch.
fn check_launches(group: &Group) -> Result<(), MemberError> {
    match group.is_suspended(process::LAUNCH) {
        true => Err(MemberError::Suspended { process: process::LAUNCH, group: group.name.clone() }),
        false => Ok(()),
    }
}
