//! No request fails for a reason inside, unless the disk refuses.

use super::{Act, Found, Invariant, Now, holds};

pub(crate) struct NoFailureInside;

impl Invariant for NoFailureInside {
    fn name(&self) -> &'static str {
        "no_failure_inside"
    }

    fn act(&mut self, act: &Act<'_>, now: &Now<'_>) -> Found {
        let Act::Refused { action, code, message } = act else { return Ok(()) };
        holds!(*code != "InternalFailure" || now.disk_refuses, "{action} answered {code}: {message}");
        Ok(())
    }
}
