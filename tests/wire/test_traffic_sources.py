"""Target groups and classic load balancers of a group, by either family of calls."""

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
    refused("ValidationError", autoscaling.attach_load_balancer_target_groups, **here, TargetGroupARNs=[one + "0"])
    refused("UnsupportedOperation", autoscaling.attach_traffic_sources, **here, TrafficSources=[
        {"Identifier": "lattice", "Type": "vpc-lattice"}])
    autoscaling.detach_load_balancer_target_groups(**here, TargetGroupARNs=[two])
    until(lambda: states() == {}, "the last detachment")
    assert registered(two) == set()


@pytest.fixture
def classic(elb):
    """Makes classic load balancers and deletes them."""
    made = []

    def make(name):
        elb.create_load_balancer(LoadBalancerName=name, AvailabilityZones=["us-east-1a", "us-east-1b"], Listeners=[
            {"Protocol": "HTTP", "LoadBalancerPort": 80, "InstancePort": 80}])
        made.append(name)
        return name

    yield make
    for name in made:
        elb.delete_load_balancer(LoadBalancerName=name)


def test_classic_load_balancers_are_attached_described_and_detached(autoscaling, elb, elbv2, group, classic):
    one, two = classic("sources-one"), classic("sources-two")
    name = group("classic", MinSize=2, LoadBalancerNames=[one])
    here = {"AutoScalingGroupName": name}
    members = {i["InstanceId"] for i in in_service(autoscaling, name, 2)}

    def registered(balancer):
        return {i["InstanceId"] for i in elb.describe_load_balancers(LoadBalancerNames=[balancer])
                ["LoadBalancerDescriptions"][0]["Instances"]}

    def states():
        return {b["LoadBalancerName"]: b["State"] for b in autoscaling.describe_load_balancers(**here)["LoadBalancers"]}

    until(lambda: registered(one) == members, "the registrations")
    assert states()[one] in ("Added", "InService")
    shown = describe(autoscaling, name)
    assert (shown["LoadBalancerNames"], shown["TargetGroupARNs"]) == ([one], [])
    assert shown["TrafficSources"] == [{"Identifier": one, "Type": "elb"}]
    # Version 2 knows nothing of them.
    assert not [g for g in elbv2.describe_target_groups()["TargetGroups"] if "sources-" in g["TargetGroupName"]]

    autoscaling.attach_load_balancers(**here, LoadBalancerNames=[two, one])
    until(lambda: registered(two) == members, "the second's registrations")
    assert set(states()) == {one, two}
    sources = autoscaling.describe_traffic_sources(**here, TrafficSourceType="elb")["TrafficSources"]
    assert [(s["Identifier"], s["Type"]) for s in sources] == [(one, "elb"), (two, "elb")]
    assert autoscaling.describe_traffic_sources(**here, TrafficSourceType="elbv2")["TrafficSources"] == []
    assert autoscaling.describe_load_balancer_target_groups(**here)["LoadBalancerTargetGroups"] == []

    autoscaling.detach_traffic_sources(**here, TrafficSources=[{"Identifier": one, "Type": "elb"}])
    until(lambda: states().keys() == {two}, "the detachment")
    assert registered(one) == set() and registered(two) == members
    autoscaling.attach_traffic_sources(**here, TrafficSources=[{"Identifier": one, "Type": "elb"}])
    until(lambda: registered(one) == members, "the registrations once more")
    # Who leaves the group leaves the load balancers.
    gone = autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=sorted(members)[0], ShouldDecrementDesiredCapacity=False)["Activity"]
    assert gone["Description"].startswith("Terminating EC2 instance")
    until(lambda: sorted(members)[0] not in registered(one) | registered(two), "its leaving")
    until(lambda: len(registered(two)) == 2, "its successor")
    autoscaling.detach_load_balancers(**here, LoadBalancerNames=[one])
    until(lambda: states().keys() == {two}, "the detachment")
    # A load balancer that is deleted stays attached by its name, and can be detached.
    elb.delete_load_balancer(LoadBalancerName=two)
    assert describe(autoscaling, name)["LoadBalancerNames"] == [two]
    autoscaling.detach_load_balancers(**here, LoadBalancerNames=[two])
    until(lambda: states() == {}, "the last detachment")


def test_classic_load_balancers_that_are_not_there(autoscaling, group):
    here = {"AutoScalingGroupName": group("classic-none")}
    text = refused("ValidationError", autoscaling.attach_load_balancers, **here, LoadBalancerNames=["none"])
    assert text == "Provided Load Balancers may not be valid. Please ensure they exist and try again."
    refused("ValidationError", autoscaling.attach_traffic_sources, **here, TrafficSources=[
        {"Identifier": "none", "Type": "elb"}])
    text = refused("ValidationError", autoscaling.detach_load_balancers, **here, LoadBalancerNames=["none"])
    assert text.startswith("Trying to remove Load Balancers that are not part of the group")
    refused("ValidationError", autoscaling.create_auto_scaling_group, AutoScalingGroupName="classic-wrong", MinSize=0, MaxSize=1,
            AvailabilityZones=["us-east-1a"], LaunchTemplate={"LaunchTemplateName": "web"}, LoadBalancerNames=["none"])
    for call in (autoscaling.attach_load_balancers, autoscaling.detach_load_balancers):
        refused("ValidationError", call, AutoScalingGroupName="none", LoadBalancerNames=["none"])
    assert autoscaling.describe_load_balancers(**here)["LoadBalancers"] == []
    refused("ValidationError", autoscaling.describe_load_balancers, AutoScalingGroupName="none")
    assert describe(autoscaling, here["AutoScalingGroupName"])["LoadBalancerNames"] == []

