"""What tests/exercised.py reads in the source of tests: docs/compatibility.md rests on it."""

import exercised

SOURCE = '''
import pytest

@pytest.fixture
def unchecked(server):
    return server.client("elbv2", parameter_validation=False)

@pytest.fixture
def group(autoscaling):
    autoscaling.create_auto_scaling_group()
    yield

class Fleet:
    def __init__(self, ec2):
        self.ec2 = ec2
        ec2.run_instances()

    def size(self, n):
        self.autoscaling.set_desired_capacity(DesiredCapacity=n)

def settled(client):
    return until(lambda: client.describe_policies())

def refused(call):
    call()

def test_a(server, unchecked, group, cloudwatch):
    refused(unchecked.create_rule)
    cloudwatch.get_paginator("list_metrics").paginate()
    server.aws("ec2", "describe-vpcs", "--vpc-ids", "v")
    send(f"Action=DeleteTrigger&Version=2009-05-15&Name={group}")
    other = server.client("sqs")
    other.send_message()
    Fleet(other).size(3)
    settled(other)

def test_b(sns):
    "It calls nothing: sns.publish, autoscaling.delete_policy."
    sorted(sns)
'''


def test_calls_are_found_in_tests_and_in_what_helps_them(tmp_path):
    (tmp_path / "test_x.py").write_text(SOURCE)
    home = exercised.Module(tmp_path / "test_x.py")
    a, b = home.functions["test_a"], home.functions["test_b"]
    own = exercised.calls(a, home)
    assert own >= {("elbv2", "createrule"), ("cloudwatch", "listmetrics"), ("ec2", "describevpcs"), ("sqs", "sendmessage"),
                   ("2009-05-15", "deletetrigger")}
    helped = exercised.helped(a, home)
    assert helped >= {("autoscaling", "createautoscalinggroup"), ("ec2", "runinstances"), ("autoscaling", "setdesiredcapacity"),
                      ("", "describepolicies")}
    assert exercised.calls(b, home) == exercised.helped(b, home) == set()


def test_this_suite_calls_what_it_is_known_to_call():
    found = {t["test"]: t for t in exercised.tests()}
    mine = found["test_groups::test_capacity_follows_requests_and_bounds"]
    assert ["autoscaling", "setdesiredcapacity"] in [list(c) for c in mine["calls"]]
    assert ["autoscaling", "createautoscalinggroup"] in [list(c) for c in mine["helped"]]
