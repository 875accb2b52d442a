//! Zones that are down, and groups shifted away from a zone.
//!
//! A zone of Puffer is a name for a part of the user's machines, so only the user knows when it is down. While it is,
//! launches and starts there find no capacity, the status checks of its instances are impaired, their guests are held still (by
//! `instance_converge`) and the nodes of load balancers there take no connection, so that all who watch see it and move away.

use puffer_core::Timestamp;
use puffer_core::autoscaling::{Group, ZonalShift, backoff};
use puffer_core::ec2::{Account, Instance, InstanceState, StatusCheck, ZoneCondition};
use puffer_store::{Reader, StoreError, Transaction};

use crate::groups::GroupError;
use crate::{groups, instances};

/// Why a zone's condition cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// No such zone.
    #[error("there is no zone {0}")]
    NotFound(String),
    /// The group is not in it.
    #[error("the group {0} is not in zone {1}")]
    NotOfGroup(String, String),
    /// The group does not follow zonal shifts.
    #[error("the group {0} has no AvailabilityZoneImpairmentPolicy with ZonalShiftEnabled")]
    ShiftDisabled(String),
    /// The group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The account's zones.
pub fn names(r: &Reader<'_>) -> Vec<String> {
    r.get::<Account>(Account::KEY).map(|a| a.zones.clone()).unwrap_or_default()
}

/// Whether a zone is down.
pub fn is_down(r: &Reader<'_>, zone: &str) -> bool {
    r.get::<ZoneCondition>(zone).is_some()
}

/// Both status checks of an instance that runs in a zone.
pub fn status(r: &Reader<'_>, zone: &str) -> StatusCheck {
    if is_down(r, zone) { StatusCheck::Impaired } else { StatusCheck::Ok }
}

/// Marks a zone down or up, and with it the status of what runs there. Says whether that changed anything.
pub fn set_down(tx: &mut Transaction<'_>, zone: &str, down: bool, now: Timestamp) -> Result<bool, ZoneError> {
    if !names(&tx.reader()).iter().any(|z| z == zone) {
        return Err(ZoneError::NotFound(zone.to_owned()));
    }
    if is_down(&tx.reader(), zone) == down {
        return Ok(false);
    }
    if down {
        tx.put(ZoneCondition { zone: zone.to_owned(), down_since: now });
    } else {
        tx.delete::<ZoneCondition>(zone);
    }
    let status = status(&tx.reader(), zone);
    for i in tx.list_by::<Instance>("state", InstanceState::Running.name()) {
        // What is not checked yet gets its first result from its own check.
        if i.zone == zone && i.instance_status != StatusCheck::Initializing {
            instances::mark_status(tx, &i.id, status, status);
        }
    }
    if !down {
        // Groups need not wait any longer before they even out into the zone again.
        let waiting: Vec<String> = tx
            .reader()
            .iter::<Group>()
            .filter(|g| backoff::remembers_any(g))
            .map(|g| g.name.clone())
            .collect();
        for name in waiting {
            tx.update::<Group>(&name, |g| {
                backoff::zone_works(g, zone);
            });
        }
    }
    Ok(true)
}

/// Shifts a group away from a zone until then, or ends its shift.
pub fn set_shift(tx: &mut Transaction<'_>, group: &str, shift: Option<ZonalShift>) -> Result<(), ZoneError> {
    let found = groups::active(&tx.reader(), group)?;
    if let Some(shift) = &shift {
        if !found.zone_impairment.shift_enabled {
            return Err(ZoneError::ShiftDisabled(group.to_owned()));
        }
        if !found.zones.contains(&shift.zone) {
            return Err(ZoneError::NotOfGroup(group.to_owned(), shift.zone.clone()));
        }
    }
    groups::change(tx, group, |g: &mut Group| g.zonal_shift = shift)?;
    Ok(())
}
