//! What must hold in every world, whatever its users and faults do: a file per invariant. Each is asked at every committed
//! transaction, at what the driver is told, at every answer, every second, and when the world has come to rest.

mod acknowledged_is_durable;
mod address_once;
mod announced_exactly_once;
mod back_off_is_kept;
pub(crate) mod converges;
mod cooldown_is_kept;
mod cost_within_plan;
mod desired_within_bounds;
mod drained_before_ended;
mod each_activity_ends;
mod each_hook_ends;
mod grace_is_kept;
mod interruption_is_kept;
mod maintenance_is_kept;
mod never_above_max;
mod no_failure_inside;
mod one_group_per_instance;
mod one_launch_per_need;
mod policies_count_only_warm;
mod policies_use_fresh_data;
mod pool_is_on_demand;
mod protected_never_scaled_in;
mod record_before_act;
mod records_match_machines;
mod replaced_in_portions;
mod terminated_stays_terminated;
mod weights_within_bound;

use std::fmt;
use std::time::Duration;

use puffer_core::Timestamp;
use puffer_store::MemoryDisk;

use crate::machines::Machines;
use crate::view::{Deltas, View};

/// What an invariant finds: nothing, or what is wrong.
pub(crate) type Found = Result<(), String>;

/// The world at this moment.
pub(crate) struct Now<'w> {
    /// What is on disk, this transaction included.
    pub(crate) view: &'w View,
    pub(crate) machines: &'w Machines,
    pub(crate) disk: &'w MemoryDisk,
    /// What the server's clock shows.
    pub(crate) wall: Timestamp,
    /// True time.
    pub(crate) true_ms: i64,
    /// Since the server's clock was last set.
    pub(crate) steady_for: Duration,
    /// The server answers.
    pub(crate) server_lives: bool,
    /// The disk has, or had a moment ago, a spell of refusing.
    pub(crate) disk_refuses: bool,
}

/// What somebody did that is no transaction.
pub(crate) enum Act<'a> {
    /// The driver is told to launch or start an instance.
    Boot {
        /// `i-…`.
        id: &'a str,
    },
    /// A user's request was answered.
    Answered {
        /// The operation.
        action: &'a str,
        /// What was asked.
        params: &'a [(&'a str, &'a str)],
    },
    /// A user's request was refused.
    Refused {
        /// The operation.
        action: &'a str,
        /// AWS's code.
        code: &'a str,
        /// The text.
        message: &'a str,
    },
}

/// Something that must hold.
pub(crate) trait Invariant: Send {
    /// Its name, as the file's.
    fn name(&self) -> &'static str;

    /// A transaction is on disk.
    fn transaction(&mut self, _deltas: &Deltas, _now: &Now<'_>) -> Found {
        Ok(())
    }

    /// Something was done.
    fn act(&mut self, _act: &Act<'_>, _now: &Now<'_>) -> Found {
        Ok(())
    }

    /// A second passed.
    fn second(&mut self, _now: &Now<'_>) -> Found {
        Ok(())
    }

    /// The world has come to rest.
    fn at_rest(&mut self, _now: &Now<'_>) -> Found {
        Ok(())
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(never_above_max::NeverAboveMax),
        Box::new(weights_within_bound::WeightsWithinBound),
        Box::new(announced_exactly_once::AnnouncedExactlyOnce),
        Box::new(interruption_is_kept::InterruptionIsKept::default()),
        Box::new(maintenance_is_kept::MaintenanceIsKept::default()),
        Box::new(one_launch_per_need::OneLaunchPerNeed),
        Box::new(terminated_stays_terminated::TerminatedStaysTerminated),
        Box::new(protected_never_scaled_in::ProtectedNeverScaledIn),
        Box::new(desired_within_bounds::DesiredWithinBounds),
        Box::new(each_activity_ends::EachActivityEnds),
        Box::new(each_hook_ends::EachHookEnds::default()),
        Box::new(record_before_act::RecordBeforeAct),
        Box::new(records_match_machines::RecordsMatchMachines),
        Box::new(address_once::AddressOnce),
        Box::new(one_group_per_instance::OneGroupPerInstance),
        Box::new(cost_within_plan::CostWithinPlan::default()),
        Box::new(cooldown_is_kept::CooldownIsKept::default()),
        Box::new(policies_count_only_warm::PoliciesCountOnlyWarm),
        Box::new(policies_use_fresh_data::PoliciesUseFreshData),
        Box::new(back_off_is_kept::BackOffIsKept),
        Box::new(pool_is_on_demand::PoolIsOnDemand),
        Box::new(grace_is_kept::GraceIsKept),
        Box::new(replaced_in_portions::ReplacedInPortions),
        Box::new(drained_before_ended::DrainedBeforeEnded),
        Box::new(acknowledged_is_durable::AcknowledgedIsDurable),
        Box::new(no_failure_inside::NoFailureInside),
    ]
}

/// An invariant that did not hold.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Its name.
    pub invariant: &'static str,
    /// When, true time in milliseconds since 1970.
    pub at_ms: i64,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at_ms.rem_euclid(86_400_000) as f64 / 1000.0;
        write!(f, "{} at {seconds:.3} s: {}", self.invariant, self.text)
    }
}

/// Fails with a text unless the condition holds.
macro_rules! holds {
    ($condition:expr, $($text:tt)+) => {
        let holds: bool = $condition;
        if !holds {
            return Err(format!($($text)+));
        }
    };
}
use holds;
