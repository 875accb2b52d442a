"""Ansible's unchanged modules: lab L0's playbook and another, each run again to see that nothing changes."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

PLAYBOOK = os.environ.get("ANSIBLE_PLAYBOOK") or shutil.which("ansible-playbook")
LIMIT_S = 600
IMAGE = "ami-0123456789abcdef0"

pytestmark = pytest.mark.skipif(not PLAYBOOK, reason="there is no ansible-playbook; `cargo xtask test wire` installs it")


def play(server, home, book, **variables):
    """Runs a playbook; what its recap counts."""
    keys = {k: v for k, v in server.environment.items() if k.startswith("AWS_")}
    # Ansible runs modules in the interpreter that runs it, and looks for the AWS files in the home directory.
    settings = {"HOME": str(home), "ANSIBLE_HOME": str(home / ".ansible"), "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_") and k != "PYTHONDONTWRITEBYTECODE"}
    extra = [word for k, v in variables.items() for word in ("-e", f"{k}={v}")]
    done = subprocess.run([PLAYBOOK, str(book), *extra], env={**environment, **keys, **settings}, capture_output=True, text=True,
                          timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    recap = re.search(r"^localhost .*$", done.stdout, re.M).group()
    return {name: int(n) for name, n in re.findall(r"(\w+)=(\d+)", recap)}, done.stdout


def changes(output):
    """The tasks that changed something."""
    return re.findall(r"^TASK \[(.*?)\] \*+\n(?:\[WARNING\].*\n)?changed:", output, re.M)


def test_lab_l0_as_a_playbook(server, autoscaling, ec2, tmp_path):
    book = pathlib.Path(ROOT) / "labs/l0/ansible/site.yml"
    # Nobody answers on simulated instances, so the group must not ask the load balancer.
    present = {"image_id": IMAGE, "lab_name": "ansible", "health_check_type": "EC2"}
    counts, _ = play(server, tmp_path, book, **present)
    assert counts["changed"] >= 10
    group = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["ansible"])["AutoScalingGroups"][0]
    assert group["LaunchTemplate"]["Version"] == "$Latest" and len(group["TargetGroupARNs"]) == 1
    assert {t["Key"]: (t["Value"], t["PropagateAtLaunch"]) for t in group["Tags"]} == {
        "Name": ("ansible", True), "lab": ("l0", False)}
    counts, output = play(server, tmp_path, book, **present)
    assert counts["changed"] == 0, changes(output)
    counts, output = play(server, tmp_path, book, max_size=7, **present)
    assert changes(output) == ["The group"]
    group = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["ansible"])["AutoScalingGroups"][0]
    assert group["MaxSize"] == 7

    counts, _ = play(server, tmp_path, book, state="absent", **present)
    assert counts["changed"] == 7
    counts, output = play(server, tmp_path, book, state="absent", **present)
    assert counts["changed"] == 0, changes(output)
    left = ec2.describe_instances(Filters=[
        {"Name": "tag:Name", "Values": ["ansible"]}, {"Name": "instance-state-name", "Values": ["running"]}])
    assert left["Reservations"] == []


def test_more_modules(server, tmp_path):
    books = pathlib.Path(__file__).parent / "ansible"
    counts, _ = play(server, tmp_path, books / "more.yml", image_id=IMAGE)
    assert counts["changed"] == 6
    counts, output = play(server, tmp_path, books / "more.yml", image_id=IMAGE)
    assert counts["changed"] == 0, changes(output)
    counts, _ = play(server, tmp_path, books / "none.yml")
    assert counts["changed"] == 5
