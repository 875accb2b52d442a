//! Alarms that stop, terminate, reboot or recover the instance which they watch.

use std::sync::Arc;

use async_trait::async_trait;
use puffer_core::Clock;
use puffer_core::alarm::{Alarm, InstanceVerb};
use puffer_inventory::instances::{self, InstanceError};
use puffer_store::{Store, Transaction};

use crate::{ActionOutcome, AlarmAction, FiredAlarm};

/// Takes the EC2 actions of alarms.
pub struct InstanceAction {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl InstanceAction {
    /// Over the instances of this store.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> InstanceAction {
        InstanceAction { store, clock }
    }

    async fn act(&self, fired: &FiredAlarm) -> Result<String, String> {
        let verb = InstanceVerb::of_arn(&fired.action).ok_or("it is no action of EC2")?;
        let alarm = self.store.get::<Alarm>(&fired.alarm).ok_or("the alarm has gone")?;
        let id = alarm.watched_instance().ok_or("the alarm watches no single instance")?.to_owned();
        let now = self.clock.now();
        let ids = [id.clone()];
        let act = |tx: &mut Transaction<'_>| match verb {
            InstanceVerb::Stop => instances::request_stop(tx, &ids, false, now),
            InstanceVerb::Terminate => instances::request_terminate(tx, &ids, now),
            // A recovered instance is the same one on its own disk with its own address: so is a rebooted one here.
            InstanceVerb::Reboot | InstanceVerb::Recover => instances::request_reboot(tx, &ids),
        };
        let done: Result<_, InstanceError> = self.store.transact(act).await;
        done.map(|_| format!("{} of {id} was asked for", verb.name())).map_err(|e| e.to_string())
    }
}

#[async_trait]
impl AlarmAction for InstanceAction {
    fn takes(&self, action: &str) -> bool {
        InstanceVerb::of_arn(action).is_some()
    }

    async fn run(&self, fired: Vec<FiredAlarm>) -> Vec<ActionOutcome> {
        let mut outcomes = Vec::with_capacity(fired.len());
        for one in &fired {
            outcomes.push(self.act(one).await.into());
        }
        outcomes
    }
}
