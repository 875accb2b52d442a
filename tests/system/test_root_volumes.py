"""Root volumes of a fleet of real processes are replaced by an instance refresh."""

import json
import random
import sys
import urllib.request

from conftest import until

SERVICE = """
import http.server, os, pathlib
said = pathlib.Path("boots")
said.write_text((said.read_text() if said.exists() else "") + "x")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"VERSION {said.read_text()} {pathlib.Path('user-data').read_text() if pathlib.Path('user-data').exists() else ''}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


def image(server, path, version):
    path.mkdir()
    (path / "service.py").write_text(SERVICE.replace("VERSION", version))
    (path / "puffer-image.json").write_text(json.dumps(
        {"kind": "process", "command": [sys.executable, "service.py"], "port": 8080}))
    return server.puffer("image", "import", "--name", version, str(path)).split()[-1]


def test_the_same_instances_serve_what_the_new_image_has(new_server, tmp_path):
    # A block of its own: other servers with processes on this machine have the usual one.
    server = new_server("--vpc-cidr", f"127.{random.randrange(64, 255)}.0.0/16", compute="process")
    old, new = (image(server, tmp_path / version, version) for version in ("old", "new"))
    ec2, elb, autoscaling = (server.client(s) for s in ("ec2", "elbv2", "autoscaling"))
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    target_group = elb.create_target_group(
        Name="roots", Protocol="HTTP", Port=8080, VpcId=vpc, HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2,
        HealthyThresholdCount=2)["TargetGroups"][0]["TargetGroupArn"]
    elb.modify_target_group_attributes(TargetGroupArn=target_group, Attributes=[
        {"Key": "deregistration_delay.timeout_seconds", "Value": "1"}])
    subnets = ec2.describe_subnets()["Subnets"]
    balancer = elb.create_load_balancer(Name="roots", Subnets=[s["SubnetId"] for s in subnets])["LoadBalancers"][0]
    elb.create_listener(LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTP", Port=8081,
                        DefaultActions=[{"Type": "forward", "TargetGroupArn": target_group}])
    template = ec2.create_launch_template(LaunchTemplateName="roots", LaunchTemplateData={
        "ImageId": old, "InstanceType": "t3.micro",
        "UserData": "IyEvYmluL3NoCmVjaG8gcmFuID4+IHVzZXItZGF0YQo="})["LaunchTemplate"]

    def policy(ami):
        specification = {"LaunchTemplateId": template["LaunchTemplateId"], "Version": "1"}
        return {"LaunchTemplate": {"LaunchTemplateSpecification": specification,
                                   "Overrides": [{"InstanceType": "t3.micro", "ImageId": ami}]}}

    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="roots", MixedInstancesPolicy=policy(old), MinSize=2, MaxSize=2, DesiredCapacity=2,
        VPCZoneIdentifier=",".join(s["SubnetId"] for s in subnets), TargetGroupARNs=[target_group], HealthCheckType="ELB")

    def members():
        shown = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["roots"])["AutoScalingGroups"][0]
        return [i["InstanceId"] for i in shown["Instances"] if i["LifecycleState"] == "InService"]

    def healthy():
        shown = elb.describe_target_health(TargetGroupArn=target_group)["TargetHealthDescriptions"]
        return [t for t in shown if t["TargetHealth"]["State"] == "healthy"]

    def said():
        found = ec2.describe_instances(InstanceIds=sorted(members()))["Reservations"]
        answers = {}
        for i in (i for r in found for i in r["Instances"]):
            try:
                with urllib.request.urlopen(f"http://{i['PrivateIpAddress']}:8080/", timeout=5) as answer:
                    answers[i["InstanceId"], i["PrivateIpAddress"]] = answer.read().decode().split()
            except OSError:
                return {}
        return answers

    until(lambda: len(members()) == 2 and len(healthy()) == 2, "two that serve", 60)
    before = until(lambda: len(said()) == 2 and said(), "their answers")
    assert [a[:2] for a in before.values()] == [["old", "x"]] * 2
    autoscaling.start_instance_refresh(
        AutoScalingGroupName="roots", Strategy="ReplaceRootVolume", DesiredConfiguration={"MixedInstancesPolicy": policy(new)},
        Preferences={"InstanceWarmup": 0, "MinHealthyPercentage": 50})

    def over():
        assert len(healthy()) >= 1, "somebody always serves"
        shown = autoscaling.describe_instance_refreshes(AutoScalingGroupName="roots")["InstanceRefreshes"][0]
        return shown["Status"] not in ("Pending", "InProgress") and shown
    assert until(over, "the end of the refresh", 120)["Status"] == "Successful"
    after = until(lambda: len(said()) == 2 and said(), "their answers")
    assert set(after) == set(before), "the same instances at the same addresses"
    assert sorted(after.values()) == [["new", "x", "ran"]] * 2, "a first boot of the new image, user data included"
