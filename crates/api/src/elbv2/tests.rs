use std::sync::Arc;

use parking_lot::Mutex;
use puffer_core::ec2::{AddressHold, SecurityGroup, Subnet};
use puffer_core::elb::{LoadBalancer, Rule};
use puffer_core::{ManualClock, Timestamp};
use puffer_inventory::bootstrap::{Bootstrap, BootstrapError, bootstrap_account};
use puffer_shapes::elbv2 as shapes;
use puffer_store::{Store, StoreError};
use rand::SeedableRng;

use super::*;
use crate::{ApiError, Ctx};

struct World {
    cx: Arc<Ctx>,
    subnets: Vec<String>,
    vpc: String,
    _dir: tempfile::TempDir,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap();
    let mut rng = rand_pcg::Pcg64::seed_from_u64(1);
    let now = Timestamp::from_secs(1_000_000);
    let wanted = Bootstrap {
        account: "123456789012".into(),
        region: "us-east-1".into(),
        vpc_cidr: "172.31.0.0/16".parse().unwrap(),
        subnet_prefix: 20,
        address_space: "0.0.0.0/0".parse().unwrap(),
        any_image: true,
    };
    store.transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &wanted, now, &mut rng)).await.unwrap();
    let subnets = store.list::<Subnet>();
    let clock = Arc::new(ManualClock::new(now));
    let metrics = dir.path().join("metrics.redb");
    let cx = Ctx {
        endpoint: "127.0.0.1:1".into(),
        account: wanted.account,
        region: wanted.region,
        metrics: puffer_metrics::Metrics::open(&metrics, Arc::clone(&clock) as _, Default::default())
            .unwrap(),
        clock,
        store,
        rng: Mutex::new(Box::new(rng)),
        console: Arc::new(crate::NoConsole),
    };
    World {
        cx: Arc::new(cx),
        vpc: subnets[0].vpc_id.clone(),
        subnets: subnets.iter().map(|s| s.id.clone()).collect(),
        _dir: dir,
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
    result.unwrap_err().code.into_owned()
}

impl World {
    fn balancer(&self, name: &str) -> shapes::CreateLoadBalancerInput {
        shapes::CreateLoadBalancerInput {
            name: Some(name.into()),
            subnets: Some(self.subnets.clone()),
            ..Default::default()
        }
    }

    async fn create_balancer(&self, name: &str) -> shapes::LoadBalancer {
        let created = load_balancers::create(Arc::clone(&self.cx), self.balancer(name)).await.unwrap();
        created.load_balancers.unwrap().remove(0)
    }

    fn group(&self, name: &str) -> shapes::CreateTargetGroupInput {
        shapes::CreateTargetGroupInput {
            name: Some(name.into()),
            protocol: Some("HTTP".into()),
            port: Some(80),
            vpc_id: Some(self.vpc.clone()),
            ..Default::default()
        }
    }

    async fn create_group(&self, name: &str) -> String {
        let created = target_groups::create(Arc::clone(&self.cx), self.group(name)).await.unwrap();
        created.target_groups.unwrap().remove(0).target_group_arn.unwrap()
    }

    async fn create_listener(
        &self,
        balancer: &str,
        port: i32,
        group: &str,
    ) -> Result<shapes::Listener, ApiError> {
        let input = shapes::CreateListenerInput {
            load_balancer_arn: Some(balancer.into()),
            protocol: Some("HTTP".into()),
            port: Some(port),
            default_actions: Some(vec![forward(group)]),
            ..Default::default()
        };
        let created = listeners::create(Arc::clone(&self.cx), input).await?;
        Ok(created.listeners.unwrap().remove(0))
    }

    async fn create_rule(
        &self,
        listener: &str,
        priority: i32,
        group: &str,
    ) -> Result<shapes::Rule, ApiError> {
        let input = shapes::CreateRuleInput {
            listener_arn: Some(listener.into()),
            priority: Some(priority),
            conditions: Some(vec![path("/api/*")]),
            actions: Some(vec![forward(group)]),
            ..Default::default()
        };
        Ok(rules::create(Arc::clone(&self.cx), input).await?.rules.unwrap().remove(0))
    }
}

fn forward(group: &str) -> shapes::Action {
    shapes::Action {
        type_: Some("forward".into()),
        target_group_arn: Some(group.into()),
        ..Default::default()
    }
}

fn path(pattern: &str) -> shapes::RuleCondition {
    shapes::RuleCondition {
        field: Some("path-pattern".into()),
        values: Some(vec![pattern.into()]),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_load_balancer_is_created_once() {
    let w = world().await;
    let first = w.create_balancer("web").await;
    let arn = first.load_balancer_arn.clone().unwrap();
    assert!(arn.starts_with("arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/web/"));
    let dns = first.dns_name.clone().unwrap();
    assert!(dns.starts_with("web-") && dns.ends_with(".us-east-1.elb.amazonaws.com"), "{dns}");
    assert_eq!(first.state.clone().unwrap().code.as_deref(), Some("provisioning"));
    assert_eq!(first.availability_zones.as_ref().unwrap().len(), 3);
    let default_group = &w.cx.store.list::<SecurityGroup>()[0].id;
    assert_eq!(first.security_groups.as_deref(), Some(std::slice::from_ref(default_group)));
    assert_eq!(w.cx.store.list_by::<AddressHold>("holder", &arn).len(), 3);

    assert_eq!(w.create_balancer("web").await, first, "the same again is the same");
    let mut other = w.balancer("web");
    other.scheme = Some("internal".into());
    assert_eq!(code(load_balancers::create(Arc::clone(&w.cx), other).await), "DuplicateLoadBalancerName");
}

#[tokio::test]
async fn what_a_load_balancer_cannot_be() {
    let w = world().await;
    type Change = fn(&mut shapes::CreateLoadBalancerInput);
    let table: &[(&str, Change, &str)] = &[
        ("nlb", |i| i.type_ = Some("network".into()), "OperationNotPermitted"),
        ("one zone", |i| i.subnets.as_mut().unwrap().truncate(1), "ValidationError"),
        ("no subnet", |i| i.subnets = None, "ValidationError"),
        ("absent subnet", |i| i.subnets = Some(vec!["subnet-0".into(); 2]), "SubnetNotFound"),
        (
            "subnet twice",
            |i| {
                let s = i.subnets.as_mut().unwrap();
                s[1] = s[0].clone();
            },
            "InvalidConfigurationRequest",
        ),
        ("bad group", |i| i.security_groups = Some(vec!["sg-0".into()]), "InvalidSecurityGroup"),
        ("bad name", |i| i.name = Some("-web".into()), "ValidationError"),
        ("long name", |i| i.name = Some("a".repeat(33)), "ValidationError"),
        ("reserved name", |i| i.name = Some("internal-web".into()), "ValidationError"),
        ("ipv6", |i| i.ip_address_type = Some("dualstack".into()), "InvalidConfigurationRequest"),
        ("scheme", |i| i.scheme = Some("odd".into()), "InvalidScheme"),
        (
            "tag twice",
            |i| i.tags = Some(vec![shapes::Tag { key: Some("a".into()), value: None }; 2]),
            "DuplicateTagKeys",
        ),
    ];
    for (what, change, want) in table {
        let mut input = w.balancer("web");
        change(&mut input);
        assert_eq!(code(load_balancers::create(Arc::clone(&w.cx), input).await), *want, "{what}");
    }
    assert!(w.cx.store.list::<LoadBalancer>().is_empty());
    assert!(w.cx.store.list::<AddressHold>().is_empty(), "a refused request leaves no address taken");
}

#[tokio::test]
async fn listeners_and_rules() {
    let w = world().await;
    let balancer = w.create_balancer("web").await.load_balancer_arn.unwrap();
    let group = w.create_group("tg").await;
    let listener = w.create_listener(&balancer, 80, &group).await.unwrap();
    assert_eq!(w.create_listener(&balancer, 80, &group).await.unwrap(), listener);
    let other = w.create_group("other").await;
    assert_eq!(code(w.create_listener(&balancer, 80, &other).await), "DuplicateListener");
    assert_eq!(code(w.create_listener(&balancer, 81, "arn:none").await), "TargetGroupNotFound");
    assert_eq!(code(w.create_listener("arn:none", 81, &group).await), "LoadBalancerNotFound");
    let second = w.create_balancer("two").await.load_balancer_arn.unwrap();
    assert_eq!(
        code(w.create_listener(&second, 80, &group).await),
        "TargetGroupAssociationLimit",
        "a group serves one load balancer"
    );

    let arn = listener.listener_arn.clone().unwrap();
    let a = w.create_rule(&arn, 10, &other).await.unwrap();
    assert_eq!(code(w.create_rule(&arn, 10, &other).await), "PriorityInUse");
    assert_eq!(code(w.create_rule(&arn, 50_001, &other).await), "ValidationError");
    let b = w.create_rule(&arn, 20, &other).await.unwrap();
    let describe = shapes::DescribeRulesInput { listener_arn: Some(arn.clone()), ..Default::default() };
    let priorities = |cx: Arc<Ctx>| async {
        let rules = rules::describe(cx, describe.clone()).await.unwrap().rules.unwrap();
        rules.into_iter().map(|r| r.priority.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(priorities(Arc::clone(&w.cx)).await, ["10", "20", "default"]);

    let pair = |rule: &shapes::Rule, priority| shapes::RulePriorityPair {
        rule_arn: rule.rule_arn.clone(),
        priority: Some(priority),
    };
    let set = |pairs| shapes::SetRulePrioritiesInput { rule_priorities: Some(pairs) };
    let clash = set(vec![pair(&a, 20)]);
    assert_eq!(code(rules::set_priorities(Arc::clone(&w.cx), clash).await), "PriorityInUse");
    let swap = set(vec![pair(&a, 20), pair(&b, 10)]);
    rules::set_priorities(Arc::clone(&w.cx), swap).await.unwrap();
    assert_eq!(w.cx.store.get::<Rule>(a.rule_arn.as_ref().unwrap()).unwrap().priority, Some(20));

    let delete = |rule: &str| shapes::DeleteRuleInput { rule_arn: Some(rule.into()) };
    let default_rule = w.cx.store.list_by::<Rule>("listener", &arn);
    let default_rule = default_rule.iter().find(|r| r.priority.is_none()).unwrap();
    let refused = rules::delete(Arc::clone(&w.cx), delete(&default_rule.arn)).await;
    assert_eq!(code(refused), "OperationNotPermitted");
    rules::delete(Arc::clone(&w.cx), delete(a.rule_arn.as_ref().unwrap())).await.unwrap();

    let in_use = shapes::DeleteTargetGroupInput { target_group_arn: Some(group.clone()) };
    assert_eq!(code(target_groups::delete(Arc::clone(&w.cx), in_use.clone()).await), "ResourceInUse");
    let gone = shapes::DeleteListenerInput { listener_arn: Some(arn.clone()) };
    listeners::delete(Arc::clone(&w.cx), gone.clone()).await.unwrap();
    assert!(w.cx.store.list::<Rule>().is_empty(), "rules go with their listener");
    assert_eq!(code(listeners::delete(Arc::clone(&w.cx), gone).await), "ListenerNotFound");
    target_groups::delete(Arc::clone(&w.cx), in_use.clone()).await.unwrap();
    target_groups::delete(Arc::clone(&w.cx), in_use).await.unwrap();
}

#[tokio::test]
async fn tls_is_refused_by_name() {
    let w = world().await;
    let balancer = w.create_balancer("web").await.load_balancer_arn.unwrap();
    let group = w.create_group("tg").await;
    let input = shapes::CreateListenerInput {
        load_balancer_arn: Some(balancer),
        protocol: Some("HTTPS".into()),
        port: Some(443),
        default_actions: Some(vec![forward(&group)]),
        ..Default::default()
    };
    let refused = listeners::create(Arc::clone(&w.cx), input).await.unwrap_err();
    assert_eq!(refused.code, "UnsupportedProtocol");
    assert!(refused.message.contains("TLS"));
}

#[tokio::test]
async fn deletion_keeps_addresses_until_they_are_unused() {
    let w = world().await;
    let arn = w.create_balancer("web").await.load_balancer_arn.unwrap();
    let protect = |value: &str| shapes::ModifyLoadBalancerAttributesInput {
        load_balancer_arn: Some(arn.clone()),
        attributes: Some(vec![shapes::LoadBalancerAttribute {
            key: Some("deletion_protection.enabled".into()),
            value: Some(value.into()),
        }]),
    };
    attributes::modify_load_balancer(Arc::clone(&w.cx), protect("true")).await.unwrap();
    let delete = shapes::DeleteLoadBalancerInput { load_balancer_arn: Some(arn.clone()) };
    let refused = load_balancers::delete(Arc::clone(&w.cx), delete.clone()).await;
    assert_eq!(code(refused), "OperationNotPermitted");
    attributes::modify_load_balancer(Arc::clone(&w.cx), protect("false")).await.unwrap();
    load_balancers::delete(Arc::clone(&w.cx), delete.clone()).await.unwrap();
    load_balancers::delete(Arc::clone(&w.cx), delete).await.unwrap();
    let describe = shapes::DescribeLoadBalancersInput {
        load_balancer_arns: Some(vec![arn.clone()]),
        ..Default::default()
    };
    assert_eq!(code(load_balancers::describe(Arc::clone(&w.cx), describe).await), "LoadBalancerNotFound");
    let holds = w.cx.store.list_by::<AddressHold>("holder", &arn);
    assert!(holds.len() == 3 && holds.iter().all(|h| h.releasing_since.is_some()));
}

#[tokio::test]
async fn subnets_change_and_kept_nodes_stay() {
    let w = world().await;
    let balancer = w.create_balancer("web").await.load_balancer_arn.unwrap();
    let before = w.cx.store.get::<LoadBalancer>(&balancer).unwrap().nodes.clone();
    let input = shapes::SetSubnetsInput {
        load_balancer_arn: Some(balancer.clone()),
        subnets: Some(before[..2].iter().map(|n| n.subnet_id.clone()).collect()),
        ..Default::default()
    };
    network::set_subnets(Arc::clone(&w.cx), input).await.unwrap();
    assert_eq!(w.cx.store.get::<LoadBalancer>(&balancer).unwrap().nodes, before[..2]);
    let holds = w.cx.store.list_by::<AddressHold>("holder", &balancer);
    assert_eq!(holds.iter().filter(|h| h.releasing_since.is_some()).count(), 1);
}

#[tokio::test]
async fn target_groups_and_targets() {
    let w = world().await;
    let group = w.create_group("tg").await;
    assert_eq!(w.create_group("tg").await, group);
    type Change = fn(&mut shapes::CreateTargetGroupInput);
    let table: &[(&str, Change, &str)] = &[
        ("other port", |i| i.port = Some(81), "DuplicateTargetGroupName"),
        ("vpc", |i| (i.name, i.vpc_id) = (Some("x".into()), Some("vpc-0".into())), "ValidationError"),
        ("tcp", |i| i.protocol = Some("TCP".into()), "InvalidConfigurationRequest"),
        ("grpc", |i| i.protocol_version = Some("GRPC".into()), "InvalidConfigurationRequest"),
        ("interval", |i| i.health_check_interval_seconds = Some(4), "ValidationError"),
        (
            "timeout",
            |i| {
                i.health_check_interval_seconds = Some(10);
                i.health_check_timeout_seconds = Some(10);
            },
            "ValidationError",
        ),
        ("path", |i| i.health_check_path = Some("x".into()), "ValidationError"),
        (
            "matcher",
            |i| i.matcher = Some(shapes::Matcher { http_code: Some("500".into()), grpc_code: None }),
            "ValidationError",
        ),
        ("lambda", |i| i.target_type = Some("lambda".into()), "InvalidConfigurationRequest"),
    ];
    for (what, change, want) in table {
        let mut input = w.group("tg");
        change(&mut input);
        assert_eq!(code(target_groups::create(Arc::clone(&w.cx), input).await), *want, "{what}");
    }

    let mut ip_group = w.group("ips");
    ip_group.target_type = Some("ip".into());
    let created = target_groups::create(Arc::clone(&w.cx), ip_group).await.unwrap();
    let ips = created.target_groups.unwrap().remove(0).target_group_arn.unwrap();
    let target = |id: &str, zone: Option<&str>| shapes::TargetDescription {
        id: Some(id.into()),
        availability_zone: zone.map(str::to_owned),
        ..Default::default()
    };
    let register = |group: &str, t| shapes::RegisterTargetsInput {
        target_group_arn: Some(group.into()),
        targets: Some(vec![t]),
    };
    let table = [
        (&ips, target("172.31.0.9", None), None),
        (&ips, target("10.0.0.9", Some("all")), None),
        (&ips, target("10.0.0.9", None), Some("ValidationError")),
        (&ips, target("8.8.8.8", Some("all")), Some("InvalidTarget")),
        (&ips, target("i-1", None), Some("ValidationError")),
        (&group, target("i-0123456789abcdef0", None), Some("InvalidTarget")),
    ];
    for (group, t, want) in table {
        let got = targets::register(Arc::clone(&w.cx), register(group, t.clone())).await;
        assert_eq!(got.err().map(|e| e.code.into_owned()).as_deref(), want, "{t:?}");
    }
    let health = shapes::DescribeTargetHealthInput {
        target_group_arn: Some(ips.clone()),
        targets: Some(vec![target("172.31.0.9", None), target("172.31.0.10", None)]),
        ..Default::default()
    };
    let shown = targets::describe_health(Arc::clone(&w.cx), health).await.unwrap();
    let shown: Vec<_> = shown.target_health_descriptions.unwrap();
    let reasons: Vec<_> = shown.iter().map(|d| d.target_health.clone().unwrap().reason.unwrap()).collect();
    assert_eq!(reasons, ["Target.NotInUse", "Target.NotRegistered"]);
}

#[test]
fn actions_from_the_wire() {
    let tuple = |arn: &str, weight| shapes::TargetGroupTuple {
        target_group_arn: Some(arn.into()),
        weight: Some(weight),
    };
    let weighted = |tuples| shapes::Action {
        type_: Some("forward".into()),
        forward_config: Some(shapes::ForwardActionConfig {
            target_groups: Some(tuples),
            ..Default::default()
        }),
        ..Default::default()
    };
    let redirect = |config| shapes::Action {
        type_: Some("redirect".into()),
        redirect_config: Some(config),
        ..Default::default()
    };
    let to_https = shapes::RedirectActionConfig {
        protocol: Some("HTTPS".into()),
        port: Some("443".into()),
        status_code: Some("HTTP_301".into()),
        ..Default::default()
    };
    let same = shapes::RedirectActionConfig { status_code: Some("HTTP_302".into()), ..Default::default() };
    let fixed = |status: &str| shapes::Action {
        type_: Some("fixed-response".into()),
        fixed_response_config: Some(shapes::FixedResponseActionConfig {
            status_code: Some(status.into()),
            content_type: Some("text/plain".into()),
            message_body: Some("no".into()),
        }),
        ..Default::default()
    };
    let oidc = shapes::Action { type_: Some("authenticate-oidc".into()), ..Default::default() };
    let table = [
        (vec![forward("a")], None),
        (vec![weighted(vec![tuple("a", 1), tuple("b", 999)])], None),
        (vec![weighted(vec![tuple("a", 1000)])], Some("ValidationError")),
        (vec![weighted(vec![tuple("a", 1), tuple("a", 1)])], Some("InvalidLoadBalancerAction")),
        (vec![weighted((0..6).map(|n| tuple(&n.to_string(), 1)).collect())], Some("TooManyTargetGroups")),
        (vec![redirect(to_https)], None),
        (vec![redirect(same)], Some("InvalidLoadBalancerAction")),
        (vec![fixed("503")], None),
        (vec![fixed("302")], Some("ValidationError")),
        (vec![oidc], Some("InvalidLoadBalancerAction")),
        (vec![], Some("ValidationError")),
        (vec![forward("a"), forward("b")], Some("InvalidLoadBalancerAction")),
    ];
    for (given, want) in table {
        let got = actions::parse(Some(given.clone()));
        if let Ok(parsed) = &got {
            let shown: Vec<_> = parsed.iter().map(view::action).collect();
            assert_eq!(actions::parse(Some(shown)).unwrap(), *parsed, "what is shown can be sent back");
        }
        assert_eq!(got.err().map(|e| e.code.into_owned()).as_deref(), want, "{given:?}");
    }
}

#[test]
fn conditions_from_the_wire() {
    let plain = |field: &str, values: &[&str]| shapes::RuleCondition {
        field: Some(field.into()),
        values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
        ..Default::default()
    };
    let header = shapes::RuleCondition {
        field: Some("http-header".into()),
        http_header_config: Some(shapes::HttpHeaderConditionConfig {
            http_header_name: Some("User-Agent".into()),
            values: Some(vec!["*Firefox*".into()]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let pair = shapes::QueryStringKeyValuePair { key: None, value: Some("1".into()) };
    let query = shapes::RuleCondition {
        query_string_config: Some(shapes::QueryStringConditionConfig { values: Some(vec![pair]) }),
        ..Default::default()
    };
    let table = [
        (vec![path("/a/*")], true),
        (vec![plain("host-header", &["*.example.com", "b"])], true),
        (vec![plain("http-request-method", &["GET"])], true),
        (vec![plain("http-request-method", &["get it"])], false),
        (vec![plain("source-ip", &["10.0.0.0/8"])], true),
        (vec![plain("source-ip", &["10.0.0.1"])], false),
        (vec![header.clone(), header], true),
        (vec![query], true),
        (vec![path("/a"), path("/b")], false),
        (vec![plain("path-pattern", &["1", "2", "3", "4", "5", "6"])], false),
        (vec![plain("path-pattern", &["******"])], false),
        (vec![plain("path-pattern", &[])], false),
        (vec![plain("colour", &["red"])], false),
        (vec![], false),
    ];
    for (given, good) in table {
        let got = conditions::parse(Some(given.clone()));
        assert_eq!(got.is_ok(), good, "{given:?}: {got:?}");
        if let Ok(parsed) = got {
            let shown: Vec<_> = parsed.iter().map(view::condition).collect();
            assert_eq!(conditions::parse(Some(shown)).unwrap(), parsed, "what is shown can be sent back");
        }
    }
}

#[tokio::test]
async fn tags_of_every_kind() {
    let w = world().await;
    let balancer = w.create_balancer("web").await.load_balancer_arn.unwrap();
    let group = w.create_group("tg").await;
    let listener = w.create_listener(&balancer, 80, &group).await.unwrap().listener_arn.unwrap();
    let rule = w.create_rule(&listener, 1, &group).await.unwrap().rule_arn.unwrap();
    let arns = vec![balancer, group, listener, rule];
    let tag = shapes::Tag { key: Some("a".into()), value: Some("1".into()) };
    let add = shapes::AddTagsInput { resource_arns: Some(arns.clone()), tags: Some(vec![tag.clone()]) };
    tags::add(Arc::clone(&w.cx), add).await.unwrap();
    let describe = shapes::DescribeTagsInput { resource_arns: Some(arns.clone()) };
    let shown = tags::describe(Arc::clone(&w.cx), describe.clone()).await.unwrap();
    let shown = shown.tag_descriptions.unwrap();
    assert!(shown.len() == 4 && shown.iter().all(|d| d.tags.as_deref() == Some(std::slice::from_ref(&tag))));
    let remove =
        shapes::RemoveTagsInput { resource_arns: Some(arns), tag_keys: Some(vec!["a".into(), "b".into()]) };
    tags::remove(Arc::clone(&w.cx), remove).await.unwrap();
    let shown = tags::describe(Arc::clone(&w.cx), describe).await.unwrap().tag_descriptions.unwrap();
    assert!(shown.iter().all(|d| d.tags.as_ref().unwrap().is_empty()));
    let many = (0..51).map(|n| shapes::Tag { key: Some(n.to_string()), value: None }).collect();
    assert_eq!(code(tags::parse(Some(many))), "TooManyTags");
    let reserved = vec![shapes::Tag { key: Some("aws:x".into()), value: None }];
    assert_eq!(code(tags::parse(Some(reserved))), "ValidationError");
}

#[tokio::test]
async fn a_failed_store_is_an_internal_error() {
    assert_eq!(ApiError::from(StoreError::Closed).code, "InternalFailure");
}
