#!/usr/bin/env python2.7
"""Records what boto 1.9b, a client of 2009, really sends: goldens for the router and for the signatures of versions 1 and 2.

    pip download --no-deps --no-binary :all: boto==1.9b && tar xf boto-1.9b.tar.gz
    PYTHONPATH=boto-1.9b python2.7 tests/wire/capture/capture_2009.py > crates/shapes/tests/goldens/requests_2009.json

Needs Python 2.7. Dials a server of its own on 127.0.0.1 only. The clock is stopped, so that signatures repeat.
"""

import BaseHTTPServer
import json
import sys
import threading
import time

from boto.ec2.autoscale import AutoScaleConnection
from boto.ec2.autoscale.group import AutoScalingGroup
from boto.ec2.autoscale.launchconfig import LaunchConfiguration
from boto.ec2.autoscale.trigger import Trigger
from boto.ec2.cloudwatch import CloudWatchConnection
from boto.ec2.connection import EC2Connection
from boto.ec2.elb import ELBConnection
from boto.ec2.regioninfo import RegionInfo
from boto.exception import BotoServerError

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
# 2026-11-21T03:28:00Z
WHEN = time.struct_time((2026, 11, 21, 3, 28, 0, 5, 325, 0))
time.gmtime = lambda *_: WHEN

seen = []


class Handler(BaseHTTPServer.BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.partition("?")
        seen.append({"method": self.command, "path": path, "query": query, "host": self.headers["host"]})
        self.send_response(400)
        self.end_headers()
        self.wfile.write("<ErrorResponse><Error><Code>X</Code><Message>recorded</Message></Error></ErrorResponse>")

    do_POST = do_GET

    def log_message(self, *_):
        pass


# The port is part of what is signed, so it is fixed.
server = BaseHTTPServer.HTTPServer(("127.0.0.1", 47809), Handler)
thread = threading.Thread(target=server.serve_forever)
thread.daemon = True
thread.start()


def connect(kind, **where):
    return kind(KEY, SECRET, is_secure=False, port=47809, **(where or {"host": "127.0.0.1"}))


autoscaling, elb = connect(AutoScaleConnection), connect(ELBConnection)
ec2 = connect(EC2Connection, region=RegionInfo(None, "us-east-1", "127.0.0.1"))
cloudwatch = connect(CloudWatchConnection)
config = LaunchConfiguration(autoscaling, "web", "ami-12345678", None, ["default"], instance_type="m1.small")
group = AutoScalingGroup(autoscaling, "web", "us-east-1a", config, cooldown=60, min_size=1, max_size=4)
trigger = Trigger(
    autoscaling, "cpu", group, [("AutoScalingGroupName", "web")], "CPUUtilization", "Average", "Percent", 60,
    20, "-1", 80, "25%", 120)
trigger.autoscale_group_name = "web"

CASES = [
    ("autoscaling_2009", "CreateLaunchConfiguration", lambda: autoscaling.create_launch_configuration(config)),
    ("autoscaling_2009", "CreateAutoScalingGroup", lambda: autoscaling.create_auto_scaling_group(group)),
    ("autoscaling_2009", "UpdateAutoScalingGroup", lambda: group.update()),
    ("autoscaling_2009", "SetDesiredCapacity", lambda: group.set_capacity(3)),
    ("autoscaling_2009", "DescribeAutoScalingGroups", lambda: autoscaling.get_all_groups(["web", "a b+c"])),
    ("autoscaling_2009", "DescribeLaunchConfigurations", lambda: autoscaling.get_all_launch_configurations()),
    ("autoscaling_2009", "DescribeScalingActivities", lambda: autoscaling.get_all_activities("web")),
    ("autoscaling_2009", "CreateOrUpdateScalingTrigger", lambda: autoscaling.create_trigger(trigger)),
    ("autoscaling_2009", "DescribeTriggers", lambda: autoscaling.get_all_triggers("web")),
    ("autoscaling_2009", "DeleteTrigger", lambda: trigger.delete()),
    ("autoscaling_2009", "TerminateInstanceInAutoScalingGroup", lambda: autoscaling.terminate_instance("i-12345678")),
    ("autoscaling_2009", "DeleteAutoScalingGroup", lambda: group.delete()),
    ("autoscaling_2009", "DeleteLaunchConfiguration", lambda: config.delete()),
    ("ec2", "DescribeInstances", lambda: ec2.get_all_instances(["i-12345678"])),
    ("ec2", "DescribeKeyPairs", lambda: ec2.get_all_key_pairs()),
    ("elb_2009", "DescribeLoadBalancers", lambda: elb.get_all_load_balancers()),
    ("cloudwatch_2009", "ListMetrics", lambda: cloudwatch.get_list("ListMetrics", {}, [])),
]

goldens = []
for service, operation, call in CASES:
    try:
        call()
    except BotoServerError:
        pass
    goldens.append({"service": service, "operation": operation, "request": seen.pop()})
    assert not seen, operation
recorded = {"client": "boto 1.9b", "access_key_id": KEY, "secret_access_key": SECRET, "goldens": goldens}
json.dump(recorded, sys.stdout, indent=1, sort_keys=True, separators=(",", ": "))
sys.stdout.write("\n")
