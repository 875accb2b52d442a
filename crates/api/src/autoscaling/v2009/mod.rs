//! Auto Scaling, API version 2009-05-15: the same groups, launch configurations and activities in the words of their first
//! clients, and the triggers that only this version has.
//!
//! A request of 2009 becomes the request of today that means the same, so both versions have one behaviour. What groups have
//! learnt since (launch templates, say) is left out of answers; it has no name here.

mod groups;
mod launch_configurations;
mod triggers;

use crate::Registry;

pub(super) fn register(registry: &mut Registry) {
    groups::register(registry);
    launch_configurations::register(registry);
    triggers::register(registry);
}
