"""A walk through boto 1.9b under Python 2.7; prints what it read as JSON. The test beside it says what must be in it.

    boto_1_9b.py HOST PORT KEY SECRET AMI
"""

import json
import sys
import time

from boto.ec2.autoscale import AutoScaleConnection
from boto.ec2.autoscale.group import AutoScalingGroup
from boto.ec2.autoscale.launchconfig import LaunchConfiguration
from boto.ec2.autoscale.trigger import Trigger
from boto.ec2.cloudwatch import CloudWatchConnection
from boto.ec2.connection import EC2Connection
from boto.ec2.elb import ELBConnection
from boto.ec2.elb.healthcheck import HealthCheck
from boto.ec2.regioninfo import RegionInfo
from boto.exception import BotoServerError

host, port, key, secret, ami = sys.argv[1:]
LIMIT_S = 30


def connect(kind, secret=secret, **where):
    return kind(key, secret, is_secure=False, port=int(port), **(where or {"host": host}))


def until(probe, what):
    end = time.time() + LIMIT_S
    while time.time() < end:
        seen = probe()
        if seen:
            return seen
        time.sleep(0.1)
    raise AssertionError("%s: not within %s s" % (what, LIMIT_S))


autoscaling = connect(AutoScaleConnection)
ec2 = connect(EC2Connection, region=RegionInfo(None, "us-east-1", host))
seen = {}

config = LaunchConfiguration(autoscaling, "walk-2009", ami, None, ["default"], instance_type="t2.micro")
seen["create_launch_configuration"] = autoscaling.create_launch_configuration(config).request_id
seen["configurations"] = [
    (c.name, c.image_id, c.instance_type) for c in autoscaling.get_all_launch_configurations(["walk-2009"])]
group = AutoScalingGroup(autoscaling, "walk-2009", "us-east-1a", config, cooldown=0, min_size=1, max_size=4)
seen["create_group"] = autoscaling.create_auto_scaling_group(group).request_id


def now():
    return autoscaling.get_all_groups(["walk-2009"])[0]


def in_service(n):
    found = now()
    return found if [i.LifecycleState for i in found.instances or []] == ["InService"] * n else None


def describe(found):
    return [found.name, found.launch_config_name, found.min_size, found.max_size, found.desired_capacity, found.cooldown,
            list(found.availability_zones)]


seen["group"] = describe(until(lambda: in_service(1), "the first instance"))
group.set_capacity(3)
seen["grown"] = describe(until(lambda: in_service(3), "three instances"))
group.max_size = 2
group.update()
seen["shrunk"] = describe(until(lambda: in_service(2), "two instances"))

trigger = Trigger(
    autoscaling, "cpu", group, [("AutoScalingGroupName", "walk-2009")], "CPUUtilization", "Average", None, 60,
    20, "-1", 80, "25%", 120)
autoscaling.create_trigger(trigger)
seen["triggers"] = [
    [t.name, t.autoscale_group_name, t.measure_name, t.namespace, t.Status, t.period, t.breach_duration,
     t.UpperBreachScaleIncrement, t.LowerThreshold]
    for t in autoscaling.get_all_triggers("walk-2009")]
for found in now().get_all_triggers():
    found.delete()
seen["triggers_left"] = len(autoscaling.get_all_triggers("walk-2009"))

victim = now().instances[0].instance_id
seen["terminated"] = autoscaling.terminate_instance(victim).description
seen["activities"] = [(a.status_code, a.cause) for a in autoscaling.get_all_activities("walk-2009")]
until(lambda: in_service(1), "one left")
seen["key_pairs"] = isinstance(ec2.get_all_key_pairs(), list)
seen["zones"] = [z.name for z in ec2.get_all_zones()]

elb = connect(ELBConnection)
balancer = elb.create_load_balancer("walk-2009", ["us-east-1a"], [(80, 8080, "HTTP"), (25, 2525, "TCP")])
seen["balancer_dns"] = balancer.dns_name
check = HealthCheck("walk-2009", interval=10, target="HTTP:8080/up", healthy_threshold=3, timeout=4, unhealthy_threshold=2)
found = elb.configure_health_check("walk-2009", check)
seen["check"] = [found.target, found.interval, found.timeout, found.unhealthy_threshold, found.healthy_threshold]
balancer.enable_zones(["us-east-1b"])
balancer.disable_zones("us-east-1a")
ids = [i.instance_id for i in now().instances]
seen["registered"] = [i.id for i in elb.register_instances("walk-2009", ids)] == ids
shown = elb.get_all_load_balancers("walk-2009")[0]
seen["balancer"] = [
    shown.name, [list(l.get_tuple()) for l in shown.listeners], list(shown.availability_zones),
    [i.id for i in shown.instances] == ids, shown.health_check.target]
health = elb.describe_instance_health("walk-2009", ids)
seen["health"] = [[h.instance_id == ids[0], h.state, h.reason_code] for h in health]
balancer.deregister_instances(ids)
until(lambda: not elb.describe_instance_health("walk-2009"), "the instances' leaving")
fronted = AutoScalingGroup(autoscaling, "walk-2009-elb", "us-east-1b", config, load_balancers=["walk-2009"], cooldown=0,
                           min_size=1, max_size=1)
autoscaling.create_auto_scaling_group(fronted)
until(lambda: elb.get_all_load_balancers("walk-2009")[0].instances, "the group's instance behind the load balancer")
seen["fronted"] = list(autoscaling.get_all_groups(["walk-2009-elb"])[0].load_balancers)
seen["metrics"] = isinstance(connect(CloudWatchConnection).list_metrics(), list)


def refused(call):
    try:
        call()
    except BotoServerError as error:
        return [error.status, error.code]


seen["wrong_secret"] = refused(lambda: connect(AutoScaleConnection, "wrong").get_all_groups())
seen["wrong_secret_v1"] = refused(lambda: connect(ELBConnection, "wrong").get_all_load_balancers())
seen["in_use"] = refused(group.delete)
group.shutdown_instances()
until(lambda: in_service(0), "the end of all instances")
until(lambda: refused(group.delete) is None, "the end of the group")
fronted.shutdown_instances()
until(lambda: refused(fronted.delete) is None, "the end of the group behind the load balancer")
elb.delete_load_balancer("walk-2009")
seen["load_balancers"] = len([b for b in elb.get_all_load_balancers() if b.name == "walk-2009"])
config.delete()
seen["left"] = len(autoscaling.get_all_groups(["walk-2009"]))
json.dump(seen, sys.stdout)
