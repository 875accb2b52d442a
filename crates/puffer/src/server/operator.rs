//! What the person who runs the machines may do and no AWS client can: move the Spot market, take a zone down, shift a group
//! away from a zone. Asked over the administration socket by `puffer spot` and `puffer zone`.

use std::time::Duration;

use puffer_core::autoscaling::{Group, ZonalShift};
use puffer_core::ec2::{InstanceState, InterruptionCause, ZoneCondition};
use puffer_core::{Timestamp, ec2::Instance};
use puffer_inventory::spot::{self, PoolChange, SpotError};
use puffer_inventory::zones::{self, ZoneError};
use puffer_store::Store;
use serde::{Deserialize, Serialize};

/// Longest zonal shift, minutes: three days, as on AWS.
const SHIFT_MINUTES_MAX: u32 = 3 * 24 * 60;

/// A change or a question.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Pools of the types like a pattern.
    ListPools {
        /// `*`, `t3.*`, `m5.large`.
        pattern: String,
    },
    /// Sets pools.
    SetPools {
        /// Types.
        pattern: String,
        /// Zones; empty: all.
        zones: Vec<String>,
        /// A price, or `model`.
        price: Option<String>,
        /// A number of instances, or `machine`.
        capacity: Option<String>,
    },
    /// Sets what holds for the whole market.
    SetMarket {
        /// Seed of the model.
        seed: Option<u64>,
        /// Spot instances that the account may have, or `none`.
        limit: Option<String>,
    },
    /// Gives a Spot instance its notice.
    Interrupt {
        /// `i-…`.
        instance: String,
    },
    /// Advises a Spot instance to move.
    Rebalance {
        /// `i-…`.
        instance: String,
    },
    /// Zones and who is shifted away from them.
    ListZones,
    /// Marks a zone down.
    ZoneDown {
        /// Name.
        zone: String,
    },
    /// Marks a zone up.
    ZoneUp {
        /// Name.
        zone: String,
    },
    /// Shifts a group away from a zone.
    Shift {
        /// Group.
        group: String,
        /// Zone.
        zone: String,
        /// How long, minutes.
        minutes: u32,
    },
    /// Ends a group's shift.
    EndShift {
        /// Group.
        group: String,
    },
}

/// What came of an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It was done; what was done.
    Done(String),
    /// To [`Order::ListPools`].
    Pools(Vec<PoolReport>),
    /// To [`Order::ListZones`].
    Zones(Vec<ZoneReport>),
}

/// A pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PoolReport {
    pub(crate) instance_type: String,
    pub(crate) zone: String,
    pub(crate) price: String,
    pub(crate) on_demand: String,
    /// Instances that it still takes; absent: as many as the machine.
    pub(crate) left: Option<u32>,
    pub(crate) in_use: u32,
    pub(crate) depth: u32,
}

/// A zone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ZoneReport {
    pub(crate) zone: String,
    /// Since when it is down.
    pub(crate) down_since: Option<String>,
    pub(crate) running: usize,
    /// Groups shifted away from it.
    pub(crate) shifted: Vec<String>,
}

/// Carries out an order; an error is a text for people.
pub(crate) async fn carry_out(store: &Store, order: Order, now: Timestamp) -> Result<Outcome, String> {
    match order {
        Order::ListPools { pattern } => Ok(Outcome::Pools(pools(store, &pattern, now))),
        Order::ListZones => Ok(Outcome::Zones(list_zones(store, now))),
        Order::SetPools { pattern, zones, price, capacity } => {
            let price = match price.as_deref() {
                None => None,
                Some("model") => Some(None),
                Some(text) => Some(Some(text.parse().map_err(|e| format!("{e}; or write: model"))?)),
            };
            let capacity = match capacity.as_deref() {
                None => None,
                Some("machine") => Some(None),
                Some(text) => {
                    let n = text
                        .parse()
                        .map_err(|_| format!("'{text}' is no number of instances; or write: machine"))?;
                    Some(Some(n))
                }
            };
            let change = PoolChange { price, capacity };
            let set =
                store.transact::<_, SpotError>(|tx| spot::set_pools(tx, &pattern, &zones, &change, now));
            set.await.map(|n| Outcome::Done(format!("{n} pools set"))).map_err(|e| e.to_string())
        }
        Order::SetMarket { seed, limit } => {
            let limit = match limit.as_deref() {
                None => None,
                Some("none") => Some(None),
                Some(text) => {
                    let n = text
                        .parse()
                        .map_err(|_| format!("'{text}' is no number of instances; or write: none"))?;
                    Some(Some(n))
                }
            };
            let set = store.transact::<_, SpotError>(|tx| {
                spot::set_market(tx, seed, limit);
                Ok(())
            });
            set.await.map(|()| Outcome::Done("the market is set".to_owned())).map_err(|e| e.to_string())
        }
        Order::Interrupt { instance } => {
            let cause = InterruptionCause::User;
            let done = store.transact::<_, SpotError>(|tx| spot::interrupt(tx, &instance, cause, now));
            let notice = puffer_core::ec2::spot::NOTICE.as_secs();
            done.await
                .map(|()| Outcome::Done(format!("{instance} has its notice and ends in {notice} s, sooner if its group has a replacement for it")))
                .map_err(|e| e.to_string())
        }
        Order::Rebalance { instance } => {
            let done = store.transact::<_, SpotError>(|tx| spot::recommend_rebalance(tx, &instance, now));
            done.await
                .map(|()| Outcome::Done(format!("{instance} is advised to move")))
                .map_err(|e| e.to_string())
        }
        Order::ZoneDown { zone } => set_down(store, &zone, true, now).await,
        Order::ZoneUp { zone } => set_down(store, &zone, false, now).await,
        Order::Shift { group, zone, minutes } => {
            if !(1..=SHIFT_MINUTES_MAX).contains(&minutes) {
                return Err(format!("a shift lasts from 1 to {SHIFT_MINUTES_MAX} minutes"));
            }
            let until = now + Duration::from_secs(u64::from(minutes) * 60);
            let shift = ZonalShift { zone: zone.clone(), until };
            let done = store.transact::<_, ZoneError>(|tx| zones::set_shift(tx, &group, Some(shift)));
            done.await
                .map(|()| {
                    Outcome::Done(format!(
                        "{group} is shifted away from {zone} until {}",
                        until.to_rfc3339_secs()
                    ))
                })
                .map_err(|e| e.to_string())
        }
        Order::EndShift { group } => {
            let done = store.transact::<_, ZoneError>(|tx| zones::set_shift(tx, &group, None));
            done.await
                .map(|()| Outcome::Done(format!("{group} uses all its zones again")))
                .map_err(|e| e.to_string())
        }
    }
}

async fn set_down(store: &Store, zone: &str, down: bool, now: Timestamp) -> Result<Outcome, String> {
    let state = if down { "down" } else { "up" };
    let done = store.transact::<_, ZoneError>(|tx| zones::set_down(tx, zone, down, now));
    let text = |changed| match changed {
        true => format!("{zone} is {state}"),
        false => format!("{zone} was {state} already"),
    };
    done.await.map(|changed| Outcome::Done(text(changed))).map_err(|e| e.to_string())
}

fn pools(store: &Store, pattern: &str, now: Timestamp) -> Vec<PoolReport> {
    let pools = store.read(|r| spot::pools(r, pattern, now));
    let report = |p: spot::PoolView| PoolReport {
        instance_type: p.instance_type,
        zone: p.zone,
        price: p.quote.price.to_string(),
        on_demand: p.on_demand.to_string(),
        left: p.quote.left,
        in_use: p.in_use,
        depth: p.quote.depth,
    };
    pools.into_iter().map(report).collect()
}

fn list_zones(store: &Store, now: Timestamp) -> Vec<ZoneReport> {
    store.read(|r| {
        let running = r.list_by::<Instance>("state", InstanceState::Running.name());
        let report = |zone: String| ZoneReport {
            down_since: r.get::<ZoneCondition>(&zone).map(|c| c.down_since.to_rfc3339_secs()),
            running: running.iter().filter(|i| i.zone == zone).count(),
            shifted: r
                .iter::<Group>()
                .filter(|g| g.shifted_from(&zone, now))
                .map(|g| g.name.clone())
                .collect(),
            zone,
        };
        zones::names(r).into_iter().map(report).collect()
    })
}
