"""Mixed instances, weights, Spot and zones from the outside: boto3 on simulated instances."""

import pytest
from botocore.exceptions import ClientError

from conftest import until

IMAGE = "ami-0123456789abcdef0"


@pytest.fixture(scope="module")
def template(ec2):
    made = ec2.create_launch_template(LaunchTemplateName="mixed", LaunchTemplateData={
        "ImageId": IMAGE, "InstanceType": "m5.large"})["LaunchTemplate"]
    yield made["LaunchTemplateId"]
    ec2.delete_launch_template(LaunchTemplateId=made["LaunchTemplateId"])


@pytest.fixture
def group(autoscaling, template):
    made = []

    def make(name, overrides, distribution=None, **settings):
        settings = {"MinSize": 0, "MaxSize": 20, "AvailabilityZones": ["us-east-1a", "us-east-1b"], **settings}
        policy = {"LaunchTemplate": {"LaunchTemplateSpecification": {
            "LaunchTemplateId": template, "Version": "$Latest"}, "Overrides": overrides}}
        if distribution is not None:
            policy["InstancesDistribution"] = distribution
        autoscaling.create_auto_scaling_group(AutoScalingGroupName=name, MixedInstancesPolicy=policy, **settings)
        made.append(name)
        return name

    yield make
    for name in made:
        autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)
    # No name at all would ask for all groups there are.
    until(lambda: not made or not describe_all(autoscaling, made), "the groups' end")


def describe_all(autoscaling, names):
    return autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=names)["AutoScalingGroups"]


def describe(autoscaling, name):
    return describe_all(autoscaling, [name])[0]


def settled(autoscaling, name, count):
    def look():
        members = describe(autoscaling, name)["Instances"]
        ready = [m for m in members if m["LifecycleState"] == "InService"]
        return ready if len(ready) == len(members) == count else None

    return until(look, f"{count} instances of {name} in service") if count else until(
        lambda: not describe(autoscaling, name)["Instances"], "an empty group")


def lifecycles(ec2, members):
    ids = [m["InstanceId"] for m in members]
    found = [i for r in ec2.describe_instances(InstanceIds=ids)["Reservations"] for i in r["Instances"]]
    return {i["InstanceId"]: i.get("InstanceLifecycle", "on-demand") for i in found}


def fails(call, code, text=""):
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["Error"]["Code"] == code, error.value
    assert text in error.value.response["Error"]["Message"]


def test_the_distribution_is_kept_as_the_group_grows_and_shrinks(autoscaling, ec2, group):
    name = group("shares", [{"InstanceType": "m5.large"}, {"InstanceType": "c5.large"}],
                 {"OnDemandBaseCapacity": 1, "OnDemandPercentageAboveBaseCapacity": 25,
                  "SpotAllocationStrategy": "price-capacity-optimized"}, DesiredCapacity=5)
    kinds = list(lifecycles(ec2, settled(autoscaling, name, 5)).values())
    assert kinds.count("on-demand") == 2 and kinds.count("spot") == 3
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)
    assert list(lifecycles(ec2, settled(autoscaling, name, 1)).values()) == ["on-demand"]


def test_what_is_described_is_what_was_given_with_defaults(autoscaling, group):
    name = group("told", [{"InstanceType": "m5.large", "WeightedCapacity": "2"},
                          {"InstanceType": "m5.xlarge", "WeightedCapacity": "4"}], {"SpotMaxPrice": "0.05"})
    shown = describe(autoscaling, name)
    assert "LaunchTemplate" not in shown
    policy = shown["MixedInstancesPolicy"]
    assert policy["LaunchTemplate"]["Overrides"][1] == {"InstanceType": "m5.xlarge", "WeightedCapacity": "4"}
    assert policy["LaunchTemplate"]["LaunchTemplateSpecification"]["Version"] == "$Latest"
    assert policy["InstancesDistribution"] == {
        "OnDemandAllocationStrategy": "prioritized", "OnDemandBaseCapacity": 0,
        "OnDemandPercentageAboveBaseCapacity": 100, "SpotAllocationStrategy": "lowest-price", "SpotInstancePools": 2,
        "SpotMaxPrice": "0.05"}
    # An update changes what it names; an empty price takes the limit away.
    autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, MixedInstancesPolicy={"InstancesDistribution": {
        "OnDemandBaseCapacity": 3, "SpotMaxPrice": ""}})
    policy = describe(autoscaling, name)["MixedInstancesPolicy"]
    assert policy["InstancesDistribution"]["OnDemandBaseCapacity"] == 3
    assert "SpotMaxPrice" not in policy["InstancesDistribution"]
    assert len(policy["LaunchTemplate"]["Overrides"]) == 2


def test_weights_count_as_capacity(autoscaling, group):
    name = group("weighed", [{"InstanceType": "m5.xlarge", "WeightedCapacity": "4"},
                             {"InstanceType": "m5.large", "WeightedCapacity": "2"}], DesiredCapacity=10)
    members = settled(autoscaling, name, 3)
    assert {m["WeightedCapacity"] for m in members} == {"4"}
    # Two units fewer than twelve are less than any instance weighs; four are one instance.
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=9)
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=8)
    members = settled(autoscaling, name, 2)
    autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=members[0]["InstanceId"], ShouldDecrementDesiredCapacity=True)
    settled(autoscaling, name, 1)
    assert describe(autoscaling, name)["DesiredCapacity"] == 4


def test_types_can_be_chosen_by_attributes(autoscaling, group):
    needs = {"VCpuCount": {"Min": 2, "Max": 4}, "MemoryMiB": {"Min": 4096, "Max": 16384},
             "CpuManufacturers": ["amd"], "InstanceGenerations": ["current"]}
    name = group("attributes", [{"InstanceRequirements": needs}], {"OnDemandPercentageAboveBaseCapacity": 50},
                 DesiredCapacity=4)
    assert {m["InstanceType"].split(".")[0] for m in settled(autoscaling, name, 4)} <= {"c5a", "m5a"}
    shown = describe(autoscaling, name)["MixedInstancesPolicy"]
    assert shown["LaunchTemplate"]["Overrides"][0]["InstanceRequirements"]["VCpuCount"] == {"Min": 2, "Max": 4}
    assert shown["InstancesDistribution"]["OnDemandAllocationStrategy"] == "lowest-price"


def test_capacity_can_be_virtual_cpus(autoscaling, group):
    needs = {"VCpuCount": {"Min": 2, "Max": 2}, "MemoryMiB": {"Min": 4096}}
    name = group("cpus", [{"InstanceRequirements": needs}], DesiredCapacityType="vcpu", DesiredCapacity=5)
    members = settled(autoscaling, name, 3)
    assert {m["WeightedCapacity"] for m in members} == {"2"}
    assert describe(autoscaling, name)["DesiredCapacityType"] == "vcpu"


@pytest.mark.parametrize("overrides, distribution, text", [
    ([{"InstanceType": "m5.large", "WeightedCapacity": "2"}, {"InstanceType": "c5.large"}], None, "WeightedCapacity"),
    ([{"InstanceType": "m5.large", "WeightedCapacity": "1000"}], None, "WeightedCapacity"),
    ([{"InstanceType": "m5.mega"}], None, "m5.mega"),
    ([{"InstanceType": "m5.large"}, {"InstanceType": "m5.large"}], None, "more than one"),
    ([{"InstanceRequirements": {"VCpuCount": {"Min": 500}, "MemoryMiB": {"Min": 1}}}], None, "No instance type"),
    ([{"InstanceRequirements": {"VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 1}}}],
     {"OnDemandAllocationStrategy": "prioritized"}, "prioritized"),
    ([{"InstanceType": "m5.large"}], {"OnDemandPercentageAboveBaseCapacity": 101}, "0 to 100"),
    ([{"InstanceType": "m5.large"}], {"SpotAllocationStrategy": "capacity-optimized", "SpotInstancePools": 3},
     "lowest-price"),
    ([{"InstanceType": "m5.large"}], {"SpotMaxPrice": "cheap"}, "SpotMaxPrice"),
])
def test_policies_that_make_no_sense_are_refused(group, overrides, distribution, text):
    fails(lambda: group("refused", overrides, distribution), "ValidationError", text)


def test_what_the_catalogue_cannot_judge_is_refused_by_name(group):
    needs = {"VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 1}, "BaselineEbsBandwidthMbps": {"Min": 100}}
    fails(lambda: group("refused", [{"InstanceRequirements": needs}]), "UnsupportedOperation",
          "BaselineEbsBandwidthMbps")


def test_a_template_may_not_decide_against_the_distribution(autoscaling, ec2):
    made = ec2.create_launch_template(LaunchTemplateName="spot-only", LaunchTemplateData={
        "ImageId": IMAGE, "InstanceType": "m5.large",
        "InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.09"}}})["LaunchTemplate"]
    named = {"LaunchTemplateId": made["LaunchTemplateId"]}
    policy = {"LaunchTemplate": {"LaunchTemplateSpecification": named}}
    fails(lambda: autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="both", MinSize=0, MaxSize=1, AvailabilityZones=["us-east-1a"],
        MixedInstancesPolicy=policy), "ValidationError", "Spot")
    shown = ec2.describe_launch_template_versions(**named)["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    assert shown["InstanceMarketOptions"] == {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.090000"}}
    instance = ec2.run_instances(MinCount=1, MaxCount=1, LaunchTemplate=named)["Instances"][0]
    assert instance["InstanceLifecycle"] == "spot"
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    ec2.delete_launch_template(**named)


def test_zones_by_id_and_their_policies(autoscaling, template):
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="zoned", MinSize=0, MaxSize=1, AvailabilityZoneIds=["use1-az1", "use1-az2"],
        LaunchTemplate={"LaunchTemplateId": template},
        AvailabilityZoneDistribution={"CapacityDistributionStrategy": "balanced-only"},
        AvailabilityZoneImpairmentPolicy={
            "ZonalShiftEnabled": True, "ImpairedZoneHealthCheckBehavior": "IgnoreUnhealthy"})
    shown = describe(autoscaling, "zoned")
    assert shown["AvailabilityZones"] == ["us-east-1a", "us-east-1b"]
    assert shown["AvailabilityZoneIds"] == ["use1-az1", "use1-az2"]
    assert shown["AvailabilityZoneDistribution"] == {"CapacityDistributionStrategy": "balanced-only"}
    assert shown["AvailabilityZoneImpairmentPolicy"] == {
        "ZonalShiftEnabled": True, "ImpairedZoneHealthCheckBehavior": "IgnoreUnhealthy"}
    autoscaling.update_auto_scaling_group(
        AutoScalingGroupName="zoned",
        AvailabilityZoneDistribution={"CapacityDistributionStrategy": "balanced-best-effort"},
        AvailabilityZoneImpairmentPolicy={"ZonalShiftEnabled": False})
    shown = describe(autoscaling, "zoned")
    assert shown["AvailabilityZoneDistribution"] == {"CapacityDistributionStrategy": "balanced-best-effort"}
    assert shown["AvailabilityZoneImpairmentPolicy"] == {"ZonalShiftEnabled": False}
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="zoned")


def pool_of(autoscaling, name, count):
    def look():
        found = autoscaling.describe_warm_pool(AutoScalingGroupName=name)["Instances"]
        return found if [m["LifecycleState"] for m in found] == ["Warmed:Stopped"] * count else None

    return until(look, f"{count} instances that wait")


def test_a_warm_pool_beside_a_policy_that_is_on_demand(autoscaling, ec2, group):
    name = group("mixed-warm", [{"InstanceType": "m5.large"}, {"InstanceType": "c5.large"}],
                 {"OnDemandPercentageAboveBaseCapacity": 100}, DesiredCapacity=1, MaxSize=3)
    autoscaling.put_warm_pool(AutoScalingGroupName=name)
    waiting = pool_of(autoscaling, name, 2)
    settled(autoscaling, name, 1)
    assert list(lifecycles(ec2, waiting).values()) == ["on-demand", "on-demand"]
    assert {m["InstanceType"] for m in waiting} == {"m5.large"}
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=3)
    assert {m["InstanceId"] for m in waiting} <= {m["InstanceId"] for m in settled(autoscaling, name, 3)}

    def refused(call, **asked):
        with pytest.raises(ClientError) as e:
            call(AutoScalingGroupName=name, **asked)
        assert e.value.response["Error"]["Code"] == "ValidationError"
        return e.value.response["Error"]["Message"]

    # What could not wait in the pool is refused while there is one, and there is none for a group that launches it.
    distribution = {"InstancesDistribution": {"OnDemandBaseCapacity": 9, "OnDemandPercentageAboveBaseCapacity": 50}}
    weights = {"LaunchTemplate": {"Overrides": [{"InstanceType": "m5.large", "WeightedCapacity": "2"}]}}
    update = autoscaling.update_auto_scaling_group
    assert "Spot" in refused(update, MixedInstancesPolicy=distribution)
    assert "WeightedCapacity" in refused(update, MixedInstancesPolicy=weights)
    autoscaling.delete_warm_pool(AutoScalingGroupName=name, ForceDelete=True)
    until(lambda: "WarmPoolConfiguration" not in describe(autoscaling, name), "the pool's end")
    update(AutoScalingGroupName=name, MixedInstancesPolicy=distribution)
    assert "Spot" in refused(autoscaling.put_warm_pool)
    update(AutoScalingGroupName=name, MixedInstancesPolicy=weights)
    assert "WeightedCapacity" in refused(autoscaling.put_warm_pool)
