//! Follows the Spot market: advises instances at risk to move, gives notice to those that are taken back, and ends them two
//! minutes later.
//!
//! Prices of the model change by the clock alone, so the market is looked at now and then, besides when a user changed it and
//! when a notice ends. Without Spot instances a look costs one question to an index.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_core::ec2::SpotMarket;
use puffer_core::{Clock, Timestamp};
use puffer_inventory::spot::{self, MarketReport};
use puffer_store::{Store, StoreError, Subscription};

use crate::Reconciler;

/// The longest time between two looks at the market.
const PERIOD: Duration = Duration::from_secs(5);

/// The reconciler. See the module.
pub struct SpotMarketFollow {
    store: Store,
    clock: Arc<dyn Clock>,
    market: Subscription,
    next: Mutex<Option<Timestamp>>,
}

impl SpotMarketFollow {
    /// A follower of the market of this store.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> SpotMarketFollow {
        SpotMarketFollow { market: store.subscribe::<SpotMarket>(), store, clock, next: Mutex::default() }
    }
}

impl Reconciler for SpotMarketFollow {
    type Status = MarketReport;

    fn name(&self) -> &'static str {
        "spot_market"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn wake(&self) {
        let due = *self.next.lock();
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep(at.since(self.clock.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.market.next() => {}
            () = timer => {}
        }
    }

    async fn activate(&self) -> MarketReport {
        // Whatever changed is seen by the look that follows.
        drop(self.market.take());
        let now = self.clock.now();
        let look = self.store.read(|r| spot::look(r, now));
        *self.next.lock() = look.next;
        if look.is_empty() {
            return MarketReport::default();
        }
        match self.store.transact::<_, StoreError>(|tx| Ok(spot::apply(tx, &look, now))).await {
            Ok(report) => {
                tracing::info!(?report, "the Spot market moved");
                *self.next.lock() = self.store.read(|r| spot::look(r, now)).next;
                report
            }
            Err(error) => {
                tracing::warn!(%error, "what the Spot market does could not be recorded");
                MarketReport::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use puffer_core::ManualClock;
    use puffer_core::ec2::spot::NOTICE;
    use puffer_core::ec2::{Instance, InstanceState, Price};
    use puffer_inventory::bootstrap::{Bootstrap, BootstrapError, bootstrap_account};
    use puffer_inventory::launch::{LaunchError, LaunchRequest, SpotPurchase, run_instances};
    use puffer_inventory::spot::{PoolChange, SpotError};
    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::*;

    /// A store with the account's network, and a clock.
    async fn world() -> (tempfile::TempDir, Store, Arc<ManualClock>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000_000)));
        let wanted = Bootstrap {
            account: "123456789012".into(),
            region: "us-east-1".into(),
            vpc_cidr: "10.0.0.0/16".parse().unwrap(),
            subnet_prefix: 20,
            address_space: puffer_core::ec2::Cidr::ANY,
            any_image: true,
        };
        let mut rng = Pcg64::seed_from_u64(1);
        store
            .transact::<_, BootstrapError>(|tx| {
                bootstrap_account(tx, &wanted, clock.now(), &mut rng).map(drop)
            })
            .await
            .unwrap();
        (dir, store, clock)
    }

    #[tokio::test(start_paused = true)]
    async fn a_price_above_the_maximum_gives_notice_and_then_ends() {
        let (_dir, store, clock) = world().await;
        let mut rng = Pcg64::seed_from_u64(2);
        let now = clock.now();
        let id = store
            .transact::<_, LaunchError>(|tx| {
                let request = LaunchRequest {
                    spot: Some(SpotPurchase::default()),
                    zone: Some("us-east-1a".into()),
                    ..LaunchRequest::new("ami-0123456789abcdef0", "t3.micro")
                };
                Ok(run_instances(tx, &request, now, &mut rng)?[0].id.clone())
            })
            .await
            .unwrap();
        let follow = SpotMarketFollow::new(store.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
        assert_eq!(follow.activate().await, MarketReport::default());
        let dear = PoolChange { price: Some(Some(Price(1_000_000))), capacity: None };
        store
            .transact::<_, SpotError>(|tx| spot::set_pools(tx, "t3.*", &[], &dear, now).map(drop))
            .await
            .unwrap();
        assert_eq!(follow.activate().await.noticed, 1);
        let terms = |id: &str| store.get::<Instance>(id).unwrap().spot.clone().unwrap();
        assert_eq!(terms(&id).interruption.unwrap().ends_at, now + NOTICE);
        assert_eq!(terms(&id).rebalance_at, Some(now), "advice comes with the notice at the latest");
        clock.advance(NOTICE - Duration::from_secs(1));
        assert_eq!(follow.activate().await, MarketReport::default());
        clock.advance(Duration::from_secs(1));
        assert_eq!(follow.activate().await.ended, 1);
        let ended = store.get::<Instance>(&id).unwrap();
        assert_eq!(ended.state, InstanceState::ShuttingDown);
        assert_eq!(ended.state_reason.as_ref().unwrap().code, "Server.SpotInstanceTermination");
    }
}
