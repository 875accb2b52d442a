//! A store and a context for tests of handlers.

use std::sync::Arc;

use parking_lot::Mutex;
use puffer_core::ec2::Cidr;
use puffer_core::{ManualClock, Timestamp};
use puffer_inventory::bootstrap::{Bootstrap, BootstrapError, bootstrap_account};
use puffer_metrics::Metrics;
use puffer_store::Store;
use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;

use crate::{ApiError, Ctx, NoConsole};

/// An image that the account takes.
pub(crate) const AMI: &str = "ami-0123456789abcdef0";

/// A server without a door.
pub(crate) struct World {
    _dir: tempfile::TempDir,
    pub(crate) cx: Arc<Ctx>,
}

/// One with a fresh account that takes any image.
pub(crate) async fn world() -> World {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_795_231_680)));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap();
    let wanted = Bootstrap {
        account: "123456789012".into(),
        region: "us-east-1".into(),
        vpc_cidr: "172.31.0.0/16".parse().unwrap(),
        subnet_prefix: 20,
        address_space: Cidr::ANY,
        any_image: true,
    };
    let mut rng = Pcg64::seed_from_u64(1);
    let now = Timestamp::from_secs(1_795_231_680);
    store.transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &wanted, now, &mut rng)).await.unwrap();
    let cx = Ctx {
        endpoint: "127.0.0.1:1".into(),
        account: wanted.account,
        region: wanted.region,
        clock: Arc::clone(&clock) as _,
        store,
        metrics: Metrics::open(&dir.path().join("metrics.redb"), clock, Default::default()).unwrap(),
        rng: Mutex::new(Box::new(rng)),
        console: Arc::new(NoConsole),
    };
    World { _dir: dir, cx: Arc::new(cx) }
}

/// The code of the error that must be there.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
    result.unwrap_err().code.into_owned()
}
