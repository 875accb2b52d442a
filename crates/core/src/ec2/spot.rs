//! The Spot market: what a pool (a type in a zone) costs and holds, and who has to go.
//!
//! The machines are the user's own, so the market is a model, for people who want to see how their group takes it. Prices
//! follow from a seed: 24 % to 57 % of the On-Demand price, another one each six hours, never above On-Demand; and a pool
//! holds whatever the machine does. So nothing is interrupted by chance. What a user sets for a pool stands instead: a
//! price, a number of instances (0 withdraws the pool), until it is given back to the model.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::instance_types::InstanceType;
use super::{Instance, InstanceLifecycle, InstanceState, Price};
use crate::{Record, Tags, Timestamp};

/// From the notice of an interruption to the end of the instance.
pub const NOTICE: Duration = Duration::from_secs(120);
/// How long a price of the model lasts, seconds.
pub const PRICE_STEP_S: i64 = 6 * 3600;
/// Best score of a pool for capacity.
pub const DEPTH_MAX: u32 = 10;
/// Changes kept of each pool, for the price history.
const CHANGES_MAX: usize = 200;
/// From this share of what an instance may cost at most, it is advised to move.
const RISK_PERCENT: u64 = 90;

/// The market: its seed and what users set. One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct SpotMarket {
    /// Decides the model's prices and scores.
    #[serde(default)]
    pub seed: u64,
    /// Spot instances that the account may have; `None`: no limit.
    #[serde(default)]
    pub instances_max: Option<u32>,
    /// What was set, by `type|zone`.
    #[serde(default)]
    pub pools: BTreeMap<String, PoolTerms>,
}

/// What a user set for a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct PoolTerms {
    /// How many instances it holds; `None`: as many as the machine.
    #[serde(default)]
    pub capacity: Option<u32>,
    /// When its price was set, and to what (`None`: the model's again), oldest first.
    #[serde(default)]
    pub prices: Vec<(Timestamp, Option<Price>)>,
}

/// A pool as it is offered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Price an hour.
    pub price: Price,
    /// Instances that it still takes; `None`: as many as the machine.
    pub left: Option<u32>,
    /// How much capacity it seems to have: 0 (none) to [`DEPTH_MAX`].
    pub depth: u32,
}

impl Record for SpotMarket {
    const COLLECTION: &'static str = "ec2-spot-market";
    fn key(&self) -> String {
        SpotMarket::KEY.into()
    }
}

/// The value of the index of pools under which all Spot instances are found.
pub const EVERY_POOL: &str = "*";

/// The key of a pool.
pub fn pool_key(instance_type: &str, zone: &str) -> String {
    format!("{instance_type}|{zone}")
}

impl SpotMarket {
    /// Key of the only record.
    pub const KEY: &'static str = "market";

    /// What a pool is offered at while `in_use` of it run.
    pub fn quote(&self, t: &InstanceType, zone: &str, in_use: u32, now: Timestamp) -> Quote {
        let key = pool_key(&t.name(), zone);
        let capacity = self.pools.get(&key).and_then(|terms| terms.capacity);
        let left = capacity.map(|n| n.saturating_sub(in_use));
        let depth = match left {
            Some(left) => left.min(DEPTH_MAX),
            None => 1 + u32::try_from(self.chance(&key, -1) % u64::from(DEPTH_MAX)).unwrap_or(0),
        };
        Quote { price: self.price_at(t, zone, now), left, depth }
    }

    /// A pool's price at a moment.
    pub fn price_at(&self, t: &InstanceType, zone: &str, at: Timestamp) -> Price {
        let key = pool_key(&t.name(), zone);
        let set = self.pools.get(&key).and_then(|terms| {
            terms.prices.iter().rev().find(|(since, _)| *since <= at).and_then(|(_, price)| *price)
        });
        set.unwrap_or_else(|| self.model_price(t, &key, at))
    }

    /// The prices of a pool from `from` until `until`, oldest first: each with the time since which it held. At most `most`, the newest.
    pub fn history(
        &self,
        t: &InstanceType,
        zone: &str,
        from: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Vec<(Timestamp, Price)> {
        let step_ms = PRICE_STEP_S * 1000;
        let mut times: Vec<Timestamp> = Vec::new();
        let mut at = from.floor_to(PRICE_STEP_S);
        let span = until.as_millis().saturating_sub(at.as_millis()) / step_ms;
        let skipped = span.saturating_sub(i64::try_from(most).unwrap_or(i64::MAX)).max(0);
        at = Timestamp::from_millis(at.as_millis() + skipped * step_ms);
        while at <= until {
            times.push(at);
            at = at + Duration::from_secs(PRICE_STEP_S.unsigned_abs());
        }
        if let Some(terms) = self.pools.get(&pool_key(&t.name(), zone)) {
            let first = times.first().copied().unwrap_or(from);
            times.extend(terms.prices.iter().map(|(at, _)| *at).filter(|at| (first..=until).contains(at)));
        }
        times.sort_unstable();
        let mut told: Vec<(Timestamp, Price)> = Vec::new();
        for at in times {
            let price = self.price_at(t, zone, at);
            if told.last().is_none_or(|(_, last)| *last != price) {
                told.push((at, price));
            }
        }
        told.drain(..told.len().saturating_sub(most));
        told
    }

    /// Sets a pool's price (`Some(None)`: the model's) and capacity (`Some(None)`: the machine's).
    pub fn set(
        &mut self,
        instance_type: &str,
        zone: &str,
        price: Option<Option<Price>>,
        capacity: Option<Option<u32>>,
        now: Timestamp,
    ) {
        let terms = self.pools.entry(pool_key(instance_type, zone)).or_default();
        if let Some(price) = price {
            terms.prices.push((now, price));
            let excess = terms.prices.len().saturating_sub(CHANGES_MAX);
            terms.prices.drain(..excess);
        }
        if let Some(capacity) = capacity {
            terms.capacity = capacity;
        }
    }

    fn model_price(&self, t: &InstanceType, key: &str, at: Timestamp) -> Price {
        let step = at.as_millis().div_euclid(PRICE_STEP_S * 1000);
        // Thousandths: 280 to 499 for the pool, times 850 to 1150 for the hour.
        let base = 280 + self.chance(key, -2) % 220;
        let now = 850 + self.chance(key, step) % 301;
        Price(t.on_demand.0.saturating_mul(base * now) / 1_000_000)
    }

    /// A number that looks random and follows from seed, pool and step alone.
    fn chance(&self, key: &str, step: i64) -> u64 {
        // FNV-1a over the key, then the finalizer of SplitMix64.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ self.seed ^ step.unsigned_abs().rotate_left(32);
        for byte in key.bytes().chain(step.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }
}

/// What an instance was bought for on the market, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct SpotTerms {
    /// Highest price; `None`: the On-Demand price.
    pub max_price: Option<Price>,
    /// Since when it is advised to move (`events/recommendations/rebalance`).
    #[serde(default)]
    pub rebalance_at: Option<Timestamp>,
    /// It is being taken back.
    #[serde(default)]
    pub interruption: Option<Interruption>,
    /// When its request was cancelled; the instance runs on.
    #[serde(default)]
    pub cancelled_at: Option<Timestamp>,
    /// Tags of the request.
    #[serde(default)]
    pub request_tags: Tags,
}

/// An interruption under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interruption {
    /// When the notice was given.
    pub noticed_at: Timestamp,
    /// When the instance is terminated.
    pub ends_at: Timestamp,
    /// Why.
    pub cause: InterruptionCause,
}

/// Why an instance is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterruptionCause {
    /// The price rose above what it may cost.
    Price,
    /// The pool holds fewer than it did.
    Capacity,
    /// Somebody called for it.
    User,
}

impl InterruptionCause {
    /// Code of the Spot request's status once the instance has gone.
    pub fn status_code(self) -> &'static str {
        match self {
            InterruptionCause::Price => "instance-terminated-by-price",
            InterruptionCause::Capacity => "instance-terminated-no-capacity",
            InterruptionCause::User => "instance-terminated-by-experiment",
        }
    }
}

/// What the market makes of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarketVerdict {
    /// It is advised to move.
    Rebalance,
    /// It gets its notice.
    Interrupt(InterruptionCause),
}

/// Whether an instance that may cost `most` is advised to move at this price.
pub fn is_risky(price: Price, most: Price) -> bool {
    price > most.percent(RISK_PERCENT)
}

/// Looks at the Spot instances of one pool: who gets notice, who is advised to move. If the pool holds too few, the newest go.
pub fn review(
    market: &SpotMarket,
    t: &InstanceType,
    zone: &str,
    instances: &[&Instance],
    now: Timestamp,
) -> Vec<(String, MarketVerdict)> {
    let mut running: Vec<(&Instance, &SpotTerms)> = instances
        .iter()
        .filter(|i| matches!(i.state, InstanceState::Pending | InstanceState::Running))
        .filter_map(|i| Some((*i, i.spot.as_ref()?)))
        .filter(|(_, terms)| terms.interruption.is_none())
        .collect();
    running.sort_by(|(a, _), (b, _)| (a.launched_at, &a.id).cmp(&(b.launched_at, &b.id)));
    let quote = market.quote(t, zone, 0, now);
    let held = quote.left.map_or(usize::MAX, |n| n as usize);
    let mut verdicts = Vec::new();
    let mut kept = 0;
    for (instance, terms) in running {
        let most = terms.max_price.unwrap_or(t.on_demand);
        let verdict = if quote.price > most {
            Some(MarketVerdict::Interrupt(InterruptionCause::Price))
        } else if kept >= held {
            Some(MarketVerdict::Interrupt(InterruptionCause::Capacity))
        } else {
            kept += 1;
            let risky = is_risky(quote.price, most);
            (risky && terms.rebalance_at.is_none()).then_some(MarketVerdict::Rebalance)
        };
        verdicts.extend(verdict.map(|v| (instance.id.clone(), v)));
    }
    verdicts
}

impl Instance {
    /// Bought as Spot capacity.
    pub fn is_spot(&self) -> bool {
        self.lifecycle == InstanceLifecycle::Spot
    }

    /// When it was advised to move or given notice, whichever came first.
    pub fn at_risk_since(&self) -> Option<Timestamp> {
        let spot = self.spot.as_ref()?;
        let notice = spot.interruption.as_ref().map(|i| i.noticed_at);
        spot.rebalance_at.into_iter().chain(notice).min()
    }

    /// `sir-…` of its Spot request.
    pub fn spot_request_id(&self) -> Option<String> {
        self.spot.as_ref().map(|_| super::sibling_id("sir", &self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::instance_types::find;
    use super::*;
    use crate::autoscaling::view::fixtures::instance;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    #[test]
    fn prices_follow_from_the_seed_and_stay_below_on_demand() {
        let t = find("m5.large").unwrap();
        let (market, other) = (SpotMarket::default(), SpotMarket { seed: 7, ..SpotMarket::default() });
        let mut seen = std::collections::BTreeSet::new();
        for step in 0..200 {
            let at = NOW + Duration::from_secs(step * 6 * 3600);
            let price = market.price_at(&t, "a", at);
            assert!(price >= t.on_demand.percent(23) && price < t.on_demand.percent(58), "{price}");
            assert_eq!(price, market.price_at(&t, "a", at));
            seen.insert(price);
        }
        assert!(seen.len() > 50);
        assert_ne!(market.price_at(&t, "a", NOW), other.price_at(&t, "a", NOW));
        assert_ne!(market.price_at(&t, "a", NOW), market.price_at(&t, "b", NOW));
    }

    #[test]
    fn what_is_set_stands_until_it_is_given_back() {
        let t = find("t3.micro").unwrap();
        let mut market = SpotMarket::default();
        let at = |s| NOW + Duration::from_secs(s);
        let model = market.price_at(&t, "a", at(50));
        market.set("t3.micro", "a", Some(Some(Price(5))), Some(Some(3)), at(10));
        market.set("t3.micro", "a", Some(None), None, at(40));
        assert_eq!(market.price_at(&t, "a", at(20)), Price(5));
        assert_eq!(market.price_at(&t, "a", at(50)), model);
        let quote = market.quote(&t, "a", 2, at(50));
        assert_eq!((quote.left, quote.depth), (Some(1), 1));
        assert_eq!(market.quote(&t, "a", 9, at(50)).depth, 0);
        let history = market.history(&t, "a", at(5), at(60), 10);
        assert_eq!(history.iter().map(|(_, p)| *p).collect::<Vec<_>>(), [model, Price(5), model]);
        assert_eq!(market.history(&t, "a", at(5), at(60), 1).len(), 1);
        let long = market.history(&t, "b", Timestamp::from_secs(0), at(0), 5);
        assert!(long.len() <= 5 && long.last().unwrap().1 == market.price_at(&t, "b", at(0)));
    }

    #[test]
    fn the_market_takes_back_by_price_and_by_capacity() {
        let t = find("t3.micro").unwrap();
        let spot = |id: &str, launched, max_price| {
            let mut i = instance(id, InstanceState::Running);
            i.spot = Some(SpotTerms { max_price, ..SpotTerms::default() });
            i.launched_at = Timestamp::from_secs(launched);
            i
        };
        let mut market = SpotMarket::default();
        market.set("t3.micro", "a", Some(Some(Price(9_500))), Some(Some(2)), NOW);
        // On-Demand costs 10,400: 9,500 is above nine tenths of it.
        let all = [
            spot("i-1", 5, None),
            spot("i-2", 9, Some(Price(9_000))),
            spot("i-3", 7, None),
            spot("i-4", 8, None),
        ];
        let all: Vec<&Instance> = all.iter().collect();
        let got = review(&market, &t, "a", &all, NOW);
        use MarketVerdict::{Interrupt, Rebalance};
        assert_eq!(
            got,
            [
                ("i-1".to_owned(), Rebalance),
                ("i-3".to_owned(), Rebalance),
                ("i-4".to_owned(), Interrupt(InterruptionCause::Capacity)),
                ("i-2".to_owned(), Interrupt(InterruptionCause::Price)),
            ]
        );
        assert!(review(&SpotMarket::default(), &t, "a", &all[..1], NOW).is_empty());
    }
}
