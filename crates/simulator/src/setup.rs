//! How a world begins and how its users tidy up after the storm.

use std::sync::Arc;

use puffer_core::ec2::{Account, Subnet, Vpc};
use puffer_inventory::zones::{self, ZoneError};
use puffer_store::Transaction;

use crate::client::{Client, Refused};
use crate::load::BYTES_PER_CPU_S;
use crate::mix::borrowed;
use crate::operator;
use crate::plan::{GroupPlan, Ingredient, PolicyPlan, ZONES};
use crate::world::World;

/// Any well-formed image id launches.
pub(crate) const AMI: &str = "ami-0123456789abcdef0";
/// Another one, for whom a refresh gives new root volumes.
pub(crate) const OTHER_AMI: &str = "ami-0fedcba9876543210";
/// The topic that groups may tell, and the queue behind it.
pub(crate) const TOPIC_ARN: &str = "arn:aws:sns:us-east-1:123456789012:told";
pub(crate) const QUEUE_URL: &str = "http://127.0.0.1:80/123456789012/told";
const QUEUE_ARN: &str = "arn:aws:sqs:us-east-1:123456789012:told";
/// Attempts of a user whose request the disk refuses or whose group is busy.
const ATTEMPTS: usize = 5;

type Done = Result<(), String>;

fn ok<T>(what: &str, result: Result<T, Refused>) -> Result<T, String> {
    result.map_err(|e| format!("{what}: {e}"))
}

/// Templates, load balancers, groups and policies of the plan.
pub(crate) async fn set_up(world: &Arc<World>, client: &Client) -> Done {
    let template = [
        ("LaunchTemplateName", "web"),
        ("LaunchTemplateData.ImageId", AMI),
        ("LaunchTemplateData.InstanceType", "t2.micro"),
        ("LaunchTemplateData.Monitoring.Enabled", "true"),
    ];
    ok("template", client.ec2("CreateLaunchTemplate", &template).await)?;
    let configuration = [("LaunchConfigurationName", "web"), ("ImageId", AMI), ("InstanceType", "t2.micro")];
    ok("configuration", client.autoscaling("CreateLaunchConfiguration", &configuration).await)?;
    if world.plan.has(Ingredient::Notifications) {
        listen(client).await?;
    }
    for group in &world.plan.groups {
        match (group.has_target_group, group.is_classic) {
            (true, true) => balance_classic(client, &group.name).await?,
            (true, false) => balance(world, client, &group.name).await?,
            (false, _) => {}
        }
        ok("group", make_group(world, client, group).await)?;
        put_policies(client, group).await?;
    }
    Ok(())
}

/// A topic with a queue behind it.
async fn listen(client: &Client) -> Done {
    ok("topic", client.sns("CreateTopic", &[("Name", "told")]).await)?;
    let service = &puffer_shapes::sqs::SERVICE;
    ok("queue", client.json(service, "CreateQueue", br#"{"QueueName": "told"}"#).await)?;
    let subscription = [
        ("TopicArn", TOPIC_ARN),
        ("Protocol", "sqs"),
        ("Endpoint", QUEUE_ARN),
        ("Attributes.entry.1.key", "RawMessageDelivery"),
        ("Attributes.entry.1.value", "true"),
    ];
    ok("subscription", client.sns("Subscribe", &subscription).await).map(drop)
}

/// Ids of the default subnets in these zones.
pub(crate) fn subnets_of(world: &World, zones: &[&str]) -> Vec<String> {
    subnets(world).into_iter().filter(|(z, _)| zones.contains(&z.as_str())).map(|(_, id)| id).collect()
}

/// Ids of the default subnets, by zone.
fn subnets(world: &World) -> Vec<(String, String)> {
    let Some(server) = world.server() else { return Vec::new() };
    let vpc = server.store.get::<Account>(Account::KEY).and_then(|a| a.default_vpc_id.clone());
    let of_vpc = |s: &Arc<Subnet>| Some(&s.vpc_id) == vpc.as_ref();
    let mut subnets: Vec<(String, String)> = server
        .store
        .list::<Subnet>()
        .into_iter()
        .filter(of_vpc)
        .map(|s| (s.zone.clone(), s.id.clone()))
        .collect();
    subnets.sort();
    subnets
}

async fn balance(world: &Arc<World>, client: &Client, group: &str) -> Done {
    let Some(server) = world.server() else { return Err("the server is away".into()) };
    let vpc = server.store.list::<Vpc>().first().map(|v| v.id.clone()).unwrap_or_default();
    let target_group = [
        ("Name", group),
        ("Protocol", "HTTP"),
        ("Port", "80"),
        ("VpcId", &*vpc),
        ("HealthCheckIntervalSeconds", "5"),
        ("HealthCheckTimeoutSeconds", "2"),
        ("HealthyThresholdCount", "2"),
        ("UnhealthyThresholdCount", "2"),
    ];
    let made = ok("target group", client.elbv2("CreateTargetGroup", &target_group).await)?;
    let arn = made.text("TargetGroupArn").unwrap_or_default().to_owned();
    let delay = [
        ("TargetGroupArn", &*arn),
        ("Attributes.member.1.Key", "deregistration_delay.timeout_seconds"),
        ("Attributes.member.1.Value", "15"),
    ];
    ok("attributes", client.elbv2("ModifyTargetGroupAttributes", &delay).await)?;
    let subnets = subnets(world);
    let names: Vec<String> = (1..=subnets.len()).map(|n| format!("Subnets.member.{n}")).collect();
    let mut balancer = vec![("Name", group)];
    balancer.extend(names.iter().zip(&subnets).map(|(name, (_, id))| (name.as_str(), id.as_str())));
    let made = ok("load balancer", client.elbv2("CreateLoadBalancer", &balancer).await)?;
    let listener = [
        ("LoadBalancerArn", made.text("LoadBalancerArn").unwrap_or_default()),
        ("Protocol", "HTTP"),
        ("Port", "80"),
        ("DefaultActions.member.1.Type", "forward"),
        ("DefaultActions.member.1.TargetGroupArn", &*arn),
    ];
    ok("listener", client.elbv2("CreateListener", &listener).await).map(drop)
}

/// A classic load balancer of the group's name.
async fn balance_classic(client: &Client, group: &str) -> Done {
    let name = ("LoadBalancerName", group);
    let zones: Vec<String> = (1..=ZONES.len()).map(|n| format!("AvailabilityZones.member.{n}")).collect();
    let mut balancer = vec![
        name,
        ("Listeners.member.1.Protocol", "HTTP"),
        ("Listeners.member.1.LoadBalancerPort", "80"),
        ("Listeners.member.1.InstancePort", "80"),
    ];
    balancer.extend(zones.iter().map(String::as_str).zip(ZONES.iter().copied()));
    ok("classic load balancer", client.elb("CreateLoadBalancer", &balancer).await)?;
    let check = [
        name,
        ("HealthCheck.Target", "HTTP:80/"),
        ("HealthCheck.Interval", "5"),
        ("HealthCheck.Timeout", "2"),
        ("HealthCheck.UnhealthyThreshold", "2"),
        ("HealthCheck.HealthyThreshold", "2"),
    ];
    ok("health check", client.elb("ConfigureHealthCheck", &check).await)?;
    let draining = [
        name,
        ("LoadBalancerAttributes.ConnectionDraining.Enabled", "true"),
        ("LoadBalancerAttributes.ConnectionDraining.Timeout", "15"),
    ];
    ok("attributes", client.elb("ModifyLoadBalancerAttributes", &draining).await).map(drop)
}

/// Makes a group of the plan, at the beginning or again after it was deleted.
pub(crate) async fn make_group(
    world: &Arc<World>,
    client: &Client,
    group: &GroupPlan,
) -> Result<(), Refused> {
    let subnets = subnets_of(world, &ZONES[..group.zones]);
    let numbers =
        [group.min, group.max, group.desired, group.grace_s, group.cooldown_s].map(|n| n.to_string());
    let [min, max, desired, grace, cooldown] = &numbers;
    let subnets = subnets.join(",");
    let mut params = vec![
        ("AutoScalingGroupName", group.name.as_str()),
        ("MinSize", min),
        ("MaxSize", max),
        ("DesiredCapacity", desired),
        ("VPCZoneIdentifier", &subnets),
        ("HealthCheckGracePeriod", grace),
        ("DefaultCooldown", cooldown),
        ("TerminationPolicies.member.1", group.termination_policy),
        ("NewInstancesProtectedFromScaleIn", if group.protects_new { "true" } else { "false" }),
    ];
    let mix = group.mix.as_ref().map(|m| m.params("MixedInstancesPolicy", m.version()));
    if let Some(mix) = &mix {
        params.extend(borrowed(mix));
    } else if group.by_configuration {
        params.push(("LaunchConfigurationName", "web"));
    } else {
        params.push(("LaunchTemplate.LaunchTemplateName", "web"));
        params.push(("LaunchTemplate.Version", "$Latest"));
    }
    if group.mix.as_ref().is_some_and(|m| m.rebalances) {
        params.push(("CapacityRebalance", "true"));
    }
    let maintenance = group.maintenance.map(|(min, max)| (min.to_string(), max.to_string()));
    if let Some((min, max)) = &maintenance {
        params.push(("InstanceMaintenancePolicy.MinHealthyPercentage", min));
        params.push(("InstanceMaintenancePolicy.MaxHealthyPercentage", max));
    }
    let warmup = group.warmup_s.map(|s| s.to_string());
    if let Some(warmup) = &warmup {
        params.push(("DefaultInstanceWarmup", warmup));
    }
    if group.health_check_elb {
        params.push(("HealthCheckType", "ELB"));
    }
    let period = group.metric_period_s.map(|s| s.to_string());
    let mut tags: Vec<(&str, &str)> = Vec::new();
    tags.extend(period.as_ref().map(|period| ("puffer:metric-period", period.as_str())));
    if group.mix.as_ref().is_some_and(|m| m.falls_back) {
        tags.push(("puffer:on-demand-fallback", "true"));
    }
    if group.cancels_drain {
        tags.push(("puffer:cancel-drain", "true"));
    }
    let names: Vec<[String; 2]> =
        (1..=tags.len()).map(|n| ["Key", "Value"].map(|part| format!("Tags.member.{n}.{part}"))).collect();
    for ([key, value], tag) in names.iter().zip(&tags) {
        params.extend([(key.as_str(), tag.0), (value.as_str(), tag.1)]);
    }
    let target_group = target_group_of(world, &group.name).filter(|_| group.has_target_group);
    match &target_group {
        Some(_) if group.is_classic => params.push(("LoadBalancerNames.member.1", &group.name)),
        Some(arn) => params.push(("TargetGroupARNs.member.1", arn)),
        None => {}
    }
    client.autoscaling("CreateAutoScalingGroup", &params).await.map(drop)
}

/// The target group that was made for a group.
pub(crate) fn target_group_of(world: &World, name: &str) -> Option<String> {
    let server = world.server()?;
    let all = server.store.list::<puffer_core::elb::TargetGroup>();
    let is_its = |own: &str| own == name || own.strip_prefix("classic/") == Some(name);
    all.iter().find(|t| is_its(&t.name)).map(|t| t.arn.clone())
}

/// The policies of a group of the plan, with alarms for those that need some.
pub(crate) async fn put_policies(client: &Client, group: &GroupPlan) -> Done {
    match group.policy {
        PolicyPlan::None => Ok(()),
        PolicyPlan::Tracking(target) => {
            // The same need, seen by two metrics: what an instance sends goes with what it computes.
            let bytes = target / 100.0 * 60.0 * BYTES_PER_CPU_S;
            for (name, metric, target) in
                [("cpu", "ASGAverageCPUUtilization", target), ("net", "ASGAverageNetworkOut", bytes)]
            {
                let target = target.to_string();
                let params = [
                    ("AutoScalingGroupName", group.name.as_str()),
                    ("PolicyName", name),
                    ("PolicyType", "TargetTrackingScaling"),
                    (
                        "TargetTrackingConfiguration.PredefinedMetricSpecification.PredefinedMetricType",
                        metric,
                    ),
                    ("TargetTrackingConfiguration.TargetValue", &target),
                ];
                ok("policy", client.autoscaling("PutScalingPolicy", &params).await)?;
            }
            Ok(())
        }
        PolicyPlan::Simple => {
            for (name, adjustment, cooldown) in [("out", "2", Some("40")), ("in", "-1", None)] {
                let mut params = vec![
                    ("AutoScalingGroupName", group.name.as_str()),
                    ("PolicyName", name),
                    ("PolicyType", "SimpleScaling"),
                    ("AdjustmentType", "ChangeInCapacity"),
                    ("ScalingAdjustment", adjustment),
                ];
                params.extend(cooldown.map(|s| ("Cooldown", s)));
                let put = ok("policy", client.autoscaling("PutScalingPolicy", &params).await)?;
                alarm(client, group, name, put.text("PolicyARN").unwrap_or_default()).await?;
            }
            Ok(())
        }
        PolicyPlan::Step => {
            for (name, adjustment, bound) in
                [("out", "40", "MetricIntervalLowerBound"), ("in", "-30", "MetricIntervalUpperBound")]
            {
                let bound = format!("StepAdjustments.member.1.{bound}");
                let params = [
                    ("AutoScalingGroupName", group.name.as_str()),
                    ("PolicyName", name),
                    ("PolicyType", "StepScaling"),
                    ("AdjustmentType", "PercentChangeInCapacity"),
                    ("MinAdjustmentMagnitude", "1"),
                    (&bound, "0"),
                    ("StepAdjustments.member.1.ScalingAdjustment", adjustment),
                ];
                let put = ok("policy", client.autoscaling("PutScalingPolicy", &params).await)?;
                alarm(client, group, name, put.text("PolicyARN").unwrap_or_default()).await?;
            }
            Ok(())
        }
    }
}

async fn alarm(client: &Client, group: &GroupPlan, side: &str, policy: &str) -> Done {
    let name = format!("{}-{side}", group.name);
    let (comparison, threshold) = match side {
        "out" => ("GreaterThanThreshold", "60"),
        _ => ("LessThanThreshold", "25"),
    };
    let params = [
        ("AlarmName", name.as_str()),
        ("Namespace", "AWS/EC2"),
        ("MetricName", "CPUUtilization"),
        ("Dimensions.member.1.Name", "AutoScalingGroupName"),
        ("Dimensions.member.1.Value", &group.name),
        ("Statistic", "Average"),
        ("Period", "60"),
        ("EvaluationPeriods", "1"),
        ("Threshold", threshold),
        ("ComparisonOperator", comparison),
        ("AlarmActions.member.1", policy),
    ];
    ok("alarm", client.cloudwatch("PutMetricAlarm", &params).await).map(drop)
}

/// After the storm: processes run again and nothing is protected, so that every group can be what is wanted of it.
pub(crate) async fn tidy(world: &Arc<World>, client: &Client) {
    if let Some(server) = world.server() {
        let now = server.clock.now();
        let up = |tx: &mut Transaction<'_>| {
            ZONES.iter().try_for_each(|zone| zones::set_down(tx, zone, false, now).map(|_| ()))
        };
        if let Err(error) = server.store.transact::<_, ZoneError>(up).await {
            world.note(format_args!("the zones stay down: {error}"));
        }
    }
    let names: Vec<String> = world.state.lock().view.groups.keys().cloned().collect();
    for name in names {
        // A hook that abandons each launch would keep its group from ever being what is wanted.
        for hook in ["launching", "terminating"] {
            let params = [("AutoScalingGroupName", &*name), ("LifecycleHookName", hook)];
            let _ = client.autoscaling("DeleteLifecycleHook", &params).await;
        }
        for action in ["s0", "s1", "s2"] {
            let params = [("AutoScalingGroupName", &*name), ("ScheduledActionName", action)];
            let _ = client.autoscaling("DeleteScheduledAction", &params).await;
        }
        let pool = [("AutoScalingGroupName", &*name), ("ForceDelete", "true")];
        let _ = client.autoscaling("DeleteWarmPool", &pool).await;
        let _ = client.autoscaling("CancelInstanceRefresh", &[("AutoScalingGroupName", &*name)]).await;
        for _ in 0..ATTEMPTS {
            if client.autoscaling("ResumeProcesses", &[("AutoScalingGroupName", &name)]).await.is_ok() {
                break;
            }
        }
        operator::shift(world, &name, None).await;
        let update = [("AutoScalingGroupName", &*name), ("NewInstancesProtectedFromScaleIn", "false")];
        let _ = client.autoscaling("UpdateAutoScalingGroup", &update).await;
        let ids: Vec<String> =
            world.state.lock().view.members_of(&name).map(|m| m.instance_id.clone()).collect();
        for id in ids {
            let params = [
                ("AutoScalingGroupName", &*name),
                ("InstanceIds.member.1", &*id),
                ("ProtectedFromScaleIn", "false"),
            ];
            let _ = client.autoscaling("SetInstanceProtection", &params).await;
        }
    }
}
