//! A group's mixed instances policy as of now: the types it names or describes, with the market's offers.

use puffer_core::Timestamp;
use puffer_core::autoscaling::mixed::{
    CapacityType, Mix, MixedPolicy, Offer, Override, TAG_ON_DEMAND_FALLBACK, ZoneOffer,
};
use puffer_core::autoscaling::{Group, puffer_tags};
use puffer_core::ec2::instance_types::{self, InstanceType};
use puffer_core::ec2::spot::is_risky;
use puffer_core::ec2::{Price, SpotMarket};
use puffer_store::Reader;

use crate::launch::TemplateRef;
use crate::spot;

/// What the group may launch; `None` without a mixed instances policy.
pub fn of_group(r: &Reader<'_>, group: &Group, now: Timestamp) -> Option<Mix> {
    let policy = group.mixed.as_ref()?;
    Some(of_policy(r, policy, group, &group.zones, now))
}

/// What a policy means for a group in these zones.
pub fn of_policy(
    r: &Reader<'_>,
    policy: &MixedPolicy,
    group: &Group,
    zones: &[String],
    now: Timestamp,
) -> Mix {
    let market = spot::market(r);
    let max_price = policy.distribution.spot_max_price.as_ref().and_then(|p| p.parse().ok());
    let pools = Pools { r, market: &market, zones, max_price, now };
    let mut offers: Vec<Offer> = Vec::new();
    for (at, entry) in policy.overrides.iter().enumerate() {
        match (&entry.instance_type, &entry.requirements) {
            (Some(name), _) => {
                if let Some(t) = instance_types::find(name) {
                    offers.push(pools.offer(
                        &t,
                        weight(entry, &t, CapacityType::Units),
                        Some(at),
                        None,
                        &|_, _| true,
                    ));
                }
            }
            (None, Some(requirements)) => {
                let matching = requirements.select();
                let on_demand_limit = requirements.on_demand_limit(&matching);
                let limits: Vec<Option<Price>> = zones
                    .iter()
                    .map(|zone| requirements.spot_limit(&matching, |t| market.price_at(t, zone, now)))
                    .collect();
                let within = |zone: usize, price: Price| limits[zone].is_none_or(|limit| price <= limit);
                for t in &matching {
                    let weight = weight(entry, t, group.capacity_type);
                    offers.push(pools.offer(t, weight, Some(at), on_demand_limit, &within));
                }
            }
            (None, None) => {
                let own = template_type(r, entry.template.as_ref().unwrap_or(&policy.template));
                if let Some(t) = own {
                    offers.push(pools.offer(
                        &t,
                        weight(entry, &t, CapacityType::Units),
                        Some(at),
                        None,
                        &|_, _| true,
                    ));
                }
            }
        }
    }
    if policy.overrides.is_empty()
        && let Some(t) = template_type(r, &policy.template)
    {
        offers.push(pools.offer(&t, 1, None, None, &|_, _| true));
    }
    // A type that several overrides name is offered once, by the first.
    let mut seen = std::collections::HashSet::new();
    offers.retain(|o| seen.insert(o.instance_type.clone()));
    Mix {
        distribution: policy.distribution.clone(),
        offers,
        fallback: puffer_tags::is_true(group.tag(TAG_ON_DEMAND_FALLBACK)),
        templates: policy.templates().map(|t| t.id.clone()).collect(),
    }
}

/// Units that an instance of this type counts for in the group.
pub fn weight_in(group: &Group, instance_type: &str) -> u32 {
    let Some(policy) = &group.mixed else { return 1 };
    let Some(t) = instance_types::find(instance_type) else { return 1 };
    let named = |o: &&Override| match (&o.instance_type, &o.requirements) {
        (Some(name), _) => name == instance_type,
        (None, Some(requirements)) => requirements.match_type(&t),
        (None, None) => false,
    };
    match policy.overrides.iter().find(named) {
        Some(o) if o.instance_type.is_some() => weight(o, &t, CapacityType::Units),
        Some(o) => weight(o, &t, group.capacity_type),
        None => 1,
    }
}

fn weight(entry: &Override, t: &InstanceType, capacity_type: CapacityType) -> u32 {
    entry.weight.unwrap_or(match capacity_type {
        CapacityType::Units => 1,
        CapacityType::Vcpu => t.n_vcpus,
        CapacityType::MemoryMib => t.memory_mib,
    })
}

fn template_type(
    r: &Reader<'_>,
    template: &puffer_core::autoscaling::LaunchTemplateRef,
) -> Option<InstanceType> {
    let (_, version) = crate::launch_templates::find_version(r, &TemplateRef::from(template)).ok()?;
    instance_types::find(version.data.instance_type.as_deref()?)
}

struct Pools<'a> {
    r: &'a Reader<'a>,
    market: &'a SpotMarket,
    zones: &'a [String],
    max_price: Option<Price>,
    now: Timestamp,
}

impl Pools<'_> {
    /// `within` says of a zone's index and a Spot price whether price protection allows it.
    fn offer(
        &self,
        t: &InstanceType,
        weight: u32,
        of_override: Option<usize>,
        on_demand_limit: Option<Price>,
        within: &dyn Fn(usize, Price) -> bool,
    ) -> Offer {
        let name = t.name();
        let most = self.max_price.unwrap_or(t.on_demand);
        let in_zone = |(at, zone): (usize, &String)| {
            let quote = self.market.quote(t, zone, spot::in_use(self.r, &name, zone), self.now);
            ZoneOffer {
                zone: zone.clone(),
                quote,
                risky: is_risky(quote.price, most),
                allowed: quote.price <= most
                    && within(at, quote.price)
                    && !crate::zones::is_down(self.r, zone),
            }
        };
        Offer {
            spot: self.zones.iter().enumerate().map(in_zone).collect(),
            instance_type: name,
            weight,
            of_override,
            on_demand: t.on_demand,
            on_demand_allowed: on_demand_limit.is_none_or(|limit| t.on_demand <= limit),
        }
    }
}
