//! Instances are launched: record, membership and activity in one go.

use std::sync::Arc;

use puffer_core::autoscaling::backoff::Place;
use puffer_core::autoscaling::hook::HookStand;
use puffer_core::autoscaling::mixed::{MixedPolicy, Pool, TAG_ON_DEMAND_FALLBACK};
use puffer_core::autoscaling::plan::{Action, LaunchWhy, Note, ReplaceWhy, zones};
use puffer_core::autoscaling::warm_pool::Way;
use puffer_core::autoscaling::{
    ActivityStatus, CauseSentence, Group, HealthStatus, InstanceSource, LaunchConfiguration, LifecycleState,
    Member, backoff, texts,
};
use puffer_core::ec2::{Instance, InstanceLifecycle, LaunchTemplateData};
use puffer_store::Reader;

use super::activity::{self, Begin};
use super::lifecycle::TAG_GROUP_NAME;
use super::{Observation, Step, causes};
use crate::launch::{LaunchError, LaunchRequest, SpotPurchase, TemplateRef, resolve_template, run_instances};

/// What a group's next instance would be launched from, with tags, but without a place.
pub fn launch_request(r: &Reader<'_>, group: &Group) -> Result<LaunchRequest, LaunchError> {
    launch_request_in(r, group, None)
}

/// The same for what a mixed instances policy chose.
pub fn launch_request_in(
    r: &Reader<'_>,
    group: &Group,
    pool: Option<&Pool>,
) -> Result<LaunchRequest, LaunchError> {
    let mut request = match &group.source {
        InstanceSource::LaunchTemplate(template) => match (&group.mixed, pool) {
            (Some(policy), Some(pool)) => of_pool(r, policy, pool)?,
            _ => resolve_template(r, &TemplateRef::from(template), &LaunchTemplateData::default())?,
        },
        InstanceSource::LaunchConfiguration(name) => {
            let configuration = r.get::<LaunchConfiguration>(name).ok_or_else(|| {
                LaunchError::Value(format!("The launch configuration '{name}' does not exist"))
            })?;
            of_configuration(&configuration)
        }
    };
    let template_tags = request.launch_template.as_ref().map(|t| (t.id.clone(), t.version.to_string()));
    if let Some((id, version)) = template_tags {
        request.tags.insert("aws:ec2launchtemplate:id".to_owned(), id);
        request.tags.insert("aws:ec2launchtemplate:version".to_owned(), version);
    }
    for (key, tag) in group.tags.iter().filter(|(_, t)| t.propagate_at_launch) {
        request.tags.insert(key.clone(), tag.value.clone());
    }
    request.tags.insert(TAG_GROUP_NAME.to_owned(), group.name.clone());
    request.auto_scaling_group = Some(group.name.clone());
    Ok(request)
}

fn of_pool(r: &Reader<'_>, policy: &MixedPolicy, pool: &Pool) -> Result<LaunchRequest, LaunchError> {
    let chosen = pool.of_override.and_then(|at| policy.overrides.get(at));
    let template = chosen.and_then(|o| o.template.as_ref()).unwrap_or(&policy.template);
    let overrides = LaunchTemplateData {
        instance_type: Some(pool.instance_type.clone()),
        image_id: chosen.and_then(|o| o.image_id.clone()),
        ..LaunchTemplateData::default()
    };
    let mut request = resolve_template(r, &TemplateRef::from(template), &overrides)?;
    let max_price = policy.distribution.spot_max_price.as_ref().and_then(|p| p.parse().ok());
    request.spot = (pool.lifecycle == InstanceLifecycle::Spot)
        .then(|| SpotPurchase { max_price, ..SpotPurchase::default() });
    Ok(request)
}

fn of_configuration(c: &LaunchConfiguration) -> LaunchRequest {
    LaunchRequest {
        security_groups: c.security_groups.clone(),
        key_name: c.key_name.clone(),
        user_data: c.user_data.clone(),
        iam_instance_profile: c.iam_instance_profile.clone(),
        associate_public_ip: c.associate_public_ip,
        metadata_options: c.metadata_options.clone().unwrap_or_default(),
        detailed_monitoring: c.detailed_monitoring,
        ebs_optimized: c.ebs_optimized,
        root_volume_gib: c
            .block_device_mappings
            .iter()
            .find_map(|d| u32::try_from(d.volume_size_gib.filter(|_| d.is_root())?).ok()),
        spot: c
            .spot_price
            .as_ref()
            .map(|price| SpotPurchase { max_price: price.parse().ok(), ..SpotPurchase::default() }),
        ..LaunchRequest::new(c.image_id.clone(), c.instance_type.clone())
    }
}

/// Launches of one plan that go to one subnet for one reason.
pub(super) struct Batch<'p> {
    pub(super) zone: &'p str,
    pub(super) subnet: &'p str,
    pub(super) pool: Option<&'p Pool>,
    why: LaunchWhy,
    pub(super) n: u32,
}

impl Step<'_, '_> {
    pub(super) fn launch(&mut self, actions: &[Action], seen: &Observation) {
        let batches = batches(actions);
        if batches.is_empty() {
            if self.report.ended + self.report.moved > 0 {
                self.acted_on_desired(actions);
            }
            return;
        }
        for batch in &batches {
            let request = launch_request_in(&self.tx.reader(), &self.launching(), batch.pool);
            // A template may have come to ask for Spot since the pool was made; Spot cannot be stopped, so it cannot wait there.
            if matches!(batch.why, LaunchWhy::Pool(..)) && request.as_ref().is_ok_and(|r| r.spot.is_some()) {
                self.report.notes.push(Note::SpotPool);
                continue;
            }
            let cause = self.launch_cause(batch.why, batch.zone, seen);
            let made = match &request {
                Ok(request) => {
                    let placed = LaunchRequest {
                        subnet_id: Some(batch.subnet.to_owned()),
                        zone: None,
                        private_ip: None,
                        min_count: 1,
                        max_count: batch.n,
                        ..request.clone()
                    };
                    run_instances(self.tx, &placed, self.now, self.rng)
                        .map_err(|e| (e.to_string(), e.class()))
                }
                Err(e) => Err((e.to_string(), e.class())),
            };
            let made = made.unwrap_or_else(|(message, class)| {
                self.refused(batch, cause.clone(), &message, class);
                Vec::new()
            });
            for instance in made {
                self.join(&instance, batch, cause.clone());
            }
        }
        self.acted_on_desired(actions);
    }

    /// The cause of an instance that comes into a zone of the group, launched or from the warm pool.
    pub(super) fn launch_cause(&self, why: LaunchWhy, zone: &str, seen: &Observation) -> Vec<CauseSentence> {
        let text = match why {
            LaunchWhy::Difference(from, to) => {
                return causes(&self.group, self.now, texts::started(from, to));
            }
            LaunchWhy::Replacement | LaunchWhy::Ahead(ReplaceWhy::Unhealthy) => texts::started_to_replace(),
            LaunchWhy::Refresh | LaunchWhy::Ahead(ReplaceWhy::Refresh) => texts::started_to_refresh(),
            LaunchWhy::Lifetime | LaunchWhy::Ahead(ReplaceWhy::Lifetime) => texts::started_for_lifetime(),
            LaunchWhy::Rebalance => zones::rebalance_cause(&seen.view(self.now), zone),
            LaunchWhy::Pool(from, to) => texts::pool_grown(from, to),
            LaunchWhy::CapacityRebalance => texts::started_for_capacity(),
        };
        vec![texts::sentence(self.now, text)]
    }

    /// The difference was acted on in full: later activities have other causes.
    fn acted_on_desired(&mut self, actions: &[Action]) {
        let wanted = actions.iter().any(|a| {
            matches!(
                a,
                Action::Launch { why: LaunchWhy::Difference(..), .. }
                    | Action::TakeWarm { why: LaunchWhy::Difference(..), .. }
                    | Action::TakeBack { why: LaunchWhy::Difference(..), .. }
                    | Action::Terminate {
                        why: puffer_core::autoscaling::plan::TerminateWhy::Difference(..),
                        ..
                    }
            )
        });
        let counted: u32 =
            self.tx.list_by::<Member>("group", &self.group.name).iter().map(|m| m.units()).sum();
        let excess = counted.checked_sub(self.group.desired);
        let weight = batches(actions).iter().filter_map(|b| b.pool).map(|p| p.weight).max().unwrap_or(1);
        if wanted && excess.is_some_and(|excess| excess < weight) {
            self.group.desired_cause.clear();
            self.group.desired_reasons.clear();
            self.group.desired_alarms.clear();
        }
    }

    pub(super) fn join(&mut self, instance: &Arc<Instance>, batch: &Batch<'_>, cause: Vec<CauseSentence>) {
        let mut reasons = match batch.why {
            LaunchWhy::Difference(..) => self.group.desired_reasons.clone(),
            LaunchWhy::Refresh | LaunchWhy::Ahead(ReplaceWhy::Refresh) => {
                self.stand.iter().cloned().collect()
            }
            _ => Vec::new(),
        };
        if let LaunchWhy::Ahead(_) = batch.why {
            reasons.push("it is launched ahead: another one goes once it is ready".to_owned());
        }
        reasons.push(format!("zone {} had the fewest instances of the zones that take launches", batch.zone));
        if let Some(pool) = batch.pool {
            reasons.push(match (pool.fallback, pool.lifecycle) {
                (true, _) => format!(
                    "{} On-Demand, because no Spot pool has capacity and the tag {TAG_ON_DEMAND_FALLBACK} is set",
                    pool.instance_type
                ),
                (false, InstanceLifecycle::OnDemand) => format!("{} On-Demand by the policy's distribution", pool.instance_type),
                (false, InstanceLifecycle::Spot) => format!("{} Spot by the policy's distribution", pool.instance_type),
            });
        }
        let warm = matches!(batch.why, LaunchWhy::Pool(..));
        let begin = Begin {
            group: &self.group,
            instance_id: Some(&instance.id),
            description: if warm {
                texts::launching_into_pool(&instance.id)
            } else {
                texts::launching(&instance.id)
            },
            cause,
            reasons,
            subnet: batch.subnet,
            zone: batch.zone,
            status: ActivityStatus::PreInService,
        };
        let activity_id = activity::begin(self.tx, begin, self.now, self.rng).id.clone();
        self.tx.put(Member {
            instance_id: instance.id.clone(),
            group: self.group.name.clone(),
            zone: instance.zone.clone(),
            instance_type: instance.instance_type.clone(),
            state: if warm { LifecycleState::WarmedPending } else { LifecycleState::Pending },
            way: if warm { Way::IntoPool } else { Way::Direct },
            state_since: self.now,
            in_service_at: None,
            root_target: None,
            added_at: self.now,
            health: HealthStatus::Healthy,
            unhealthy_cause: None,
            protected: self.group.new_instances_protected,
            launch_configuration: match &self.launching().source {
                InstanceSource::LaunchConfiguration(name) => Some(name.clone()),
                InstanceSource::LaunchTemplate(_) => None,
            },
            launch_template: instance.launch_template.clone(),
            activity_id: Some(activity_id),
            traffic_sources: Vec::new(),
            surplus: matches!(batch.why, LaunchWhy::Rebalance | LaunchWhy::CapacityRebalance),
            spare: matches!(batch.why, LaunchWhy::Ahead(_)),
            refreshed_by: self.refresh.as_ref().filter(|r| r.launches()).map(|r| r.id.clone()),
            impaired_since: None,
            weight: batch.pool.map_or(1, |p| p.weight),
            lifecycle: instance.lifecycle,
            launched_at: instance.launched_at,
            hooks: HookStand::Due,
            scaled_in: false,
        });
        if warm {
            // What is warm only is none of the group's in its metrics.
            self.tx.update::<Instance>(&instance.id, |i| i.auto_scaling_group = None);
        }
        self.report.launched += 1;
    }

    /// The launch was refused before anything was recorded: the activity says why, and the group waits.
    fn refused(
        &mut self,
        batch: &Batch<'_>,
        cause: Vec<CauseSentence>,
        message: &str,
        class: puffer_core::ErrorClass,
    ) {
        let begin = Begin {
            group: &self.group,
            instance_id: None,
            description: String::new(),
            cause,
            reasons: vec![format!("{} launches into {} were refused", batch.n, batch.subnet)],
            subnet: batch.subnet,
            zone: batch.zone,
            status: ActivityStatus::InProgress,
        };
        let id = activity::begin(self.tx, begin, self.now, self.rng).id.clone();
        activity::fail_launch(self.tx, &id, message, self.now);
        let place = match batch.pool {
            Some(pool) => Place::new(&self.group, batch.zone, &pool.instance_type, pool.lifecycle),
            None => Place { zone: batch.zone, type_of_several: None },
        };
        backoff::launch_failed(&mut self.group, place, class, self.now);
        let of_places = self.group.zone_backoff.values().chain(self.group.pool_backoff.values());
        let until = self
            .group
            .launch_backoff
            .iter()
            .chain(of_places)
            .map(|(_, until)| *until)
            .filter(|until| self.now < *until)
            .min();
        if let Some(until) = until {
            self.report.later(until);
        }
        self.report.failed += 1;
    }
}

pub(super) fn batches(actions: &[Action]) -> Vec<Batch<'_>> {
    let mut batches: Vec<Batch<'_>> = Vec::new();
    for action in actions {
        let Action::Launch { zone, subnet, pool, why } = action else { continue };
        let pool = pool.as_ref();
        match batches.iter_mut().find(|b| b.subnet == subnet && b.why == *why && b.pool == pool) {
            Some(batch) => batch.n += 1,
            None => batches.push(Batch { zone, subnet, pool, why: *why, n: 1 }),
        }
    }
    batches
}
