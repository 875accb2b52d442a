//! A group that replaces members who serve leaves enough others who do: no fewer ready than `MinHealthyPercentage` of what is wanted,
//! by its instance maintenance policy or by the preferences of its refresh. What dies, is ended by users or taken by the
//! market is not its doing.

use std::time::Duration;

use puffer_core::Timestamp;
use puffer_core::autoscaling::maintenance::share;
use puffer_core::autoscaling::{Group, HealthStatus, LifecycleState, Member, texts};
use puffer_core::elb::TargetState;

use super::protected_never_scaled_in::ending;
use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

#[derive(Default)]
pub(crate) struct MaintenanceIsKept {
    /// The latest time that the clock has shown.
    latest: Timestamp,
}

/// A commit may be this long after the decision.
const COMMIT_MAX: Duration = Duration::from_secs(5);

/// What a replacement must leave.
struct Bound {
    /// Ready units.
    least: u32,
    /// Seconds after which a newcomer is ready.
    warmup_s: u32,
    /// Who came since then, and is there for less than so many seconds, was not ready when it was chosen: it warms up for the
    /// refresh. It may go when a ready one takes its place.
    newcomers: Option<(Timestamp, u32)>,
}

impl Bound {
    fn warms_up(&self, m: &Member, now: &Now<'_>) -> bool {
        let Some(((since, warmup_s), at)) = self.newcomers.zip(m.in_service_at) else { return false };
        at >= since && now.wall < at + Duration::from_secs(warmup_s.into()) + COMMIT_MAX
    }
}

/// The bound for what `cause` calls for.
fn bound(group: &Group, deltas: &Deltas, now: &Now<'_>, cause: &str) -> Option<Bound> {
    if cause == texts::lifetime_reached() {
        let least = share(group.maintenance?.min, group.desired);
        return Some(Bound { least, warmup_s: group.warmup_s(), newcomers: None });
    }
    if cause != texts::refreshed() {
        return None;
    }
    let before = deltas.refreshes.iter().filter_map(|d| d.before.as_ref()).find(|r| r.group == group.name);
    let refresh = before.or_else(|| now.view.refresh_of(&group.name))?;
    let preferences = &refresh.preferences;
    let least = share(preferences.min_healthy, group.desired);
    let least = match preferences.max_healthy {
        Some(_) => least,
        None => least.min(group.desired.saturating_sub(now.view.weight_max(&group.name))),
    };
    // Who served before the refresh began is ready; who came since warms up.
    Some(Bound { least, warmup_s: 0, newcomers: Some((refresh.phase_started_at, preferences.warmup_s)) })
}

fn is_ready(m: &Member, warmup_s: u32, now: &Now<'_>) -> bool {
    let since = m.in_service_at.filter(|_| m.state == LifecycleState::InService);
    m.health == HealthStatus::Healthy
        && since.is_some_and(|at| at + Duration::from_secs(warmup_s.into()) <= now.wall)
}

impl Invariant for MaintenanceIsKept {
    fn name(&self) -> &'static str {
        "maintenance_is_kept"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        self.latest = self.latest.max(now.wall);
        if now.wall < self.latest {
            // The clock was set back and shows a time that has been before: since when somebody serves says nothing now. The group
            // then takes for a newcomer who came before the refresh.
            return Ok(());
        }
        for delta in &deltas.members {
            let (Some(activity), Some(before)) = (ending(deltas, delta), &delta.before) else { continue };
            let Some(group) = now.view.groups.get(&before.group) else { continue };
            let Some(bound) = activity.cause.iter().find_map(|c| bound(group, deltas, now, &c.text)) else {
                continue;
            };
            let Bound { least, warmup_s, .. } = bound;
            // One that is found unhealthy in the same step was ready no more.
            let sick = delta.after.as_ref().is_none_or(|m| m.health != HealthStatus::Healthy);
            // Nor was one that its target groups had not found healthy.
            let mut targets = deltas.targets.iter().filter(|d| d.key.contains(&delta.key));
            let unproven = group.health_check_elb
                && targets.any(|d| d.before.as_ref().is_some_and(|t| t.state != TargetState::Healthy));
            if sick || unproven || bound.warms_up(before, now) || !is_ready(before, warmup_s, now) {
                continue;
            }
            let left = now.view.members_of(&group.name).filter(|m| is_ready(m, warmup_s, now));
            let left: u32 = left.map(|m| m.weight).sum();
            holds!(
                left >= least,
                "{} replaces {} and leaves {left} ready; {least} are to be left of {}",
                group.name,
                delta.key,
                group.desired
            );
        }
        self.roots(deltas, now)
    }
}

impl MaintenanceIsKept {
    /// Who gets another root volume serves as little as who is replaced.
    fn roots(&self, deltas: &Deltas, now: &Now<'_>) -> Found {
        for delta in &deltas.members {
            let (Some(before), Some(after)) = (&delta.before, &delta.after) else { continue };
            let begins = after.state == LifecycleState::ReplacingRootVolume && before.state != after.state;
            let Some(group) = now.view.groups.get(&before.group).filter(|_| begins) else { continue };
            let Some(bound) = bound(group, deltas, now, &texts::refreshed()) else { continue };
            let Bound { least, warmup_s, .. } = bound;
            let mut targets = deltas.targets.iter().filter(|d| d.key.contains(&delta.key));
            let unproven = group.health_check_elb
                && targets.any(|d| d.before.as_ref().is_some_and(|t| t.state != TargetState::Healthy));
            if unproven || bound.warms_up(before, now) || !is_ready(before, warmup_s, now) {
                continue;
            }
            let left = now.view.members_of(&group.name).filter(|m| is_ready(m, warmup_s, now));
            let left: u32 = left.map(|m| m.weight).sum();
            holds!(
                left >= least,
                "{} replaces the root volume of {} and leaves {left} ready; {least} are to be left of {}",
                group.name,
                delta.key,
                group.desired
            );
        }
        Ok(())
    }
}
