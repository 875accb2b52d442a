"""Target groups of a group, by either family of calls, and the classic load balancers that there are none of."""

import pytest

from conftest import until
from test_groups import describe, group, in_service, template  # noqa: F401 (fixtures)
from test_lists import refused


@pytest.fixture
def targets(ec2, elbv2):
    """Two target groups and what is registered in them."""
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    arns = [elbv2.create_target_group(Name=f"sources-{n}", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]
            for n in range(2)]

    def registered(arn):
        return {t["Target"]["Id"] for t in elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]}

    yield arns, registered
    for arn in arns:
        elbv2.delete_target_group(TargetGroupArn=arn)


def test_target_groups_are_attached_described_and_detached(autoscaling, group, targets):
    (one, two), registered = targets
    name = group("sources", MinSize=2)
    here = {"AutoScalingGroupName": name}
    members = {i["InstanceId"] for i in in_service(autoscaling, name, 2)}

    def states():
        found = autoscaling.describe_load_balancer_target_groups(**here)["LoadBalancerTargetGroups"]
        return {g["LoadBalancerTargetGroupARN"]: g["State"] for g in found}

    autoscaling.attach_load_balancer_target_groups(**here, TargetGroupARNs=[one])
    until(lambda: registered(one) == members, "the registrations")
    # It would be InService if a member had proved healthy; no listener uses the target group, so nobody asks them.
    assert states() == {one: "Added"}
    # Once more is no change.
    autoscaling.attach_load_balancer_target_groups(**here, TargetGroupARNs=[one])
    autoscaling.attach_traffic_sources(**here, TrafficSources=[{"Identifier": two}])
    assert describe(autoscaling, name)["TargetGroupARNs"] == [one, two]
    assert [s["Identifier"] for s in describe(autoscaling, name)["TrafficSources"]] == [one, two]
    until(lambda: registered(two) == members, "the second's registrations")
    sources = autoscaling.describe_traffic_sources(**here, TrafficSourceType="elbv2")["TrafficSources"]
    assert [(s["Identifier"], s["Type"]) for s in sources] == [(one, "elbv2"), (two, "elbv2")]
    assert autoscaling.describe_traffic_sources(**here, TrafficSourceType="elb")["TrafficSources"] == []

    autoscaling.detach_traffic_sources(**here, TrafficSources=[{"Identifier": one, "Type": "elbv2"}])
    until(lambda: one not in states(), "the detachment")
    assert registered(one) == set() and registered(two) == members
    # What grows from now on is registered with the other one alone.
    autoscaling.set_desired_capacity(**here, DesiredCapacity=3)
    members = {i["InstanceId"] for i in in_service(autoscaling, name, 3)}
    assert registered(two) == members and registered(one) == set()
    refused("ValidationError", autoscaling.detach_traffic_sources, **here, TrafficSources=[{"Identifier": one, "Type": "elbv2"}])
    refused("ValidationError", autoscaling.detach_load_balancer_target_groups, **here, TargetGroupARNs=[one])
    refused("ValidationError", autoscaling.attach_load_balancer_target_groups, **here, TargetGroupARNs=[one[:-1] + "0"])
    for kind in ("elb", "vpc-lattice"):
        refused("UnsupportedOperation", autoscaling.attach_traffic_sources, **here, TrafficSources=[
            {"Identifier": "classic", "Type": kind}])
    autoscaling.detach_load_balancer_target_groups(**here, TargetGroupARNs=[two])
    until(lambda: states() == {}, "the last detachment")
    assert registered(two) == set()


def test_there_are_no_classic_load_balancers(autoscaling, group):
    here = {"AutoScalingGroupName": group("classic")}
    for call in (autoscaling.attach_load_balancers, autoscaling.detach_load_balancers):
        assert "Load Balancers" in refused("ValidationError", call, **here, LoadBalancerNames=["classic"])
        refused("ValidationError", call, AutoScalingGroupName="none", LoadBalancerNames=["classic"])
    assert autoscaling.describe_load_balancers(**here)["LoadBalancers"] == []
    refused("ValidationError", autoscaling.describe_load_balancers, AutoScalingGroupName="none")
    assert describe(autoscaling, here["AutoScalingGroupName"])["LoadBalancerNames"] == []
