"""The lab's app image boots with systemd as its init, serves, and heeds power-off and reboot."""

import os
import urllib.error
import urllib.request

import pytest
from conftest import until
from machine import Machine, need_containers

USER_DATA = """#!/bin/sh
echo "user data as $(id -u) in $(systemd-detect-virt)" >/dev/console
systemd-run --quiet sh -c '(systemctl is-system-running --wait; systemctl --failed --no-legend; echo told-all) >/dev/console'
"""


def test_the_labs_image(new_server):
    need_containers()
    root = os.environ.get("PUFFER_TEST_SYSTEMD_ROOT")
    if not root:
        pytest.skip("NOT TESTED: PUFFER_TEST_SYSTEMD_ROOT names no root file system; cargo xtask test makes one")
    server = new_server(compute="container")
    machine = Machine(server.data_dir)
    image = server.puffer("image", "import", "--name", "lab", root).split()[-1]
    ec2 = server.client("ec2")
    until(lambda: ec2.describe_images(Owners=["self"])["Images"], "the image")
    [group] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0")
    [launched] = ec2.run_instances(
        ImageId=image, InstanceType="t2.small", MinCount=1, MaxCount=1, UserData=USER_DATA)["Instances"]
    instance_id, address = launched["InstanceId"], launched["PrivateIpAddress"]

    def in_state(name):
        seen = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
        return seen["State"]["Name"] == name and seen

    def answers():
        try:
            with urllib.request.urlopen(f"http://{address}/?n=1000", timeout=2) as answer:
                return "500500" in answer.read().decode()
        except (urllib.error.URLError, OSError):
            return False

    def told():
        said = ec2.get_console_output(InstanceId=instance_id).get("Output", "")
        return "told-all" in said and said

    until(lambda: in_state("running"), "a running instance")
    until(answers, "the app's answer", limit_s=60)
    said = until(told, "systemd's own verdict", limit_s=90)
    assert "user data as 0 in " in said, said
    assert "degraded" not in said and "running" in said, said
    [shim] = [c for g, c in machine.processes().values() if g == "shims"]
    assert "container-helper" in shim

    ec2.reboot_instances(InstanceIds=[instance_id])
    until(lambda: not answers(), "the reboot", pause_s=0.02)
    until(answers, "the app's answer after a reboot", limit_s=60)
    # As an administrator inside would: systemd ends everything in order and powers off.
    [init] = machine.inits().values()
    os.kill(init, 38)  # SIGRTMIN+4: poweroff.target
    seen = until(lambda: in_state("stopped"), "the guest's own power-off", limit_s=60)
    assert seen["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown", seen["StateReason"]
    ec2.start_instances(InstanceIds=[instance_id])
    until(answers, "the app's answer after a start", limit_s=60)
    ec2.terminate_instances(InstanceIds=[instance_id])
    until(lambda: in_state("terminated"), "the end")
    assert not machine.directories() and not machine.inits()
