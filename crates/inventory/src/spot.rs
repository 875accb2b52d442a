//! The Spot market's records: what it offers, buying on it, and what becomes of Spot instances.

use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::ec2::instance_types::InstanceType;
use puffer_core::ec2::spot::{EVERY_POOL, MarketVerdict, NOTICE, Quote, pool_key, review};
use puffer_core::ec2::{
    Instance, InstanceState, Interruption, InterruptionCause, Price, SpotMarket, SpotTerms, StateReason,
    instance_types,
};
use puffer_store::{Reader, StoreError, Transaction};

use crate::instances;
use crate::launch::LaunchError;

/// A pool as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolView {
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// What it is offered at.
    pub quote: Quote,
    /// Instances of it that run.
    pub in_use: u32,
    /// On-Demand price of the type.
    pub on_demand: Price,
}

/// The pools of the types like `pattern`, in all zones.
pub fn pools(r: &Reader<'_>, pattern: &str, now: Timestamp) -> Vec<PoolView> {
    let (market, zones) = (market(r), crate::zones::names(r));
    let mut all = Vec::new();
    for t in instance_types::all() {
        let name = t.name();
        for zone in zones.iter().filter(|_| puffer_core::ec2::requirements::is_like(pattern, &name)) {
            let in_use = in_use(r, &name, zone);
            all.push(PoolView {
                instance_type: name.clone(),
                zone: zone.clone(),
                quote: market.quote(&t, zone, in_use, now),
                in_use,
                on_demand: t.on_demand,
            });
        }
    }
    all
}

/// Why the market or an instance cannot be changed as asked.
#[derive(Debug, thiserror::Error)]
pub enum SpotError {
    /// No such instance, or it has ended.
    #[error("there is no running instance {0}")]
    NoInstance(String),
    /// It is On-Demand.
    #[error("{0} is not a Spot instance")]
    NotSpot(String),
    /// No such type.
    #[error("there is no instance type like {0}")]
    NoType(String),
    /// No such zone.
    #[error("there is no zone {0}")]
    NoZone(String),
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The market.
pub fn market(r: &Reader<'_>) -> Arc<SpotMarket> {
    r.get::<SpotMarket>(SpotMarket::KEY).unwrap_or_default()
}

/// Spot instances of a pool that have not gone yet.
pub fn in_use(r: &Reader<'_>, instance_type: &str, zone: &str) -> u32 {
    u32::try_from(r.count_by::<Instance>("spot_pool", &pool_key(instance_type, zone))).unwrap_or(u32::MAX)
}

/// How many of `wanted` Spot instances the market sells now for at most `max_price`.
pub fn sell(
    r: &Reader<'_>,
    t: &InstanceType,
    zone: &str,
    max_price: Option<Price>,
    wanted: u32,
    now: Timestamp,
) -> Result<u32, LaunchError> {
    let name = t.name();
    let market = market(r);
    if let Some(limit) = market.instances_max {
        let running = r.count_by::<Instance>("spot_pool", EVERY_POOL);
        if running.saturating_add(wanted as usize) > limit as usize {
            return Err(LaunchError::TooManySpot(limit));
        }
    }
    let quote = market.quote(t, zone, in_use(r, &name, zone), now);
    let most = max_price.unwrap_or(t.on_demand);
    if quote.price > most {
        return Err(LaunchError::SpotPriceTooLow { given: most, price: quote.price });
    }
    match quote.left {
        Some(0) => Err(LaunchError::NoCapacity { instance_type: name, zone: zone.to_owned() }),
        Some(left) => Ok(left.min(wanted)),
        None => Ok(wanted),
    }
}

/// Advises an instance to move.
pub fn recommend_rebalance(tx: &mut Transaction<'_>, id: &str, now: Timestamp) -> Result<(), SpotError> {
    change(tx, id, |terms| {
        terms.rebalance_at.get_or_insert(now);
    })
}

/// Gives an instance its notice; a recommendation to move comes with it, if there was none.
pub fn interrupt(
    tx: &mut Transaction<'_>,
    id: &str,
    cause: InterruptionCause,
    now: Timestamp,
) -> Result<(), SpotError> {
    change(tx, id, |terms| {
        terms.rebalance_at.get_or_insert(now);
        terms.interruption.get_or_insert(Interruption { noticed_at: now, ends_at: now + NOTICE, cause });
    })
}

fn change(tx: &mut Transaction<'_>, id: &str, edit: impl FnOnce(&mut SpotTerms)) -> Result<(), SpotError> {
    let runs = |i: &Arc<Instance>| matches!(i.state, InstanceState::Pending | InstanceState::Running);
    let instance = tx.get::<Instance>(id).filter(runs).ok_or_else(|| SpotError::NoInstance(id.to_owned()))?;
    let mut terms = instance.spot.clone().ok_or_else(|| SpotError::NotSpot(id.to_owned()))?;
    edit(&mut terms);
    tx.update::<Instance>(id, |i| i.spot = Some(terms));
    Ok(())
}

/// What a look at the market did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MarketReport {
    /// Instances advised to move.
    pub advised: usize,
    /// Instances that got their notice.
    pub noticed: usize,
    /// Instances that were taken back.
    pub ended: usize,
}

/// What a look at the market found to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MarketLook {
    verdicts: Vec<(String, MarketVerdict)>,
    ended: Vec<String>,
    /// When the next notice ends.
    pub next: Option<Timestamp>,
}

impl MarketLook {
    /// Nothing is to be done now.
    pub fn is_empty(&self) -> bool {
        self.verdicts.is_empty() && self.ended.is_empty()
    }
}

/// Looks at the market and at all Spot instances.
pub fn look(r: &Reader<'_>, now: Timestamp) -> MarketLook {
    let mut found = MarketLook::default();
    let all = r.list_by::<Instance>("spot_pool", EVERY_POOL);
    if all.is_empty() {
        return found;
    }
    let mut pools: BTreeMap<(&str, &str), Vec<&Instance>> = BTreeMap::new();
    for i in all.iter().filter(|i| matches!(i.state, InstanceState::Pending | InstanceState::Running)) {
        pools.entry((&i.instance_type, &i.zone)).or_default().push(i);
        match i.spot.as_ref().and_then(|s| Some(s.interruption.as_ref()?.ends_at)) {
            Some(ends_at) if ends_at <= now => found.ended.push(i.id.clone()),
            Some(ends_at) => found.next = Some(found.next.map_or(ends_at, |next| next.min(ends_at))),
            None => {}
        }
    }
    let market = market(r);
    for ((name, zone), members) in pools {
        if let Some(t) = instance_types::find(name) {
            found.verdicts.extend(review(&market, &t, zone, &members, now));
        }
    }
    found
}

/// Does what a look found: advises, gives notice, and takes back what had its notice.
pub fn apply(tx: &mut Transaction<'_>, found: &MarketLook, now: Timestamp) -> MarketReport {
    let mut report = MarketReport::default();
    for (id, verdict) in &found.verdicts {
        // An instance that went meanwhile needs neither.
        match verdict {
            MarketVerdict::Rebalance => {
                report.advised += usize::from(recommend_rebalance(tx, id, now).is_ok());
            }
            MarketVerdict::Interrupt(cause) => {
                report.noticed += usize::from(interrupt(tx, id, *cause, now).is_ok());
            }
        }
    }
    for id in &found.ended {
        let reason = StateReason {
            code: "Server.SpotInstanceTermination".into(),
            message: "Server.SpotInstanceTermination: Spot instance termination".into(),
        };
        report.ended += usize::from(instances::mark_ending(tx, id, reason).is_some());
    }
    report
}

/// Cancels the request of a Spot instance; the instance runs on.
pub fn cancel_request(tx: &mut Transaction<'_>, id: &str, now: Timestamp) {
    tx.update::<Instance>(id, |i| {
        if let Some(terms) = &mut i.spot {
            terms.cancelled_at.get_or_insert(now);
        }
    });
}

/// What to change of pools; `None` leaves as it is, `Some(None)` gives back to the model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolChange {
    /// Price.
    pub price: Option<Option<Price>>,
    /// Number of instances.
    pub capacity: Option<Option<u32>>,
}

/// Changes the pools of the types like `pattern` in `zones` (all of the account's if empty); gives how many.
pub fn set_pools(
    tx: &mut Transaction<'_>,
    pattern: &str,
    zones: &[String],
    change: &PoolChange,
    now: Timestamp,
) -> Result<usize, SpotError> {
    let known = crate::zones::names(&tx.reader());
    if let Some(unknown) = zones.iter().find(|z| !known.contains(z)) {
        return Err(SpotError::NoZone(unknown.clone()));
    }
    let zones = if zones.is_empty() { &known } else { zones };
    let names: Vec<String> = instance_types::all()
        .map(|t| t.name())
        .filter(|name| puffer_core::ec2::requirements::is_like(pattern, name))
        .collect();
    if names.is_empty() {
        return Err(SpotError::NoType(pattern.to_owned()));
    }
    let mut changed = SpotMarket::clone(&market(&tx.reader()));
    for name in &names {
        for zone in zones {
            changed.set(name, zone, change.price, change.capacity, now);
        }
    }
    tx.put(changed);
    Ok(names.len() * zones.len())
}

/// Changes what holds for the whole market: its seed, and how many Spot instances the account may have.
pub fn set_market(tx: &mut Transaction<'_>, seed: Option<u64>, instances_max: Option<Option<u32>>) {
    let mut changed = SpotMarket::clone(&market(&tx.reader()));
    changed.seed = seed.unwrap_or(changed.seed);
    changed.instances_max = instances_max.unwrap_or(changed.instances_max);
    tx.put(changed);
}
