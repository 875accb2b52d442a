"""A walk through boto 2.49 under Python 3; prints what it read as JSON. The test beside it says what must be in it.

    boto_2_49.py HOST PORT KEY SECRET AMI
"""

import datetime
import json
import sys
import time

import boto.ec2
import boto.ec2.autoscale
import boto.ec2.cloudwatch
from boto.ec2.autoscale import AutoScaleConnection, AutoScalingGroup, LaunchConfiguration, ScalingPolicy, Tag
from boto.ec2.cloudwatch import CloudWatchConnection, MetricAlarm
from boto.ec2.elb import ELBConnection, HealthCheck
from boto.ec2.elb.attributes import ConnectionDrainingAttribute
from boto.exception import BotoServerError
from boto.regioninfo import RegionInfo

host, port, key, secret, ami = sys.argv[1:]
region = RegionInfo(name="us-east-1", endpoint=host)
LIMIT_S = 30


def connect(kind, secret=secret):
    return kind(
        aws_access_key_id=key, aws_secret_access_key=secret, is_secure=False, port=int(port), region=region)


def until(probe, what):
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {LIMIT_S} s")


def refused(call):
    try:
        call()
    except BotoServerError as error:
        return [error.status, error.error_code]
    return None


autoscaling, ec2 = connect(AutoScaleConnection), connect(boto.ec2.EC2Connection)
cloudwatch = connect(CloudWatchConnection)
seen = {}

config = LaunchConfiguration(name="walk-2", image_id=ami, instance_type="t2.micro", instance_monitoring=True)
autoscaling.create_launch_configuration(config)
group = AutoScalingGroup(
    group_name="walk-2", launch_config=config, availability_zones=["us-east-1a"], min_size=1, max_size=4, desired_capacity=1,
    default_cooldown=0, tags=[Tag(key="team", value="a b", propagate_at_launch=True, resource_id="walk-2")])
autoscaling.create_auto_scaling_group(group)


def now():
    return autoscaling.get_all_groups(["walk-2"])[0]


def in_service(n):
    found = now()
    return found if [i.lifecycle_state for i in found.instances or []] == ["InService"] * n else None


found = until(lambda: in_service(1), "the first instance")
seen["group"] = [found.name, found.launch_config_name, found.min_size, found.max_size, found.desired_capacity]
seen["tags"] = [[t.key, t.value, t.propagate_at_launch] for t in found.tags]
autoscaling.set_desired_capacity("walk-2", 2)
until(lambda: in_service(2), "the second instance")
autoscaling.create_scaling_policy(ScalingPolicy(
    name="up", as_name="walk-2", adjustment_type="ChangeInCapacity", scaling_adjustment=1, cooldown=0))
policy = autoscaling.get_all_policies(as_group="walk-2", policy_names=["up"])[0]
seen["policy"] = [policy.name, policy.adjustment_type, policy.scaling_adjustment]
alarm = MetricAlarm(
    name="walk-2-high", namespace="AWS/EC2", metric="CPUUtilization", statistic="Average", comparison=">", threshold=80,
    period=60, evaluation_periods=2, alarm_actions=[policy.policy_arn], dimensions={"AutoScalingGroupName": "walk-2"})
cloudwatch.create_alarm(alarm)
seen["alarms"] = [[a.name, a.metric, a.threshold, a.alarm_actions == [policy.policy_arn]]
                  for a in cloudwatch.describe_alarms(alarm_names=["walk-2-high"])]
autoscaling.execute_policy("up", as_group="walk-2")
until(lambda: in_service(3), "the policy's instance")
start = datetime.datetime.utcnow() + datetime.timedelta(hours=1)
autoscaling.create_scheduled_group_action("walk-2", "later", start_time=start, desired_capacity=1)
seen["scheduled"] = [[a.name, a.desired_capacity] for a in autoscaling.get_all_scheduled_actions(as_group="walk-2")]
autoscaling.delete_scheduled_action("later", autoscale_group="walk-2")
autoscaling.suspend_processes("walk-2", ["AlarmNotification"])
seen["suspended"] = [p.process_name for p in now().suspended_processes]
autoscaling.resume_processes("walk-2")
cloudwatch.put_metric_data("Walk", "Jobs", value=3, unit="Count", dimensions={"Queue": "a"})
seen["metrics"] = [[m.name, m.namespace, m.dimensions] for m in cloudwatch.list_metrics(namespace="Walk")]
end = datetime.datetime.utcnow() + datetime.timedelta(minutes=2)
seen["statistics"] = [p["Sum"] for p in cloudwatch.get_metric_statistics(
    60, end - datetime.timedelta(minutes=10), end, "Jobs", "Walk", ["Sum"], dimensions={"Queue": ["a"]})]
elb = connect(ELBConnection)
balancer = elb.create_load_balancer("walk-2", ["us-east-1a"], [(80, 8080, "http"), (25, 2525, "tcp")])
seen["balancer_dns"] = balancer.dns_name
balancer.configure_health_check(HealthCheck(interval=10, target="HTTP:8080/up", healthy_threshold=3, timeout=4))
elb.create_lb_cookie_stickiness_policy(60, "walk-2", "sticky")
elb.set_lb_policies_of_listener("walk-2", 80, "sticky")
draining = ConnectionDrainingAttribute()
draining.enabled, draining.timeout = True, 2
elb.modify_lb_attribute("walk-2", "connectionDraining", draining)
fronted = AutoScalingGroup(
    group_name="walk-2-elb", launch_config=config, availability_zones=["us-east-1a"], load_balancers=["walk-2"], min_size=2,
    max_size=2)
autoscaling.create_auto_scaling_group(fronted)
shown = until(lambda: [b for b in elb.get_all_load_balancers(["walk-2"]) if len(b.instances) == 2], "its instances")[0]
found = autoscaling.get_all_groups(["walk-2-elb"])[0]
ids = sorted(i.instance_id for i in found.instances)
seen["group_balancers"] = list(found.load_balancers)
seen["balancer"] = [
    shown.name, [list(l.get_tuple()) for l in shown.listeners], list(shown.availability_zones),
    sorted(i.id for i in shown.instances) == ids, shown.health_check.target, shown.policies.lb_cookie_stickiness_policies[0].policy_name]
seen["health"] = sorted({h.state for h in shown.get_instance_health()})
seen["cross_zone"] = elb.get_lb_attribute("walk-2", "crossZoneLoadBalancing")
autoscaling.delete_auto_scaling_group("walk-2-elb", force_delete=True)
until(lambda: not autoscaling.get_all_groups(["walk-2-elb"]), "the end of the group behind the load balancer")
balancer.delete()
seen["deleted"] = "walk-2" not in [b.name for b in elb.get_all_load_balancers()]
victim = now().instances[0].instance_id
autoscaling.terminate_instance(victim, decrement_capacity=True)
until(lambda: in_service(2), "two left")
seen["activity"] = [a.description for a in autoscaling.get_all_activities("walk-2")][0].split(":")[0]
ids = [i.instance_id for i in now().instances]
seen["instances"] = [i.state for r in ec2.get_all_instances(ids) for i in r.instances]
seen["only"] = [i.id for i in ec2.get_only_instances(filters={"instance-state-name": "running"}) if i.id in ids] != []
seen["zones"] = [z.name for z in ec2.get_all_zones()]
seen["key"] = ec2.create_key_pair("walk-2").material.startswith("-----BEGIN")
ec2.delete_key_pair("walk-2")
seen["limits"] = autoscaling.get_account_limits().max_autoscaling_groups
seen["adjustments"] = sorted(a.adjustment_type for a in autoscaling.get_all_adjustment_types())
seen["wrong_secret"] = refused(lambda: connect(AutoScaleConnection, "wrong").get_all_groups())
seen["wrong_secret_ec2"] = refused(lambda: connect(boto.ec2.EC2Connection, "wrong").get_all_zones())
cloudwatch.delete_alarms(["walk-2-high"])
autoscaling.delete_auto_scaling_group("walk-2", force_delete=True)
until(lambda: not autoscaling.get_all_groups(["walk-2"]), "the end of the group")
autoscaling.delete_launch_configuration("walk-2")
json.dump(seen, sys.stdout)
