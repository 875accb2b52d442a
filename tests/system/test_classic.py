"""A group of real processes behind a classic load balancer: requests over HTTP, bytes over TCP, health, draining and metrics."""

import datetime
import json
import random
import socket
import sys
import urllib.error
import urllib.request

import pytest

from conftest import until
from test_zones import SERVICE


@pytest.fixture
def server(new_server):
    # A block of its own: other servers with processes on this machine have the usual one.
    return new_server("--vpc-cidr", f"127.{random.randrange(64, 255)}.0.0/16", compute="process")


def get(address, port, path="/"):
    """Status, body and headers of an answer; the status is 0 if there is none."""
    try:
        with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, "", error.headers
    except OSError:
        return 0, "", {}


def test_a_group_behind_a_classic_load_balancer_carries_traffic(server, tmp_path):
    root = tmp_path / "image"
    root.mkdir()
    (root / "service.py").write_text(SERVICE)
    (root / "puffer-image.json").write_text(json.dumps(
        {"kind": "process", "command": [sys.executable, "service.py"], "port": 8080}))
    image = server.puffer("image", "import", "--name", "web", str(root)).split()[-1]
    elb, autoscaling, cloudwatch = (server.client(s) for s in ("elb", "autoscaling", "cloudwatch"))
    elb.create_load_balancer(
        LoadBalancerName="web", AvailabilityZones=["us-east-1a", "us-east-1b"], Listeners=[
            {"Protocol": "HTTP", "LoadBalancerPort": 8081, "InstancePort": 8080},
            {"Protocol": "TCP", "LoadBalancerPort": 8082, "InstancePort": 8080}],
        Tags=[{"Key": "puffer:health-check-period", "Value": "1"}, {"Key": "puffer:metric-period", "Value": "1"}])
    elb.configure_health_check(LoadBalancerName="web", HealthCheck={
        "Target": "HTTP:8080/", "Interval": 5, "Timeout": 2, "UnhealthyThreshold": 2, "HealthyThreshold": 2})
    elb.modify_load_balancer_attributes(LoadBalancerName="web", LoadBalancerAttributes={
        "CrossZoneLoadBalancing": {"Enabled": True}, "ConnectionDraining": {"Enabled": True, "Timeout": 3}})
    autoscaling.create_launch_configuration(LaunchConfigurationName="web", ImageId=image, InstanceType="t2.micro")
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="web", LaunchConfigurationName="web", MinSize=2, MaxSize=3, DesiredCapacity=2,
        AvailabilityZones=["us-east-1a", "us-east-1b"], LoadBalancerNames=["web"], HealthCheckType="ELB",
        HealthCheckGracePeriod=60)
    states = lambda: [s["State"] for s in elb.describe_instance_health(LoadBalancerName="web")["InstanceStates"]]
    until(lambda: states() == ["InService"] * 2, "two instances in service", 60)
    attached = lambda: [b["State"] for b in autoscaling.describe_load_balancers(AutoScalingGroupName="web")["LoadBalancers"]]
    until(lambda: attached() == ["InService"], "the attachment in service")

    [shown] = server.status()["load_balancers"]
    node = shown["addresses"][0]
    bodies = {get(node, 8081)[1] for _ in range(20)}
    assert len(bodies) == 2, bodies
    # The TCP listener passes the same protocol as mere bytes, each connection to the next instance.
    relayed = set()
    for _ in range(4):
        with socket.create_connection((node, 8082), timeout=5) as stream:
            stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
            stream.shutdown(socket.SHUT_WR)
            said = b""
            while part := stream.recv(4096):
                said += part
            relayed.add(said.rsplit(b"\r\n\r\n", 1)[1].decode())
    assert relayed == bodies

    # Stickiness: whoever has the cookie stays.
    elb.create_lb_cookie_stickiness_policy(LoadBalancerName="web", PolicyName="sticky", CookieExpirationPeriod=60)
    elb.set_load_balancer_policies_of_listener(LoadBalancerName="web", LoadBalancerPort=8081, PolicyNames=["sticky"])
    cookie = until(lambda: get(node, 8081)[2].get("Set-Cookie"), "a cookie").split(";")[0]
    assert cookie.startswith("AWSELB=")
    request = urllib.request.Request(f"http://{node}:8081/", headers={"Cookie": cookie})
    assert len({urllib.request.urlopen(request, timeout=5).read() for _ in range(6)}) == 1

    def measured(metric, statistic, minutes=10):
        now = datetime.datetime.now(datetime.timezone.utc)
        points = cloudwatch.get_metric_statistics(
            Namespace="AWS/ELB", MetricName=metric, Dimensions=[{"Name": "LoadBalancerName", "Value": "web"}], Period=60,
            StartTime=now - datetime.timedelta(minutes=minutes), EndTime=now + datetime.timedelta(minutes=1),
            Statistics=[statistic])["Datapoints"]
        return [p[statistic] for p in points]

    until(lambda: sum(measured("RequestCount", "Sum")) >= 24, "the requests counted")
    until(lambda: max(measured("HealthyHostCount", "Maximum"), default=0) == 2, "two healthy hosts")
    assert sum(measured("HTTPCode_Backend_2XX", "Sum")) >= 20 and max(measured("Latency", "Maximum")) < 5

    # The data plane goes on while the server is away, and the server finds it again.
    server.kill()
    assert get(node, 8081)[0] == 200
    server.start()
    elb, autoscaling = server.client("elb"), server.client("autoscaling")
    until(lambda: states() == ["InService"] * 2, "both still in service")

    # Who is ended drains first and leaves; its successor comes.
    victim = autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"][0]["InstanceId"]
    autoscaling.terminate_instance_in_auto_scaling_group(InstanceId=victim, ShouldDecrementDesiredCapacity=False)
    ids = lambda: {i["InstanceId"] for i in elb.describe_load_balancers()["LoadBalancerDescriptions"][0]["Instances"]}
    until(lambda: victim not in ids() and states() == ["InService"] * 2, "its successor in service", 60)
    assert get(node, 8081)[0] == 200

    autoscaling.detach_load_balancers(AutoScalingGroupName="web", LoadBalancerNames=["web"])
    until(lambda: attached() == [] and ids() == set(), "the detachment", 30)
    until(lambda: get(node, 8081)[0] == 503, "nobody left")
    elb.delete_load_balancer(LoadBalancerName="web")
    until(lambda: get(node, 8081)[0] == 0, "the listener's end")
