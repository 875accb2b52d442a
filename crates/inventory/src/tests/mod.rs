mod instances;
mod launch;
mod networks;
mod root_volumes;

use puffer_core::Timestamp;
use puffer_core::ec2::{Account, Cidr};
use puffer_store::{Store, StoreError, Transaction};
use rand_pcg::Pcg64;

use crate::bootstrap::{Bootstrap, BootstrapError, bootstrap_account};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_231_680);

pub(crate) fn rng() -> Pcg64 {
    use rand_pcg::rand_core::SeedableRng;
    Pcg64::seed_from_u64(1)
}

pub(crate) fn wanted() -> Bootstrap {
    Bootstrap {
        account: "123456789012".into(),
        region: "us-east-1".into(),
        vpc_cidr: "172.31.0.0/16".parse().unwrap(),
        subnet_prefix: 20,
        address_space: Cidr::ANY,
        any_image: true,
    }
}

/// A store with a fresh account.
pub(crate) async fn account() -> (tempfile::TempDir, Store, Account) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.redb"), &crate::schema()).unwrap();
    let account = store
        .transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &wanted(), NOW, &mut rng()))
        .await
        .unwrap();
    (dir, store, account)
}

/// Runs a transaction that cannot fail.
pub(crate) async fn edit<R>(store: &Store, body: impl FnOnce(&mut Transaction<'_>) -> R) -> R {
    store.transact::<_, StoreError>(|tx| Ok(body(tx))).await.unwrap()
}
