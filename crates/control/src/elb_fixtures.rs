//! A small world for the tests of the balancer's reconcilers: records in a store, and a data plane that is only a memory.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_balancer::{Applied, BalancerConfig, BindError, ClientError, Report, TargetReport};
use puffer_core::ec2::AddressHold;
use puffer_core::elb::classic::{ClassicHealthCheck, ClassicLoadBalancer};
use puffer_core::elb::health::{Reason, TargetState};
use puffer_core::elb::rule::{Action, Forward, WeightedTargetGroup};
use puffer_core::elb::{
    HealthCheck, Listener, ListenerProtocol, LoadBalancer, LoadBalancerState, Node, Rule, Scheme, Target,
    TargetGroup, TargetProtocol, TargetType,
};
use puffer_core::{ManualClock, Tags, Timestamp};
use puffer_store::{Store, StoreError, Transaction};
use tokio::sync::Notify;

use crate::DataPlane;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_000_000);
pub(crate) const LB: &str = "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/app/web/0123456789abcdef";
pub(crate) const TG: &str = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/tg/0123456789abcdef";

/// Target group, id and port.
type TargetKey = (String, String, u16);
/// State, reason and requests under way.
type Seen = (TargetState, Option<Reason>, u32);

/// A data plane that remembers what it was told and says what it is told to say.
#[derive(Default)]
pub(crate) struct FakePlane {
    pub(crate) state: Mutex<FakeState>,
    changed: Notify,
}

#[derive(Default)]
pub(crate) struct FakeState {
    pub(crate) applied: Vec<BalancerConfig>,
    /// 0: no process runs, and the next apply starts one.
    pub(crate) epoch: u64,
    pub(crate) n_started: u64,
    pub(crate) bind_errors: Vec<BindError>,
    pub(crate) targets: BTreeMap<TargetKey, Seen>,
    pub(crate) counters: Vec<puffer_balancer::ScopeCounters>,
    pub(crate) broken: bool,
    change: u64,
}

impl FakePlane {
    pub(crate) fn sees(&self, id: &str, state: TargetState, reason: Option<Reason>, in_flight: u32) {
        let mut s = self.state.lock();
        s.targets.insert((TG.into(), id.into(), 80), (state, reason, in_flight));
        s.change += 1;
        drop(s);
        self.changed.notify_waiters();
    }

    fn away() -> ClientError {
        ClientError::Absent(PathBuf::from("/nowhere"), std::io::ErrorKind::NotFound.into())
    }
}

impl DataPlane for FakePlane {
    async fn apply(&self, config: &BalancerConfig) -> Result<Applied, ClientError> {
        let mut s = self.state.lock();
        if s.broken {
            return Err(FakePlane::away());
        }
        if s.epoch == 0 {
            s.n_started += 1;
            s.epoch = s.n_started;
        }
        s.applied.push(config.clone());
        s.change += 1;
        Ok(Applied { epoch: s.epoch, generation: config.generation, bind_errors: s.bind_errors.clone() })
    }

    async fn report(&self) -> Result<Report, ClientError> {
        let s = self.state.lock();
        if s.epoch == 0 || s.broken {
            return Err(FakePlane::away());
        }
        let target = |(key, value): (&TargetKey, &Seen)| TargetReport {
            target_group: key.0.clone(),
            id: key.1.clone(),
            port: key.2,
            state: value.0,
            reason: value.1,
            since: NOW,
            in_flight: value.2,
        };
        Ok(Report {
            epoch: s.epoch,
            generation: s.applied.last().map_or(0, |c| c.generation),
            change: s.change,
            at: NOW,
            targets: s.targets.iter().map(target).collect(),
            counters: s.counters.clone(),
            hosts: Vec::new(),
        })
    }

    async fn wait_change(&self, since: u64, at_most: Duration) -> Result<u64, ClientError> {
        let changed = self.changed.notified();
        let (change, away) = {
            let s = self.state.lock();
            (s.change, s.epoch == 0 || s.broken)
        };
        if away {
            return Err(FakePlane::away());
        }
        if change == since {
            let _ = tokio::time::timeout(at_most, changed).await;
        }
        Ok(self.state.lock().change)
    }
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) plane: Arc<FakePlane>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) lost: Arc<Notify>,
    _dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap();
        World {
            store,
            plane: Arc::default(),
            clock: Arc::new(ManualClock::new(NOW)),
            lost: Arc::default(),
            _dir: dir,
        }
    }

    pub(crate) async fn edit<R>(&self, body: impl FnOnce(&mut Transaction<'_>) -> R) -> R {
        self.store.transact::<_, StoreError>(|tx| Ok(body(tx))).await.unwrap()
    }

    /// A load balancer with a listener whose default rule forwards to a group of addresses.
    pub(crate) async fn with_balancer(&self) {
        self.edit(|tx| {
            tx.put(target_group());
            tx.put(balancer());
            put_listener(tx);
            tx.put(target("10.0.0.9"));
        })
        .await;
    }
}

pub(crate) fn target_group() -> TargetGroup {
    TargetGroup {
        arn: TG.into(),
        name: "tg".into(),
        protocol: TargetProtocol::Http,
        port: 80,
        vpc_id: "vpc-1".into(),
        target_type: TargetType::Ip,
        health_check: HealthCheck::default(),
        attributes: Default::default(),
        created_at: NOW,
        tags: Tags::new(),
    }
}

pub(crate) fn balancer() -> LoadBalancer {
    LoadBalancer {
        arn: LB.into(),
        name: "web".into(),
        dns_name: "web-1.us-east-1.elb.amazonaws.com".into(),
        scheme: Scheme::InternetFacing,
        vpc_id: "vpc-1".into(),
        nodes: vec![Node {
            zone: "us-east-1a".into(),
            subnet_id: "subnet-a".into(),
            address: Ipv4Addr::new(10, 0, 0, 250),
        }],
        security_groups: Vec::new(),
        attributes: Default::default(),
        state: LoadBalancerState::Provisioning,
        state_reason: None,
        created_at: NOW,
        tags: Tags::new(),
    }
}

pub(crate) fn put_listener(tx: &mut Transaction<'_>) {
    tx.put(Listener {
        arn: "listener".into(),
        load_balancer: LB.into(),
        port: 80,
        protocol: ListenerProtocol::Http,
        default_rule: "rule-default".into(),
        attributes: Default::default(),
        created_at: NOW,
        tags: Tags::new(),
    });
    for (arn, priority) in [("rule-default", None), ("rule-20", Some(20)), ("rule-3", Some(3))] {
        tx.put(Rule {
            arn: arn.into(),
            listener: "listener".into(),
            load_balancer: LB.into(),
            priority,
            conditions: Vec::new(),
            actions: vec![Action::Forward(Forward {
                target_groups: vec![WeightedTargetGroup { arn: TG.into(), weight: 1 }],
                stickiness: None,
            })],
            tags: Tags::new(),
        });
    }
}

pub(crate) fn target(id: &str) -> Target {
    Target {
        target_group: TG.into(),
        id: id.into(),
        port: 80,
        address: id.parse().unwrap_or(Ipv4Addr::LOCALHOST),
        zone: "us-east-1a".into(),
        registered_at: NOW,
        draining_since: None,
        state: TargetState::Initial,
        reason: Some(Reason::RegistrationInProgress.code().into()),
        description: Some(Reason::RegistrationInProgress.description()),
    }
}

pub(crate) fn hold() -> AddressHold {
    AddressHold {
        subnet_id: "subnet-a".into(),
        address: Ipv4Addr::new(10, 0, 0, 250),
        holder: LB.into(),
        description: String::new(),
        network_interface_id: "eni-1".into(),
        mac: String::new(),
        security_groups: Vec::new(),
        since: NOW,
        releasing_since: None,
    }
}

pub(crate) fn instance(state: puffer_core::ec2::InstanceState) -> puffer_core::ec2::Instance {
    let json = serde_json::json!({
        "id": "i-1", "reservation_id": "r-1", "ami_launch_index": 0, "client_token": null, "image_id": "ami-1",
        "instance_type": "t2.micro", "zone": "us-east-1a", "vpc_id": "vpc-1", "subnet_id": "subnet-a",
        "network_interface_id": "eni-1", "private_ip": "10.0.0.9", "public_ip": null, "mac": "", "security_groups": [],
        "key_name": null, "user_data": null, "iam_instance_profile": null,
        "metadata_options": puffer_core::ec2::MetadataOptions::default(), "detailed_monitoring": false,
        "termination_protected": false, "terminate_on_shutdown": false, "lifecycle": "OnDemand", "state": state,
        "intent": "Run", "reboot_requests": 0, "reboots_done": 0, "state_reason": null, "launched_at": 0,
        "running_at": null, "terminated_at": null, "instance_status": "ok", "system_status": "ok",
        "launch_template": null, "auto_scaling_group": null, "tags": {}
    });
    serde_json::from_value(json).unwrap()
}

/// A classic load balancer without nodes.
pub(crate) fn classic(vpc: &str) -> ClassicLoadBalancer {
    ClassicLoadBalancer {
        name: "old".into(),
        arn: "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/old".into(),
        dns_name: "old-1.us-east-1.elb.amazonaws.com".into(),
        scheme: Scheme::InternetFacing,
        vpc_id: vpc.into(),
        nodes: Vec::new(),
        security_groups: Vec::new(),
        listeners: Vec::new(),
        health_check: ClassicHealthCheck::of_new(80),
        attributes: Default::default(),
        policies: Vec::new(),
        backend_policies: Default::default(),
        created_at: NOW,
        tags: Tags::new(),
    }
}
