//! Record before act: no driver hears of an instance that is not on disk.

use puffer_core::Record;
use puffer_core::ec2::Instance;

use super::{Act, Found, Invariant, Now, holds};

pub(crate) struct RecordBeforeAct;

impl Invariant for RecordBeforeAct {
    fn name(&self) -> &'static str {
        "record_before_act"
    }

    fn act(&mut self, act: &Act<'_>, now: &Now<'_>) -> Found {
        let Act::Boot { id } = act else { return Ok(()) };
        holds!(now.disk.row(Instance::COLLECTION, id).is_some(), "{id} is booted and not on disk");
        Ok(())
    }
}
