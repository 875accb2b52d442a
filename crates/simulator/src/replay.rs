//! A load, recorded or made up, against scaling policies: what the group would have done. The same control plane as in every
//! world, with nothing going wrong: the policies, alarms and metrics that would run on machines, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use puffer_core::autoscaling::LifecycleState;
use puffer_store::Store;
use serde::Serialize;
use serde_json::Value;

use crate::client::{Client, Refused};
use crate::plan::Plan;
use crate::server;
use crate::setup::AMI;
use crate::view::count;
use crate::world::World;

/// The group's name.
const GROUP: &str = "replay";
/// Time before the trace begins, so that the first instances run and their first metrics are in, seconds.
const LEAD_S: i64 = 300;

/// What is replayed.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Bounds and first capacity.
    pub min: u32,
    /// As above.
    pub max: u32,
    /// As above.
    pub desired: u32,
    /// From launch to running.
    pub boot: Duration,
    /// `DefaultInstanceWarmup`.
    pub warmup_s: Option<u32>,
    /// `DefaultCooldown`.
    pub cooldown_s: Option<u32>,
    /// `puffer:metric-period`.
    pub metric_period_s: Option<u32>,
    /// Policies as `PutScalingPolicy` takes them, in JSON.
    pub policies: Vec<Vec<u8>>,
    /// Alarms as `PutMetricAlarm` takes them, in JSON; an action that names a policy gets its ARN.
    pub alarms: Vec<Vec<u8>>,
    /// Load that keeps one instance fully busy.
    pub capacity: f64,
    /// Seconds from the beginning, and the load from then on; in order.
    pub load: Vec<(i64, f64)>,
    /// CPU above which time counts as over the target, percent.
    pub target: f64,
    /// Between two samples, seconds.
    pub every_s: i64,
}

/// The group at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds from the beginning of the trace.
    pub at_s: i64,
    /// Load.
    pub load: f64,
    /// Wanted instances.
    pub desired: u32,
    /// Instances in service.
    pub in_service: u32,
    /// What the load asks of each instance in service, percent of what it can do; beyond 100 it cannot.
    pub utilization: f64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Replay {
    /// Samples in order.
    pub samples: Vec<Sample>,
    /// Seconds replayed.
    pub lasted_s: i64,
    /// Hours of running instances.
    pub instance_hours: f64,
    /// Most instances in service.
    pub peak: u32,
    /// Times that the wanted capacity changed.
    pub n_changes: u32,
    /// Seconds in which instances were asked for more than the target.
    pub over_target_s: i64,
    /// Seconds in which they were asked for more than they can do.
    pub overloaded_s: i64,
}

/// Replays a scenario.
pub fn replay(scenario: &Scenario) -> Result<Replay, String> {
    let world = World::new(Plan::quiet(scenario.boot));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|e| e.to_string())?;
    let result = runtime.block_on(async {
        world.time.begin();
        let result = live(&world, scenario).await;
        world.set_server(None);
        world.time.end();
        result
    });
    drop(runtime);
    if let Some(violation) = world.state.lock().violation.take() {
        return Err(format!("a defect of Puffer: {violation}"));
    }
    result
}

async fn live(world: &Arc<World>, scenario: &Scenario) -> Result<Replay, String> {
    let opened = Store::on(&world.disk, &puffer_inventory::schema());
    let (store, commits) = opened.map_err(|e| e.to_string())?;
    tokio::spawn(server::commit(Arc::clone(world), Arc::new(commits)));
    world.set_server(Some(server::start(world, store, 1).await?));
    let client = Client::new(world);
    set_up(&client, scenario).await?;
    run(world, scenario).await
}

async fn set_up(client: &Client, scenario: &Scenario) -> Result<(), String> {
    let said = |what: &str, e: Refused| format!("{what}: {e}");
    let template = [
        ("LaunchTemplateName", GROUP),
        ("LaunchTemplateData.ImageId", AMI),
        ("LaunchTemplateData.InstanceType", "t2.micro"),
        ("LaunchTemplateData.Monitoring.Enabled", "true"),
    ];
    client.ec2("CreateLaunchTemplate", &template).await.map_err(|e| said("the launch template", e))?;
    let text = |n: u32| n.to_string();
    let (min, max, desired) = (text(scenario.min), text(scenario.max), text(scenario.desired));
    let mut params = vec![
        ("AutoScalingGroupName", GROUP),
        ("LaunchTemplate.LaunchTemplateName", GROUP),
        ("MinSize", &min),
        ("MaxSize", &max),
        ("DesiredCapacity", &desired),
        ("AvailabilityZones.member.1", "us-east-1a"),
    ];
    let [warmup, cooldown, period] =
        [scenario.warmup_s, scenario.cooldown_s, scenario.metric_period_s].map(|s| s.map(text));
    params.extend(warmup.iter().map(|s| ("DefaultInstanceWarmup", s.as_str())));
    params.extend(cooldown.iter().map(|s| ("DefaultCooldown", s.as_str())));
    if let Some(period) = &period {
        params.push(("Tags.member.1.Key", "puffer:metric-period"));
        params.push(("Tags.member.1.Value", period));
    }
    client.autoscaling("CreateAutoScalingGroup", &params).await.map_err(|e| said("the group", e))?;
    let mut arns: Vec<(String, String)> = Vec::new();
    for (n, policy) in scenario.policies.iter().enumerate() {
        let mut body: Value = serde_json::from_slice(policy).map_err(|e| format!("policy {}: {e}", n + 1))?;
        body["AutoScalingGroupName"] = GROUP.into();
        let name = body["PolicyName"].as_str().map_or_else(|| format!("policy-{}", n + 1), str::to_owned);
        body["PolicyName"] = name.clone().into();
        let service = &puffer_shapes::autoscaling::SERVICE;
        let put = client.json(service, "PutScalingPolicy", body.to_string().as_bytes()).await;
        let put = put.map_err(|e| said(&format!("policy {name}"), e))?;
        arns.push((name, put.text("PolicyARN").unwrap_or_default().to_owned()));
    }
    for (n, alarm) in scenario.alarms.iter().enumerate() {
        let mut body: Value = serde_json::from_slice(alarm).map_err(|e| format!("alarm {}: {e}", n + 1))?;
        for actions in ["AlarmActions", "OKActions", "InsufficientDataActions"] {
            for action in body[actions].as_array_mut().into_iter().flatten() {
                if let Some((_, arn)) = arns.iter().find(|(name, _)| Some(name.as_str()) == action.as_str()) {
                    *action = arn.clone().into();
                }
            }
        }
        // A group's own metric, whatever the group was called where the alarm comes from.
        for dimension in body["Dimensions"].as_array_mut().into_iter().flatten() {
            if dimension["Name"] == "AutoScalingGroupName" {
                dimension["Value"] = GROUP.into();
            }
        }
        let service = &puffer_shapes::cloudwatch::SERVICE;
        let put = client.json(service, "PutMetricAlarm", body.to_string().as_bytes()).await;
        put.map_err(|e| said(&format!("alarm {}", n + 1), e))?;
    }
    Ok(())
}

async fn run(world: &Arc<World>, scenario: &Scenario) -> Result<Replay, String> {
    let (Some(first), Some(last)) = (scenario.load.first(), scenario.load.last()) else {
        return Err("the trace holds no load".to_owned());
    };
    let mut replay = Replay {
        samples: Vec::new(),
        lasted_s: last.0 - first.0,
        instance_hours: 0.0,
        peak: 0,
        n_changes: 0,
        over_target_s: 0,
        overloaded_s: 0,
    };
    let (mut next, mut load) = (0, first.1);
    let mut desired_before = None;
    for at_s in first.0 - LEAD_S..=last.0 {
        while let Some((from, value)) = scenario.load.get(next)
            && *from <= at_s
        {
            (load, next) = (*value, next + 1);
        }
        world.state.lock().load.set(GROUP, load / scenario.capacity);
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.second();
        if world.state.lock().violation.is_some() {
            break;
        }
        if at_s < first.0 {
            continue;
        }
        let sample = sample(world, scenario, at_s - first.0, load);
        let n_machines = world.state.lock().machines.by_id.len();
        replay.instance_hours += n_machines as f64 / 3600.0;
        replay.peak = replay.peak.max(sample.in_service);
        replay.n_changes += u32::from(desired_before.is_some_and(|d| d != sample.desired));
        desired_before = Some(sample.desired);
        replay.over_target_s += i64::from(sample.utilization > scenario.target);
        replay.overloaded_s += i64::from(sample.utilization > 100.0);
        if (at_s - first.0) % scenario.every_s.max(1) == 0 || at_s == last.0 {
            replay.samples.push(sample);
        }
    }
    Ok(replay)
}

fn sample(world: &World, scenario: &Scenario, at_s: i64, load: f64) -> Sample {
    let state = world.state.lock();
    let desired = state.view.groups.get(GROUP).map_or(0, |g| g.desired);
    let in_service = count(state.view.members_of(GROUP).filter(|m| m.state == LifecycleState::InService));
    let utilization = 100.0 * load / (scenario.capacity * f64::from(in_service.max(1)));
    Sample { at_s, load, desired, in_service, utilization }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(policy: &str, load: Vec<(i64, f64)>) -> Scenario {
        Scenario {
            min: 1,
            max: 10,
            desired: 1,
            boot: Duration::from_secs(20),
            warmup_s: Some(30),
            cooldown_s: None,
            metric_period_s: None,
            policies: vec![policy.as_bytes().to_vec()],
            alarms: Vec::new(),
            capacity: 100.0,
            load,
            target: 50.0,
            every_s: 60,
        }
    }

    const TRACKING: &str = r#"{"PolicyName": "cpu", "PolicyType": "TargetTrackingScaling",
        "TargetTrackingConfiguration": {"TargetValue": 50.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"}}}"#;

    #[test]
    fn target_tracking_follows_a_load_up_and_down() {
        let load = vec![(0, 30.0), (600, 240.0), (2400, 30.0), (9000, 30.0)];
        let replay = replay(&scenario(TRACKING, load)).unwrap();
        let at = |s: i64| replay.samples.iter().find(|x| x.at_s == s).unwrap();
        assert_eq!((at(540).desired, at(540).in_service), (1, 1));
        // 2.4 instances' work at half of what each can do: five. A sixth comes if the newest datapoint is still one of four.
        assert!((5..=6).contains(&at(2340).desired), "{}", at(2340).desired);
        assert_eq!(at(2340).desired, at(2340).in_service);
        assert_eq!((at(9000).desired, at(9000).in_service), (1, 1));
        assert!(replay.overloaded_s > 120 && replay.overloaded_s < 600, "{}", replay.overloaded_s);
        assert!(replay.instance_hours > 2.5 && replay.instance_hours < 9.0, "{}", replay.instance_hours);
    }

    /// Without a warm-up, newcomers count at once: what the old ones measured before must not be multiplied by them.
    #[test]
    fn a_policy_of_seconds_settles_under_a_constant_load() {
        for load in [30.0, 99.0, 155.0, 330.0, 460.0] {
            let quick = Scenario {
                warmup_s: Some(0),
                cooldown_s: Some(0),
                metric_period_s: Some(1),
                boot: Duration::from_secs(3),
                every_s: 10,
                ..scenario(TRACKING, vec![(0, load), (120, load * 0.4), (400, load), (900, load)])
            };
            let replay = replay(&quick).unwrap();
            let wanted = (load / 50.0_f64).ceil() as u32;
            let last = replay.samples.last().unwrap();
            assert_eq!((last.desired, last.in_service), (wanted, wanted), "load {load}");
            let settled: Vec<u32> =
                replay.samples.iter().filter(|s| s.at_s > 500).map(|s| s.desired).collect();
            assert!(settled.iter().all(|d| *d == wanted), "load {load}: {settled:?}");
        }
    }

    #[test]
    fn a_policy_that_is_wrong_says_why() {
        let said = replay(&scenario(r#"{"PolicyType": "Magic"}"#, vec![(0, 1.0)])).unwrap_err();
        assert!(said.contains("policy-1"), "{said}");
    }
}
