"""Terraform and its unchanged AWS provider: lab L0's configuration and more, applied, changed and destroyed without drift."""

import glob
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import ROOT

TERRAFORM = shutil.which("terraform") or shutil.which("tofu")
LIMIT_S = 400
# Directories that Terraform and its packagers keep providers in. Nothing is fetched from a registry here.
MIRRORS = [os.environ.get("PUFFER_TERRAFORM_PLUGINS", ""), "/usr/share/terraform/plugins", "/usr/local/share/terraform/plugins",
           os.path.expanduser("~/.terraform.d/plugins"), os.path.expanduser("~/.local/share/terraform/plugins"), *glob.glob("/opt/*")]
MIRROR = next((m for m in MIRRORS if m and glob.glob(f"{m}/registry.*/hashicorp/aws")), None)

pytestmark = [
    pytest.mark.skipif(not TERRAFORM, reason="there is no terraform (or tofu) on this machine"),
    pytest.mark.skipif(not MIRROR, reason="no directory has Terraform's AWS provider; name one in PUFFER_TERRAFORM_PLUGINS "
                       "(`terraform providers mirror DIR` in labs/l0/terraform makes it)")]


class Workspace:
    """A directory with configurations, for one server."""

    def __init__(self, server, directory, *files):
        self.directory = directory
        for file in files:
            shutil.copy(file, directory)
        keys = {k: v for k, v in server.environment.items() if k.startswith("AWS_")}
        self.environment = {**os.environ, **keys, "HOME": str(directory), "TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}
        self.run("init", f"-plugin-dir={MIRROR}")

    def run(self, verb, *arguments, good=(0,), **variables):
        extra = [f"-var={k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in variables.items()]
        done = subprocess.run([TERRAFORM, verb, "-no-color", "-input=false", *arguments, *extra], cwd=self.directory,
                              env=self.environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode in good, done.stdout[-6000:] + done.stderr[-3000:]
        return done

    def apply(self, **variables):
        self.run("apply", "-auto-approve", **variables)
        # What is there is what was asked for, down to the last attribute.
        self.run("plan", "-detailed-exitcode", **variables)

    def outputs(self):
        told = subprocess.run([TERRAFORM, "output", "-json"], cwd=self.directory, env=self.environment, capture_output=True, check=True)
        return {k: v["value"] for k, v in json.loads(told.stdout).items()}


@pytest.fixture
def image(ec2):
    """An image that can be looked up, made from an instance."""
    made = ec2.run_instances(ImageId="ami-0123456789abcdef0", InstanceType="t2.micro", MinCount=1, MaxCount=1)["Instances"]
    source = [i["InstanceId"] for i in made]
    ec2.get_waiter("instance_running").wait(InstanceIds=source, WaiterConfig={"Delay": 1})
    image = ec2.create_image(InstanceId=source[0], Name="terraform")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig={"Delay": 1})
    ec2.terminate_instances(InstanceIds=source)
    yield image
    ec2.deregister_image(ImageId=image)


def test_lab_l0_as_a_configuration(server, image, autoscaling, ec2, elbv2, cloudwatch, tmp_path):
    here = pathlib.Path(__file__).parent
    work = Workspace(server, tmp_path, ROOT / "labs/l0/terraform/main.tf", here / "terraform/more.tf")
    # Nobody answers on simulated instances, so the group must not ask the load balancer.
    settings = {"image_id": image, "name": "terraform", "health_check_type": "EC2"}
    work.apply(**settings)
    outputs = work.outputs()
    assert outputs["url"].startswith("http://terraform-") and len(outputs["found"]) == 1

    def group():
        return autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["terraform"])["AutoScalingGroups"][0]

    assert [i["LifecycleState"] for i in group()["Instances"]] == ["InService"]
    assert group()["TargetGroupARNs"] == [outputs["target_group_arn"]]
    assert {m["Metric"] for m in group()["EnabledMetrics"]} == {"GroupDesiredCapacity", "GroupInServiceInstances"}

    work.apply(max_size=7, min_size=2, target_cpu=55, group_tags={"puffer:metric-period": "1"}, **settings)
    assert (group()["MaxSize"], group()["DesiredCapacity"]) == (7, 2)
    high = cloudwatch.describe_alarms(AlarmNamePrefix="TargetTracking-terraform-AlarmHigh")["MetricAlarms"]
    assert [(a["Threshold"], a["Period"]) for a in high] == [(55.0, 1)]

    work.run("destroy", "-auto-approve", **settings)
    names = {g["AutoScalingGroupName"] for g in autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]}
    assert not names & {"terraform", "terraform-more"}
    left = ec2.describe_instances(Filters=[
        {"Name": "tag:lab", "Values": ["l0"]}, {"Name": "instance-state-name", "Values": ["pending", "running"]}])
    assert left["Reservations"] == []
    assert not [b for b in elbv2.describe_load_balancers()["LoadBalancers"] if b["LoadBalancerName"].startswith("terraform")]
