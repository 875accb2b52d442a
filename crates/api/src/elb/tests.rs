use puffer_core::ec2::{AddressHold, Instance, InstanceState, Subnet};
use puffer_core::elb::{Target, TargetGroup, TargetState};
use puffer_store::StoreError;

use super::*;
use crate::fixtures::{World, code, world};

fn s(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn listener(protocol: &str, port: i32, instance_port: i32) -> shapes::Listener {
    shapes::Listener {
        protocol: s(protocol),
        load_balancer_port: Some(port),
        instance_port: Some(instance_port),
        ..Default::default()
    }
}

fn wanted(name: &str) -> shapes::CreateLoadBalancerInput {
    shapes::CreateLoadBalancerInput {
        load_balancer_name: s(name),
        listeners: Some(vec![listener("HTTP", 80, 8080)]),
        availability_zones: Some(vec!["us-east-1a".into()]),
        ..Default::default()
    }
}

impl World {
    async fn described(&self, name: &str) -> shapes::LoadBalancerDescription {
        let input = shapes::DescribeLoadBalancersInput {
            load_balancer_names: Some(vec![name.into()]),
            ..Default::default()
        };
        let found = describe(Arc::clone(&self.cx), input).await.unwrap();
        found.load_balancer_descriptions.unwrap().remove(0)
    }
}

#[tokio::test]
async fn made_described_and_deleted() {
    let w = world().await;
    let cx = || Arc::clone(&w.cx);
    let made = create(cx(), wanted("web")).await.unwrap();
    let dns = made.dns_name.unwrap();
    assert!(dns.starts_with("web-") && dns.ends_with(".us-east-1.elb.amazonaws.com"), "{dns}");
    let again = create(cx(), wanted("web")).await.unwrap();
    assert_eq!(again.dns_name.as_deref(), Some(&*dns), "asking twice is asking once");
    let other = shapes::CreateLoadBalancerInput { scheme: s("internal"), ..wanted("web") };
    assert_eq!(code(create(cx(), other).await), "DuplicateLoadBalancerName");

    let shown = w.described("web").await;
    let check = shown.health_check.unwrap();
    assert_eq!((check.target.as_deref(), check.healthy_threshold), (Some("TCP:8080"), Some(10)));
    assert_eq!(shown.availability_zones, Some(vec!["us-east-1a".to_owned()]));
    assert_eq!(shown.subnets.map(|s| s.len()), Some(1));
    assert_eq!(shown.source_security_group.and_then(|g| g.group_name).as_deref(), Some("default"));
    assert_eq!(w.cx.store.list::<AddressHold>().len(), 1);
    assert_eq!(w.cx.store.list::<TargetGroup>().len(), 1);

    let gone = || shapes::DeleteLoadBalancerInput { load_balancer_name: s("web") };
    delete(cx(), gone()).await.unwrap();
    delete(cx(), gone()).await.unwrap();
    assert!(w.cx.store.list::<TargetGroup>().is_empty());
    assert!(w.cx.store.list::<AddressHold>().iter().all(|h| h.releasing_since.is_some()));
    let input = shapes::DescribeLoadBalancersInput {
        load_balancer_names: Some(vec!["web".into()]),
        ..Default::default()
    };
    assert_eq!(code(describe(cx(), input).await), "LoadBalancerNotFound");
}

#[tokio::test]
async fn what_cannot_be_made() {
    let w = world().await;
    let subnet = w.cx.store.list_by::<Subnet>("default_zone", "us-east-1a")[0].id.clone();
    type Change = fn(&mut shapes::CreateLoadBalancerInput, &str);
    let table: &[(&str, Change)] = &[
        ("UnsupportedProtocol", |i, _| i.listeners = Some(vec![listener("HTTPS", 443, 80)])),
        ("UnsupportedProtocol", |i, _| i.listeners = Some(vec![listener("ssl", 443, 80)])),
        ("ValidationError", |i, _| i.listeners = Some(vec![listener("UDP", 53, 53)])),
        ("ValidationError", |i, _| i.listeners = Some(Vec::new())),
        ("ValidationError", |i, _| {
            let mixed = shapes::Listener { instance_protocol: s("TCP"), ..listener("HTTP", 80, 80) };
            i.listeners = Some(vec![mixed]);
        }),
        ("InvalidConfigurationRequest", |i, _| {
            let certified = shapes::Listener { ssl_certificate_id: s("arn"), ..listener("HTTP", 80, 80) };
            i.listeners = Some(vec![certified]);
        }),
        ("DuplicateListener", |i, _| {
            i.listeners = Some(vec![listener("HTTP", 80, 80), listener("TCP", 80, 80)]);
        }),
        ("ValidationError", |i, _| i.load_balancer_name = s("-web")),
        ("ValidationError", |i, _| i.availability_zones = None),
        ("ValidationError", |i, _| i.availability_zones = Some(vec!["us-east-1z".into()])),
        ("ValidationError", |i, subnet| i.subnets = Some(vec![subnet.into()])),
        ("SubnetNotFound", |i, _| {
            (i.availability_zones, i.subnets) = (None, Some(vec!["subnet-1".into()]));
        }),
        ("InvalidSecurityGroup", |i, _| i.security_groups = Some(vec!["sg-1".into()])),
        ("InvalidScheme", |i, _| i.scheme = s("open")),
    ];
    for (want, change) in table {
        let mut input = wanted("web");
        change(&mut input, &subnet);
        let debug = format!("{input:?}");
        assert_eq!(code(create(Arc::clone(&w.cx), input).await), *want, "{debug}");
    }
    assert!(w.cx.store.list::<AddressHold>().is_empty(), "nothing is left of what was refused");
}

#[tokio::test]
async fn zones_and_subnets_come_and_go_but_never_all() {
    let w = world().await;
    let cx = || Arc::clone(&w.cx);
    create(cx(), wanted("web")).await.unwrap();
    let zones = |zones: &[&str]| Some(zones.iter().map(|z| (*z).to_owned()).collect::<Vec<_>>());
    let enable = shapes::EnableAvailabilityZonesForLoadBalancerInput {
        load_balancer_name: s("web"),
        availability_zones: zones(&["us-east-1b", "us-east-1a"]),
    };
    let both = enable_zones(cx(), enable).await.unwrap().availability_zones;
    assert_eq!(both, zones(&["us-east-1a", "us-east-1b"]));
    let disable = |leaving: &[&str]| shapes::DisableAvailabilityZonesForLoadBalancerInput {
        load_balancer_name: s("web"),
        availability_zones: zones(leaving),
    };
    let all = disable_zones(cx(), disable(&["us-east-1a", "us-east-1b"])).await;
    assert_eq!(code(all), "InvalidConfigurationRequest");
    let left = disable_zones(cx(), disable(&["us-east-1a"])).await.unwrap().availability_zones;
    assert_eq!(left, zones(&["us-east-1b"]));
    let subnet = w.cx.store.list_by::<Subnet>("default_zone", "us-east-1c")[0].id.clone();
    let attach = shapes::AttachLoadBalancerToSubnetsInput {
        load_balancer_name: s("web"),
        subnets: Some(vec![subnet.clone()]),
    };
    let attached = network::attach_subnets(cx(), attach).await.unwrap().subnets.unwrap();
    assert_eq!(attached.len(), 2);
    let detach = |subnets: Vec<String>| shapes::DetachLoadBalancerFromSubnetsInput {
        load_balancer_name: s("web"),
        subnets: Some(subnets),
    };
    assert_eq!(code(network::detach_subnets(cx(), detach(attached)).await), "InvalidConfigurationRequest");
    network::detach_subnets(cx(), detach(vec![subnet])).await.unwrap();
    assert_eq!(w.described("web").await.availability_zones, zones(&["us-east-1b"]));
}

/// An instance without a machine.
fn instance(subnet: &Subnet) -> Instance {
    let json = serde_json::json!({
        "id": "i-0123456789abcdef0", "reservation_id": "r-1", "ami_launch_index": 0, "client_token": null,
        "image_id": "ami-1", "instance_type": "t2.micro", "zone": subnet.zone, "vpc_id": subnet.vpc_id,
        "subnet_id": subnet.id, "network_interface_id": "eni-1", "private_ip": "172.31.0.9", "public_ip": null, "mac": "",
        "security_groups": [], "key_name": null, "user_data": null, "iam_instance_profile": null,
        "metadata_options": puffer_core::ec2::MetadataOptions::default(), "detailed_monitoring": false,
        "termination_protected": false, "terminate_on_shutdown": false, "lifecycle": "OnDemand",
        "state": InstanceState::Running, "intent": "Run", "reboot_requests": 0, "reboots_done": 0, "state_reason": null,
        "launched_at": 0, "running_at": null, "terminated_at": null, "instance_status": "ok", "system_status": "ok",
        "launch_template": null, "auto_scaling_group": null, "tags": {}
    });
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn instances_and_their_health() {
    let w = world().await;
    let cx = || Arc::clone(&w.cx);
    let store = &w.cx.store;
    create(cx(), wanted("web")).await.unwrap();
    let subnet = store.list_by::<Subnet>("default_zone", "us-east-1a")[0].clone();
    let here = instance(&subnet);
    let id = here.id.clone();
    store.transact::<_, StoreError>(|tx| Ok(drop(tx.put(here)))).await.unwrap();
    let named = |id: &str| Some(vec![shapes::Instance { instance_id: s(id) }]);
    let wanted = |id: &str| shapes::RegisterInstancesWithLoadBalancerInput {
        load_balancer_name: s("web"),
        instances: named(id),
    };
    assert_eq!(code(instances::register(cx(), wanted("i-00000000000000000")).await), "InvalidInstance");
    let registered = instances::register(cx(), wanted(&id)).await.unwrap();
    assert_eq!(registered.instances, named(&id));
    let health = async |instances| {
        let input = shapes::DescribeInstanceHealthInput { load_balancer_name: s("web"), instances };
        let states = describe_health(cx(), input).await?.instance_states.unwrap_or_default();
        Ok::<_, ApiError>(
            states.into_iter().map(|s| (s.state.unwrap(), s.description.unwrap())).collect::<Vec<_>>(),
        )
    };
    let new = health(None).await.unwrap();
    assert_eq!((new.len(), new[0].0.as_str()), (1, "OutOfService"));
    let arn = store.list::<TargetGroup>()[0].arn.clone();
    store
        .transact::<_, StoreError>(|tx| {
            tx.update::<Target>(&Target::key_of(&arn, &id, 0), |t| t.state = TargetState::Healthy);
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(health(None).await.unwrap()[0].0, "InService");
    let leaving = shapes::DeregisterInstancesFromLoadBalancerInput {
        load_balancer_name: s("web"),
        instances: named(&id),
    };
    let left = instances::deregister(cx(), leaving).await.unwrap();
    assert_eq!(left.instances, Some(Vec::new()));
    let last = health(None).await.unwrap();
    assert!(last[0].1.starts_with("Instance deregistration currently in progress"), "{last:?}");
    assert_eq!(code(health(named("i-00000000000000000")).await), "InvalidInstance");
}

#[tokio::test]
async fn policies_hold_where_they_can() {
    let w = world().await;
    let cx = || Arc::clone(&w.cx);
    let two = Some(vec![listener("HTTP", 80, 80), listener("TCP", 25, 2525)]);
    create(cx(), shapes::CreateLoadBalancerInput { listeners: two, ..wanted("web") }).await.unwrap();
    let make = |name: &str, kind: &str, attribute: &str, value: &str| shapes::CreateLoadBalancerPolicyInput {
        load_balancer_name: s("web"),
        policy_name: s(name),
        policy_type_name: s(kind),
        policy_attributes: Some(vec![shapes::PolicyAttribute {
            attribute_name: s(attribute),
            attribute_value: s(value),
        }]),
    };
    let (lb, proxy) = ("LBCookieStickinessPolicyType", "ProxyProtocolPolicyType");
    policies::create(cx(), make("sticky", lb, "CookieExpirationPeriod", "60")).await.unwrap();
    policies::create(cx(), make("proxy", proxy, "ProxyProtocol", "true")).await.unwrap();
    let table = [
        (make("sticky", lb, "CookieExpirationPeriod", "61"), "DuplicatePolicyName"),
        (make("x", lb, "CookieExpirationPeriod", "0"), "ValidationError"),
        (make("x", lb, "CookieName", "a"), "InvalidConfigurationRequest"),
        (make("x", "AppCookieStickinessPolicyType", "CookieName", "a b"), "ValidationError"),
        (make("x", "SSLNegotiationPolicyType", "Protocol-TLSv1", "true"), "InvalidConfigurationRequest"),
        (make("x", "MagicPolicyType", "a", "b"), "PolicyTypeNotFound"),
        (make("x y", proxy, "ProxyProtocol", "true"), "ValidationError"),
        (make("x", proxy, "ProxyProtocol", "maybe"), "ValidationError"),
    ];
    for (input, want) in table {
        let debug = format!("{input:?}");
        assert_eq!(code(policies::create(cx(), input).await), want, "{debug}");
    }
    let on = |port: i32, name: &str| shapes::SetLoadBalancerPoliciesOfListenerInput {
        load_balancer_name: s("web"),
        load_balancer_port: Some(port),
        policy_names: Some(vec![name.into()]),
    };
    for (port, name, want) in [
        (81, "sticky", "ListenerNotFound"),
        (80, "none", "PolicyNotFound"),
        (80, "proxy", "InvalidConfigurationRequest"),
        (25, "sticky", "InvalidConfigurationRequest"),
    ] {
        assert_eq!(code(policies::set_of_listener(cx(), on(port, name)).await), want, "{port} {name}");
    }
    policies::set_of_listener(cx(), on(80, "sticky")).await.unwrap();
    let behind = |port: i32, name: &str| shapes::SetLoadBalancerPoliciesForBackendServerInput {
        load_balancer_name: s("web"),
        instance_port: Some(port),
        policy_names: Some(vec![name.into()]),
    };
    for (port, name, want) in [
        (80, "proxy", "InvalidConfigurationRequest"),
        (8080, "proxy", "InvalidConfigurationRequest"),
        (2525, "sticky", "InvalidConfigurationRequest"),
        (2525, "none", "PolicyNotFound"),
    ] {
        assert_eq!(code(policies::set_for_backend(cx(), behind(port, name)).await), want, "{port} {name}");
    }
    policies::set_for_backend(cx(), behind(2525, "proxy")).await.unwrap();
    let http = shapes::Listener {
        protocol: s("HTTP"),
        load_balancer_port: Some(82),
        instance_port: Some(2525),
        ..Default::default()
    };
    let listeners = shapes::CreateLoadBalancerListenersInput {
        load_balancer_name: s("web"),
        listeners: Some(vec![http]),
    };
    assert_eq!(code(listeners::create(cx(), listeners).await), "InvalidConfigurationRequest");
    let shown = w.described("web").await;
    assert_eq!(shown.listener_descriptions.unwrap()[0].policy_names, Some(vec!["sticky".to_owned()]));
    assert_eq!(shown.backend_server_descriptions.unwrap()[0].instance_port, Some(2525));
    let leaving = |name: &str| shapes::DeleteLoadBalancerPolicyInput {
        load_balancer_name: s("web"),
        policy_name: s(name),
    };
    assert_eq!(code(policies::delete(cx(), leaving("sticky")).await), "InvalidConfigurationRequest");
    let off =
        shapes::SetLoadBalancerPoliciesOfListenerInput { policy_names: Some(Vec::new()), ..on(80, "sticky") };
    policies::set_of_listener(cx(), off).await.unwrap();
    policies::delete(cx(), leaving("sticky")).await.unwrap();
    assert_eq!(code(policies::delete(cx(), leaving("sticky")).await), "PolicyNotFound");
}
