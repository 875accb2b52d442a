//! Which type a launch takes in a zone.
//!
//! On-Demand: by priority, or by price, of what has not just been found lacking there. Spot: `lowest-price` spreads over the cheapest pools; `capacity-optimized` takes the
//! deepest pool, its `-prioritized` form the best-ranked of those that are nearly as deep, `price-capacity-optimized` the
//! cheapest of those. Prices are compared per unit of capacity.

use super::{Mix, Offer, Pool, SPOT_POOLS_DEFAULT, SpotStrategy};
use crate::ec2::InstanceLifecycle;

/// A pool is nearly as deep as the deepest if its score is at most this much below.
const NEARLY: u32 = 2;

/// Launches that a plan has decided already, and instances that are there: they use up pools and are spread over them.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// Type, zone, how it is bought, and how many.
    launched: Vec<(String, String, InstanceLifecycle, u32)>,
    /// The same for what runs already.
    there: Vec<(String, String, InstanceLifecycle, u32)>,
    /// Type and zone of what a zone has lately lacked On-Demand.
    lacking: Vec<(String, String)>,
}

impl Planned {
    /// Leaves a type out in a zone.
    pub fn add_lacking(&mut self, instance_type: &str, zone: &str) {
        self.lacking.push((instance_type.to_owned(), zone.to_owned()));
    }

    /// Leaves nothing out any more.
    pub fn forget_lacking(&mut self) {
        self.lacking.clear();
    }

    fn lacks(&self, instance_type: &str, zone: &str) -> bool {
        self.lacking.iter().any(|(t, z)| t == instance_type && z == zone)
    }

    /// Counts a member that is there.
    pub fn add_member(&mut self, instance_type: &str, zone: &str, lifecycle: InstanceLifecycle) {
        add(&mut self.there, instance_type, zone, lifecycle);
    }

    /// Counts a launch.
    pub fn add_launch(&mut self, pool: &Pool, zone: &str) {
        add(&mut self.launched, &pool.instance_type, zone, pool.lifecycle);
    }

    fn launched(&self, instance_type: &str, zone: &str, lifecycle: InstanceLifecycle) -> u32 {
        of(&self.launched, instance_type, zone, lifecycle)
    }

    fn all(&self, instance_type: &str, zone: &str, lifecycle: InstanceLifecycle) -> u32 {
        self.launched(instance_type, zone, lifecycle) + of(&self.there, instance_type, zone, lifecycle)
    }
}

type Counts = Vec<(String, String, InstanceLifecycle, u32)>;

fn add(counts: &mut Counts, instance_type: &str, zone: &str, lifecycle: InstanceLifecycle) {
    let same = |c: &&mut (String, String, InstanceLifecycle, u32)| {
        c.0 == instance_type && c.1 == zone && c.2 == lifecycle
    };
    match counts.iter_mut().find(same) {
        Some(found) => found.3 += 1,
        None => counts.push((instance_type.to_owned(), zone.to_owned(), lifecycle, 1)),
    }
}

fn of(counts: &Counts, instance_type: &str, zone: &str, lifecycle: InstanceLifecycle) -> u32 {
    counts.iter().find(|c| c.0 == instance_type && c.1 == zone && c.2 == lifecycle).map_or(0, |c| c.3)
}

/// What a launch must be worth at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Floor {
    /// Units.
    pub weight: u32,
    /// Spot: the pool's depth.
    pub depth: u32,
    /// Spot: not so near the maximum price that it would have to move again.
    pub steady: bool,
}

/// What to launch in `zone`, if anything can be had there that is no worse than `floor`.
pub fn pick(
    mix: &Mix,
    zone: &str,
    lifecycle: InstanceLifecycle,
    planned: &Planned,
    floor: &Floor,
) -> Option<Pool> {
    let offer = match lifecycle {
        InstanceLifecycle::OnDemand => on_demand(mix, zone, planned, floor)?,
        InstanceLifecycle::Spot => spot(mix, zone, planned, floor)?,
    };
    Some(pool(offer, lifecycle))
}

/// What to try in `zone` though nothing seems to be had: the launch is refused and says why.
pub fn pick_any(mix: &Mix, lifecycle: InstanceLifecycle) -> Option<Pool> {
    mix.offers.first().map(|offer| pool(offer, lifecycle))
}

fn pool(offer: &Offer, lifecycle: InstanceLifecycle) -> Pool {
    Pool {
        instance_type: offer.instance_type.clone(),
        weight: offer.weight,
        lifecycle,
        of_override: offer.of_override,
        fallback: false,
    }
}

fn on_demand<'m>(mix: &'m Mix, zone: &str, planned: &Planned, floor: &Floor) -> Option<&'m Offer> {
    let mut allowed = mix.offers.iter().filter(|o| {
        o.on_demand_allowed && o.weight >= floor.weight && !planned.lacks(&o.instance_type, zone)
    });
    match mix.distribution.on_demand_strategy {
        super::OnDemandStrategy::Prioritized => allowed.next(),
        super::OnDemandStrategy::LowestPrice => allowed.min_by_key(|o| o.on_demand.per_unit(o.weight)),
    }
}

/// An offer in a zone, as strategies rank it.
struct Ranked<'m> {
    at: usize,
    offer: &'m Offer,
    price: u64,
    depth: u32,
}

fn spot<'m>(mix: &'m Mix, zone: &str, planned: &Planned, floor: &Floor) -> Option<&'m Offer> {
    let spot = InstanceLifecycle::Spot;
    let mut open: Vec<Ranked<'m>> = Vec::new();
    for (at, offer) in mix.offers.iter().enumerate() {
        let Some(here) = offer.in_zone(zone).filter(|o| o.allowed) else { continue };
        let taken = planned.launched(&offer.instance_type, zone, spot);
        let full = here.quote.left.is_some_and(|left| left <= taken);
        if full || offer.weight < floor.weight || (floor.steady && here.risky) {
            continue;
        }
        let depth = match here.quote.left {
            Some(left) => here.quote.depth.min(left - taken),
            None => here.quote.depth,
        };
        if depth < floor.depth {
            continue;
        }
        open.push(Ranked { at, offer, price: here.quote.price.per_unit(offer.weight), depth });
    }
    let deepest = open.iter().map(|r| r.depth).max()?;
    let nearly = |r: &&Ranked<'_>| r.depth + NEARLY >= deepest;
    let best = match mix.distribution.spot_strategy {
        SpotStrategy::LowestPrice => {
            open.sort_by_key(|r| (r.price, r.at));
            open.truncate(mix.distribution.spot_pools.unwrap_or(SPOT_POOLS_DEFAULT).max(1) as usize);
            open.iter().min_by_key(|r| (planned.all(&r.offer.instance_type, zone, spot), r.price, r.at))
        }
        SpotStrategy::CapacityOptimized => {
            open.iter().min_by_key(|r| (std::cmp::Reverse(r.depth), r.price, r.at))
        }
        SpotStrategy::CapacityOptimizedPrioritized => open.iter().filter(nearly).min_by_key(|r| r.at),
        SpotStrategy::PriceCapacityOptimized => open.iter().filter(nearly).min_by_key(|r| (r.price, r.at)),
    };
    best.map(|r| r.offer)
}

/// How badly an instance fits the strategy it would be launched by now: the larger, the sooner it goes.
pub fn misfit(mix: &Mix, instance_type: &str, zone: &str, lifecycle: InstanceLifecycle) -> i64 {
    let Some((at, offer)) = mix.offers.iter().enumerate().find(|(_, o)| o.instance_type == instance_type)
    else {
        return i64::MAX;
    };
    let rank = i64::try_from(at).unwrap_or(i64::MAX);
    let by_price = |price: u64| i64::try_from(price).unwrap_or(i64::MAX);
    match lifecycle {
        InstanceLifecycle::OnDemand => match mix.distribution.on_demand_strategy {
            super::OnDemandStrategy::Prioritized => rank,
            super::OnDemandStrategy::LowestPrice => by_price(offer.on_demand.per_unit(offer.weight)),
        },
        InstanceLifecycle::Spot => {
            let Some(here) = offer.in_zone(zone) else { return i64::MAX };
            let shallow = i64::from(crate::ec2::spot::DEPTH_MAX.saturating_sub(here.quote.depth));
            let price = by_price(here.quote.price.per_unit(offer.weight));
            match mix.distribution.spot_strategy {
                SpotStrategy::LowestPrice => price,
                SpotStrategy::CapacityOptimized => shallow,
                SpotStrategy::CapacityOptimizedPrioritized => shallow / i64::from(NEARLY + 1) * 1000 + rank,
                SpotStrategy::PriceCapacityOptimized => {
                    let good = pick(mix, zone, lifecycle, &Planned::default(), &Floor::default());
                    if good.is_some_and(|p| p.instance_type == instance_type) { 0 } else { price }
                }
            }
        }
    }
}
