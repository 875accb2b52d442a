//! The group's instance refresh moves on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use puffer_core::autoscaling::mixed::{Mix, Pool};
use puffer_core::autoscaling::refresh::{Facts, Replacing, decide};
use puffer_core::autoscaling::view::GroupView;
use puffer_core::autoscaling::{
    Group, GroupStatus, InstanceRefresh, InstanceSource, Member, RefreshStatus, RefreshStrategy, backoff,
};
use puffer_store::Reader;

use super::launch::launch_request_in;
use super::{Observation, Observed, Step, launch_request};
use crate::launch::LaunchRequest;
use crate::{mix, refreshes};

impl Step<'_, '_> {
    /// Takes the refresh as far as it goes now. Gives what the planner may do for it.
    pub(super) fn take_refresh_on(&mut self, seen: &Observation) -> Option<Replacing> {
        let before = seen.refresh.as_ref().filter(|_| self.group.status == GroupStatus::Active)?;
        self.refresh = Some(InstanceRefresh::clone(before));
        let matches = self.matches(seen, before);
        let alarm = refreshes::alarm_of(&self.tx.reader(), before);
        let reversible = refreshes::check_reversible(&self.tx.reader(), &self.group, before).is_ok();
        let facts = Facts { matches: &matches, alarm, reversible };
        let group = self.group.clone();
        let decided = decide(&GroupView { group: &group, ..seen.view(self.now) }, before, &facts);
        if let Some(at) = decided.look_again {
            self.report.later(at);
        }
        if decided.refresh.status == RefreshStatus::Successful
            && let Some(desired) = &decided.refresh.desired
        {
            (self.group.source, self.group.mixed) = (desired.source.clone(), desired.mixed.clone());
            self.group.generation += 1;
            backoff::forget(&mut self.group);
            self.reweigh(seen);
        }
        if decided.refresh != **before {
            self.tx.put(decided.refresh.clone());
        }
        for event in &decided.events {
            refreshes::announce(self.tx, &group, &decided.refresh, *event, self.now);
        }
        self.refresh = Some(decided.refresh);
        self.stand = decided.replacing.as_ref().map(|r| r.stand.clone());
        let mut replacing = decided.replacing;
        if let Some(replacing) = &mut replacing
            && before.strategy == RefreshStrategy::ReplaceRootVolume
        {
            self.replace_roots(seen, replacing);
        }
        replacing
    }

    /// The group as launches of this step see it: a refresh may launch from its own desired configuration.
    pub(super) fn launching(&self) -> Cow<'_, Group> {
        refreshes::launching(&self.group, self.refresh.as_ref())
    }

    /// Of each member: whether a launch would make the same now. Only asked for if that matters.
    fn matches(&self, seen: &Observation, refresh: &InstanceRefresh) -> Vec<bool> {
        if !refresh.preferences.skip_matching {
            return Vec::new();
        }
        // Also before it begins, when its first launch is still to come.
        let group = refreshes::from_source(&self.group, refresh.desired.as_ref());
        let r = self.tx.reader();
        let mix = mix::of_group(&r, &group, self.now);
        // One answer for all members of a type.
        let mut known: BTreeMap<&str, Option<LaunchRequest>> = BTreeMap::new();
        let mut matches = Vec::with_capacity(seen.members.len());
        for m in &seen.members {
            let request = known
                .entry(&m.member.instance_type)
                .or_insert_with(|| request_of(&r, &group, mix.as_ref(), &m.member));
            matches.push(request.as_ref().is_some_and(|request| match refresh.strategy {
                RefreshStrategy::Rolling => made_of(m, request, &group.source),
                // A new root volume changes nothing but the image.
                RefreshStrategy::ReplaceRootVolume => {
                    m.instance.as_ref().is_some_and(|i| i.image_id == request.image_id)
                }
            }));
        }
        matches
    }

    /// Members count by the weights that the group's new policy gives their types.
    fn reweigh(&mut self, seen: &Observation) {
        for m in &seen.members {
            let weight = mix::weight_in(&self.group, &m.member.instance_type);
            if m.member.weight != weight {
                self.tx.update::<Member>(&m.member.instance_id, |m| m.weight = weight);
            }
        }
    }
}

/// What a launch of the member's type would be made from; `None` if the group launches no such type.
pub(super) fn request_of(
    r: &Reader<'_>,
    group: &Group,
    mix: Option<&Mix>,
    member: &Member,
) -> Option<LaunchRequest> {
    let Some(mix) = mix else { return launch_request(r, group).ok() };
    let offer = mix.offers.iter().find(|o| o.instance_type == member.instance_type)?;
    let pool = Pool {
        instance_type: offer.instance_type.clone(),
        weight: offer.weight,
        lifecycle: member.lifecycle,
        of_override: offer.of_override,
        fallback: false,
    };
    launch_request_in(r, group, Some(&pool)).ok()
}

fn made_of(m: &Observed, request: &LaunchRequest, source: &InstanceSource) -> bool {
    let same_source = match source {
        InstanceSource::LaunchTemplate(_) => m.member.launch_template == request.launch_template,
        InstanceSource::LaunchConfiguration(name) => m.member.launch_configuration.as_ref() == Some(name),
    };
    // An image named by a parameter may be another one by now.
    same_source && m.instance.as_ref().is_some_and(|i| i.image_id == request.image_id)
}
