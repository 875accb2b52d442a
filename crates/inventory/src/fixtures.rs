//! Records for tests of this crate.

use std::net::Ipv4Addr;

use puffer_core::ec2::{
    Instance, InstanceIntent, InstanceLifecycle, InstanceState, MetadataOptions, StatusCheck, Subnet,
};
use puffer_core::elb::classic::{ClassicHealthCheck, ClassicListener, ClassicLoadBalancer, Protocol};
use puffer_core::elb::rule::{Action, Forward, WeightedTargetGroup};
use puffer_core::elb::{
    HealthCheck, LoadBalancer, LoadBalancerState, Node, Rule, Scheme, Target, TargetGroup, TargetProtocol,
    TargetState, TargetType,
};
use puffer_core::{Tags, Timestamp};
use puffer_store::{Store, StoreError, Transaction};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// A store in a directory that goes with it.
pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.redb"), &crate::schema()).unwrap();
    (dir, store)
}

/// Runs a transaction that cannot fail.
pub(crate) async fn edit<R>(store: &Store, body: impl FnOnce(&mut Transaction<'_>) -> R) -> R {
    store.transact::<_, StoreError>(|tx| Ok(body(tx))).await.unwrap()
}

pub(crate) fn instance(id: &str, state: InstanceState, address: Ipv4Addr) -> Instance {
    Instance {
        id: id.into(),
        reservation_id: "r-1".into(),
        ami_launch_index: 0,
        client_token: None,
        client_digest: None,
        stop_hard: false,
        image_id: "ami-1".into(),
        instance_type: "t2.micro".into(),
        zone: "us-east-1a".into(),
        vpc_id: "vpc-1".into(),
        subnet_id: "subnet-a".into(),
        network_interface_id: "eni-1".into(),
        private_ip: address,
        public_ip: None,
        mac: "02:00:00:00:00:01".into(),
        security_groups: vec!["sg-1".into()],
        key_name: None,
        user_data: None,
        iam_instance_profile: None,
        metadata_options: MetadataOptions::default(),
        detailed_monitoring: false,
        termination_protected: false,
        terminate_on_shutdown: false,
        lifecycle: InstanceLifecycle::OnDemand,
        spot: None,
        state,
        intent: InstanceIntent::Run,
        reboot_requests: 0,
        reboots_done: 0,
        state_reason: None,
        launched_at: NOW,
        running_at: None,
        terminated_at: None,
        transition_reason: None,
        has_disk: false,
        stop_protected: false,
        ebs_optimized: false,
        source_dest_check: true,
        root_volume_gib: 8,
        root_replacement: None,
        root_serial: 0,
        n_root_replacements: 0,
        root_since: None,
        volume_tags: Tags::new(),
        network_interface_tags: Tags::new(),
        instance_status: StatusCheck::Ok,
        system_status: StatusCheck::Ok,
        launch_template: None,
        auto_scaling_group: None,
        tags: Tags::new(),
    }
}

pub(crate) fn target_group(arn: &str, target_type: TargetType) -> TargetGroup {
    TargetGroup {
        arn: arn.into(),
        name: arn.into(),
        protocol: TargetProtocol::Http,
        port: 80,
        vpc_id: "vpc-1".into(),
        target_type,
        health_check: HealthCheck::default(),
        attributes: Default::default(),
        created_at: NOW,
        tags: Tags::new(),
    }
}

/// A default rule that forwards to `target_group`.
pub(crate) fn rule_to(target_group: &str) -> Rule {
    Rule {
        arn: format!("rule-of-{target_group}"),
        listener: "listener".into(),
        load_balancer: "lb".into(),
        priority: None,
        conditions: Vec::new(),
        actions: vec![Action::Forward(Forward {
            target_groups: vec![WeightedTargetGroup { arn: target_group.into(), weight: 1 }],
            stickiness: None,
        })],
        tags: Tags::new(),
    }
}

pub(crate) fn subnet(id: &str, zone: &str, cidr: &str) -> Subnet {
    Subnet {
        id: id.into(),
        vpc_id: "vpc-1".into(),
        cidr: cidr.parse().unwrap(),
        zone: zone.into(),
        default_for_az: false,
        map_public_ip: false,
        created_at: NOW,
        tags: Tags::new(),
    }
}

/// A load balancer with nodes in two zones, being provisioned.
pub(crate) fn load_balancer(arn: &str, dns_name: &str) -> LoadBalancer {
    let node = |zone: &str, last| Node {
        zone: zone.into(),
        subnet_id: format!("subnet-{zone}"),
        address: Ipv4Addr::new(10, 0, 0, last),
    };
    LoadBalancer {
        arn: arn.into(),
        name: "web".into(),
        dns_name: dns_name.into(),
        scheme: Scheme::InternetFacing,
        vpc_id: "vpc-1".into(),
        nodes: vec![node("us-east-1a", 250), node("us-east-1b", 251)],
        security_groups: vec!["sg-1".into()],
        attributes: Default::default(),
        state: LoadBalancerState::Provisioning,
        state_reason: None,
        created_at: NOW,
        tags: Tags::new(),
    }
}

/// A classic load balancer with nodes in two zones and a listener.
pub(crate) fn classic(name: &str) -> ClassicLoadBalancer {
    let like = load_balancer("lb", &format!("{name}-1.us-east-1.elb.amazonaws.com"));
    ClassicLoadBalancer {
        name: name.into(),
        arn: format!("arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/{name}"),
        dns_name: like.dns_name,
        scheme: like.scheme,
        vpc_id: like.vpc_id,
        nodes: like.nodes,
        security_groups: like.security_groups,
        listeners: vec![ClassicListener {
            port: 80,
            protocol: Protocol::Http,
            instance_port: 80,
            policies: Vec::new(),
        }],
        health_check: ClassicHealthCheck::of_new(80),
        attributes: Default::default(),
        policies: Vec::new(),
        backend_policies: Default::default(),
        created_at: NOW,
        tags: Tags::new(),
    }
}

pub(crate) fn target(target_group: &str, id: &str, state: TargetState) -> Target {
    Target {
        target_group: target_group.into(),
        id: id.into(),
        port: 80,
        address: Ipv4Addr::new(10, 0, 0, 9),
        zone: "us-east-1a".into(),
        registered_at: NOW,
        draining_since: None,
        state,
        reason: None,
        description: None,
    }
}
