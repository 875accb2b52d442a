"""A zone goes down under a fleet of real processes behind a load balancer, and comes back."""

import json
import random
import sys
import urllib.request

import pytest

from conftest import until

SERVICE = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["HOST"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def fleet(new_server, tmp_path):
    """Two processes in each of two zones, behind a load balancer."""
    # A block of its own: other servers with processes on this machine have the usual one.
    server = new_server("--vpc-cidr", f"127.{random.randrange(64, 255)}.0.0/16", compute="process")
    root = tmp_path / "image"
    root.mkdir()
    (root / "service.py").write_text(SERVICE)
    (root / "puffer-image.json").write_text(json.dumps(
        {"kind": "process", "command": [sys.executable, "service.py"], "port": 8080}))
    image = server.puffer("image", "import", "--name", "web", str(root)).split()[-1]
    return Fleet(server, image)


class Fleet:
    def __init__(self, server, image):
        self.server = server
        self.ec2, self.elb, self.autoscaling = (server.client(s) for s in ("ec2", "elbv2", "autoscaling"))
        subnets = self.ec2.describe_subnets()["Subnets"]
        self.zones = sorted(s["AvailabilityZone"] for s in subnets)[:2]
        self.subnets = [s["SubnetId"] for s in subnets if s["AvailabilityZone"] in self.zones]
        vpc = subnets[0]["VpcId"]
        group = self.elb.create_target_group(
            Name="web", Protocol="HTTP", Port=8080, VpcId=vpc, HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2,
            UnhealthyThresholdCount=2, HealthyThresholdCount=2)["TargetGroups"][0]["TargetGroupArn"]
        balancer = self.elb.create_load_balancer(Name="web", Subnets=self.subnets)["LoadBalancers"][0]
        self.name = balancer["DNSName"]
        self.elb.create_listener(LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTP", Port=8081,
                                 DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])
        self.target_group = group
        self.autoscaling.create_launch_configuration(LaunchConfigurationName="web", ImageId=image, InstanceType="t2.micro")
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName="web", LaunchConfigurationName="web", MinSize=4, MaxSize=6, DesiredCapacity=4,
            VPCZoneIdentifier=",".join(self.subnets), TargetGroupARNs=[group], HealthCheckType="ELB", HealthCheckGracePeriod=0)

    def members(self):
        shown = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["web"])["AutoScalingGroups"][0]
        return [i for i in shown["Instances"] if i["LifecycleState"] == "InService"]

    def spread(self):
        return sorted(m["AvailabilityZone"] for m in self.members())

    def addresses(self, ids):
        found = self.ec2.describe_instances(InstanceIds=ids)["Reservations"]
        return {i["InstanceId"]: i["PrivateIpAddress"] for r in found for i in r["Instances"]}

    def node(self, zone):
        """Address of the load balancer's node in a zone."""
        found = self.ec2.describe_network_interfaces()["NetworkInterfaces"]
        return next(i["PrivateIpAddress"] for i in found
                    if i["AvailabilityZone"] == zone and i["Description"].startswith("ELB app/web/"))

    def health(self):
        shown = self.elb.describe_target_health(TargetGroupArn=self.target_group)["TargetHealthDescriptions"]
        return {t["Target"]["Id"]: t["TargetHealth"]["State"] for t in shown}


def answers(address, port=8080):
    """Whether somebody answers there within a second."""
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_a_fleet_of_processes_loses_a_zone_and_gets_it_back(fleet):
    server, gone = fleet.server, fleet.zones[0]
    until(lambda: fleet.spread() == sorted(fleet.zones * 2), "two in each zone", 60)
    until(lambda: list(fleet.health().values()).count("healthy") == 4, "four healthy targets", 60)
    there = [m["InstanceId"] for m in fleet.members() if m["AvailabilityZone"] == gone]
    addresses = fleet.addresses([m["InstanceId"] for m in fleet.members()])
    assert all(answers(a) for a in addresses.values())
    # Its guests hold still, also when the server that held them is killed; the others go on.
    fleet.autoscaling.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["ReplaceUnhealthy"])
    server.puffer("zone", "down", gone)
    until(lambda: not any(answers(addresses[id]) for id in there), "silence", 20)
    server.kill()
    server.start()
    fleet.ec2, fleet.elb, fleet.autoscaling = (server.client(s) for s in ("ec2", "elbv2", "autoscaling"))
    assert not any(answers(addresses[id]) for id in there)
    assert all(answers(a) for id, a in addresses.items() if id not in there)
    until(lambda: all(fleet.health().get(id) == "unhealthy" for id in there), "targets that time out", 60)
    until(lambda: answers(fleet.node(fleet.zones[1]), 8081) and not answers(fleet.node(gone), 8081), "a node that is deaf", 20)
    # They go on where they were.
    server.puffer("zone", "up", gone)
    until(lambda: all(answers(addresses[id]) for id in there), "their answers", 20)
    until(lambda: list(fleet.health().values()).count("healthy") == 4, "four healthy targets again", 60)
    # This time the group may heal.
    until(lambda: all(m["HealthStatus"] == "Healthy" for m in fleet.members()) or
          fleet.autoscaling.resume_processes(AutoScalingGroupName="web"), "healthy members", 90)
    fleet.autoscaling.resume_processes(AutoScalingGroupName="web")
    until(lambda: fleet.spread() == sorted(fleet.zones * 2), "two in each zone again", 90)
    server.puffer("zone", "down", gone)
    until(lambda: fleet.spread() == [fleet.zones[1]] * 4, "four in the zone that is left", 120)
    server.puffer("zone", "up", gone)
    until(lambda: fleet.spread() == sorted(fleet.zones * 2), "even zones", 120)
