//! Members get another root volume: the instance refresh with the strategy `ReplaceRootVolume`.
//!
//! A member in service leaves its load balancers and drains, the termination hooks are asked, and then its instance is asked
//! for another root volume: the guest powers off and boots from the new disk, with the same id and the same addresses. The member
//! keeps its place in the group meanwhile and comes back like a newcomer, through launch hooks and registration. If the instance
//! does not get its root volume it is ended, and its place is filled by a launch. So is who is of a type that the group does not launch:
//! attached, back from standby, or left by a refresh that is rolled back.
//!
//! What it counts as launched from does not change: the new root volume changes nothing but the image.
//! Source: EC2 Auto Scaling guide, "Replace root volumes during instance refresh".

use std::collections::BTreeMap;

use puffer_core::autoscaling::hook::HookStand;
use puffer_core::autoscaling::refresh::{Pace, Replacing, next_roots};
use puffer_core::autoscaling::view::GroupView;
use puffer_core::autoscaling::{ActivityStatus, Bounds, LifecycleState as S, Member, RootTarget, texts};
use puffer_core::ec2::{InstanceState, RootVolumeTask};

use super::activity::{self, Begin};
use super::refresh::request_of;
use super::{Observation, Observed, Step, subnet_of};
use crate::mix;
use crate::root_volumes::{self, RootRequest};

impl Step<'_, '_> {
    /// Takes as many of the refresh's candidates out of service as may go now. Those of a type that the group does not launch have no image
    /// to take: they are left to the planner, which exchanges them within the same lower bound, and never ahead.
    pub(super) fn replace_roots(&mut self, seen: &Observation, replacing: &mut Replacing) {
        let Some(min_healthy) = self.refresh.as_ref().map(|r| r.preferences.min_healthy) else { return };
        if replacing.candidates.is_empty() {
            return;
        }
        let group = self.group.clone();
        let launching = self.launching().into_owned();
        let (images, whole) = {
            let r = self.tx.reader();
            let mix = mix::of_group(&r, &launching, self.now);
            // One answer for all members of a type.
            let mut known: BTreeMap<&str, Option<String>> = BTreeMap::new();
            let (mut images, mut whole) = (BTreeMap::new(), Vec::new());
            for &i in &replacing.candidates {
                let member = &seen.members[i].member;
                let image = known.entry(&member.instance_type).or_insert_with(|| {
                    request_of(&r, &launching, mix.as_ref(), member).map(|request| request.image_id)
                });
                match image {
                    Some(image) => drop(images.insert(i, image.clone())),
                    None => whole.push(i),
                }
            }
            (images, whole)
        };
        let view = GroupView { group: &group, ..seen.view(self.now) };
        replacing.candidates = images.keys().copied().collect();
        let chosen = next_roots(&view, replacing, min_healthy);
        replacing.candidates = whole;
        replacing.bounds = Bounds::together(min_healthy, group.desired, view.weight_max());
        if let Pace::Go(limit) = &mut replacing.pace {
            *limit = limit.saturating_sub(u32::try_from(chosen.len()).unwrap_or(u32::MAX));
        }
        for (i, image) in images.into_iter().filter(|(i, _)| chosen.contains(i)) {
            self.begin_root(&seen.members[i], image, &replacing.stand);
        }
    }

    fn begin_root(&mut self, observed: &Observed, image_id: String, stand: &str) {
        let id = &observed.member.instance_id;
        let begin = Begin {
            group: &self.group,
            instance_id: Some(id),
            description: texts::replacing_root(id),
            cause: vec![texts::sentence(self.now, texts::root_refreshed())],
            reasons: vec![stand.to_owned(), format!("the new volume is made from {image_id}")],
            subnet: &subnet_of(observed.instance.as_ref()),
            zone: &observed.member.zone,
            status: ActivityStatus::InProgress,
        };
        let activity = activity::begin(self.tx, begin, self.now, self.rng).id.clone();
        let now = self.now;
        let mark = self.refresh.as_ref().filter(|r| r.launches()).map(|r| r.id.clone());
        self.tx.update::<Member>(id, |m| {
            (m.state, m.state_since, m.hooks) = (S::ReplacingRootVolume, now, HookStand::Due);
            (m.in_service_at, m.activity_id, m.refreshed_by) = (None, Some(activity), mark);
            m.root_target = Some(RootTarget::of(image_id, 0));
        });
        self.drain(observed);
        self.report.moved += 1;
    }

    /// Nobody needs it for now: its instance may lose its root volume. While a user's own request for another one is under way, this one
    /// waits.
    pub(super) fn replace_root(&mut self, observed: &Observed) {
        let id = &observed.member.instance_id;
        let Some(target) = &observed.member.root_target else { return };
        let request = RootRequest {
            instance_id: id.clone(),
            image_id: target.image_id.clone(),
            ..RootRequest::default()
        };
        let task = match root_volumes::begin(self.tx, request, self.now, self.rng) {
            Ok(task) => task.id.clone(),
            Err(error) => return tracing::debug!(instance = id, %error, "its root volume is replaced later"),
        };
        let serial =
            self.tx.get(id).map_or(0, |i: std::sync::Arc<puffer_core::ec2::Instance>| i.n_root_replacements);
        self.status(observed, ActivityStatus::InProgress);
        let now = self.now;
        self.tx.update::<Member>(id, |m| {
            (m.state, m.state_since, m.hooks) = (S::ReplacingRootVolumeProceed, now, HookStand::Done);
            if let Some(target) = &mut m.root_target {
                (target.task_id, target.serial) = (Some(task), serial);
            }
        });
        self.report.moved += 1;
    }

    pub(super) fn root_replaced(&mut self, observed: &Observed) {
        let now = self.now;
        self.tx.update::<Member>(&observed.member.instance_id, |m| {
            (m.state, m.state_since) = (S::RootVolumeReplaced, now);
        });
        self.report.moved += 1;
    }

    pub(super) fn come_anew(&mut self, observed: &Observed) {
        let now = self.now;
        self.tx.update::<Member>(&observed.member.instance_id, |m| {
            (m.state, m.state_since, m.hooks) = (S::Pending, now, HookStand::Due);
            m.impaired_since = None;
            m.traffic_sources.clear();
        });
        self.report.moved += 1;
    }

    /// It goes as one that has died, whether its guest still runs or not.
    pub(super) fn root_failed(&mut self, observed: &Observed) {
        let task = observed.member.root_target.as_ref().and_then(|target| target.task_id.as_ref());
        let told = task.and_then(|id| self.tx.get::<RootVolumeTask>(id)).and_then(|task| task.reason.clone());
        let runs = observed.instance.as_ref().is_some_and(|i| i.state == InstanceState::Running);
        let message = match (told, runs) {
            (Some(reason), _) => reason,
            (None, true) => "The root volume was not replaced.".to_owned(),
            (None, false) => "The instance stopped before its root volume was replaced.".to_owned(),
        };
        self.lost(observed, texts::root_failed(), message);
    }
}
