//! Faults on order, for servers with simulated instances: how groups behave when launches fail or guests die can be rehearsed with the
//! tools one has.

use std::time::Duration;

use puffer_compute::simulated::SimulatedDriver;
use serde::{Deserialize, Serialize};

/// What shall happen. What is absent stays as it is; the settings hold until the server ends.
#[derive(clap::Args, Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Simulate {
    /// Share of launches and starts that fail for want of capacity, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) capacity_failures: Option<f64>,
    /// Share of launches and starts that fail in passing, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) transient_failures: Option<f64>,
    /// Share of launches and starts that fail for good, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) permanent_failures: Option<f64>,
    /// Instances that the machine can hold
    #[arg(long, value_name = "N")]
    pub(crate) instances_max: Option<usize>,
    /// Milliseconds from launch to running
    #[arg(long, value_name = "MS")]
    pub(crate) boot_time: Option<u64>,
    /// The guest of this instance powers off
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) power_off: Option<String>,
    /// The guest of this instance dies
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) crash: Option<String>,
    /// This instance cannot be reached any more
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) impair: Option<String>,
    /// This instance can be reached again
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) mend: Option<String>,
    /// This instance is gone with its disk
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) lose: Option<String>,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("a share is a number from 0 to 1".to_owned()) }
}

impl Simulate {
    /// Makes it happen; fails if it concerns an instance that does not run.
    pub(super) fn apply(&self, driver: &SimulatedDriver) -> Result<(), String> {
        driver.adjust(|s| {
            s.capacity_failures = self.capacity_failures.unwrap_or(s.capacity_failures);
            s.transient_failures = self.transient_failures.unwrap_or(s.transient_failures);
            s.permanent_failures = self.permanent_failures.unwrap_or(s.permanent_failures);
            s.n_instances_max = self.instances_max.unwrap_or(s.n_instances_max);
            s.boot = self.boot_time.map_or(s.boot, Duration::from_millis);
        });
        let fates: [(&Option<String>, &dyn Fn(&str) -> bool); 5] = [
            (&self.power_off, &|id| driver.power_off(id)),
            (&self.crash, &|id| driver.crash(id, "the simulation was told so")),
            (&self.impair, &|id| driver.impair(id, Some("the simulation was told so"))),
            (&self.mend, &|id| driver.impair(id, None)),
            (&self.lose, &|id| driver.lose(id)),
        ];
        for (id, befall) in fates {
            if let Some(id) = id
                && !befall(id)
            {
                return Err(format!("instance {id} does not run"));
            }
        }
        Ok(())
    }
}
