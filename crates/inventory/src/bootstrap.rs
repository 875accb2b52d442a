//! What an account has before anybody asks for anything: a default VPC with a subnet in each zone.

use puffer_core::Timestamp;
use puffer_core::ec2::{Account, Cidr, Image, Instance, Vpc};
use puffer_store::{StoreError, Transaction};
use rand::Rng;

use crate::networks::{self, NetworkError};

/// Prefix length of a default VPC's subnets on AWS.
pub const DEFAULT_SUBNET_PREFIX: u8 = 20;

/// Letters of the zones of each region.
pub const ZONES: [char; 3] = ['a', 'b', 'c'];

/// What the account shall be like.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// Twelve digits.
    pub account: String,
    /// `us-east-1`.
    pub region: String,
    /// Block of the default VPC.
    pub vpc_cidr: Cidr,
    /// Prefix length of its subnets, [`DEFAULT_SUBNET_PREFIX`] unless many instances are simulated.
    pub subnet_prefix: u8,
    /// All blocks must lie here.
    pub address_space: Cidr,
    /// Any well-formed image id launches.
    pub any_image: bool,
}

/// Why the store's account cannot be used as asked.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The data directory belongs to another account or region and is in use.
    #[error("the data directory belongs to account {account} in {region}; use that, or another --data-dir")]
    Other {
        /// Stored account.
        account: String,
        /// Stored region.
        region: String,
    },
    /// The default VPC does not fit.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the account with its default VPC if there is none, else brings its settings up to date. A default VPC that the user
/// deleted stays deleted. One without a single instance moves to another block when asked: a server that
/// was started on another kind of compute.
pub fn bootstrap_account(
    tx: &mut Transaction<'_>,
    wanted: &Bootstrap,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<Account, BootstrapError> {
    if let Some(stored) = tx.get::<Account>(Account::KEY) {
        if stored.id != wanted.account || stored.region != wanted.region {
            let (account, region) = (stored.id.clone(), stored.region.clone());
            return Err(BootstrapError::Other { account, region });
        }
        let mut account = Account::clone(&stored);
        account.any_image = wanted.any_image;
        account.address_space = wanted.address_space;
        tx.put(account.clone());
        let moved = account.default_vpc_id.clone().filter(|id| {
            tx.get::<Vpc>(id).is_some_and(|v| v.cidr != wanted.vpc_cidr)
                && networks::is_untouched(&tx.reader(), id)
        });
        if let Some(id) = moved {
            networks::delete_vpc_with_contents(tx, &id);
            return Ok(make_default_vpc(tx, account, wanted, now, rng)?);
        }
        return Ok(account);
    }
    debug_assert!(tx.reader().count::<Instance>() == 0 && tx.reader().count::<Image>() == 0);
    let account = Account {
        id: wanted.account.clone(),
        region: wanted.region.clone(),
        zones: ZONES.iter().map(|z| format!("{}{z}", wanted.region)).collect(),
        any_image: wanted.any_image,
        address_space: wanted.address_space,
        default_vpc_id: None,
    };
    Ok(make_default_vpc(tx, account, wanted, now, rng)?)
}

fn make_default_vpc(
    tx: &mut Transaction<'_>,
    mut account: Account,
    wanted: &Bootstrap,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<Account, NetworkError> {
    account.default_vpc_id = None;
    tx.put(account.clone());
    let vpc = networks::create_default_vpc(tx, wanted.vpc_cidr, wanted.subnet_prefix, now, rng)?;
    account.default_vpc_id = Some(vpc.id.clone());
    Ok(account)
}
