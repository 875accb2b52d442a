"""The Spot market, interruptions and zones: boto3 on simulated instances, moved by `puffer spot` and `puffer zone`."""

import datetime
import json
import subprocess

import pytest
from botocore.exceptions import ClientError

from conftest import PUFFER, until

IMAGE = "ami-0123456789abcdef0"
ZONES = ["us-east-1a", "us-east-1b"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A server of this module's own: what the market does concerns every Spot instance."""
    from conftest import Server

    server = Server(tmp_path_factory.mktemp("spot") / "data", "--any-image", "--boot-time", "50")
    server.data_dir.mkdir()
    server.start()
    yield World(server)
    server.stop()


class World:
    def __init__(self, server):
        self.server = server
        self.ec2 = server.client("ec2")
        self.autoscaling = server.client("autoscaling")
        made = self.ec2.create_launch_template(LaunchTemplateName="spot", LaunchTemplateData={
            "ImageId": IMAGE, "InstanceType": "m5.large"})
        self.template = made["LaunchTemplate"]["LaunchTemplateId"]
        self.groups = []

    def puffer(self, *words, check=True):
        done = subprocess.run([PUFFER, *words, "--data-dir", self.server.data_dir],
                              capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout if check else done

    def run(self, kind="t3.micro", count=1, **options):
        spot = {"MarketType": "spot", **({"SpotOptions": options.pop("spot")} if "spot" in options else {})}
        return self.ec2.run_instances(ImageId=IMAGE, InstanceType=kind, MinCount=count, MaxCount=count,
                                      InstanceMarketOptions=spot, **options)["Instances"]

    def group(self, name, types, distribution, zones=ZONES, **settings):
        policy = {"LaunchTemplate": {"LaunchTemplateSpecification": {"LaunchTemplateId": self.template},
                                     "Overrides": [{"InstanceType": t} for t in types]},
                  "InstancesDistribution": distribution}
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name, MixedInstancesPolicy=policy, AvailabilityZones=zones,
            **{"MinSize": 0, "MaxSize": 10, **settings})
        self.groups.append(name)
        return name

    def describe(self, name):
        return self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]

    def settled(self, name, count, but=()):
        def look():
            members = self.describe(name)["Instances"]
            good = [m for m in members if m["LifecycleState"] == "InService" and m["InstanceId"] not in but]
            return good if len(good) == len(members) == count else None

        return until(look, f"{count} instances of {name}")

    def lifecycles(self, members):
        found = self.ec2.describe_instances(InstanceIds=[m["InstanceId"] for m in members])["Reservations"]
        return sorted(i.get("InstanceLifecycle", "on-demand") for r in found for i in r["Instances"])

    def failures(self, name):
        seen = self.autoscaling.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]
        return [a["StatusMessage"] for a in seen if a["StatusCode"] == "Failed"]

    def delete(self, name):
        self.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)


def fails(call, code):
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["Error"]["Code"] == code, error.value


def test_a_spot_instance_and_its_request(world):
    instance = world.run(TagSpecifications=[{
        "ResourceType": "spot-instances-request", "Tags": [{"Key": "a", "Value": "b"}]}])[0]
    assert instance["InstanceLifecycle"] == "spot"
    request = instance["SpotInstanceRequestId"]
    assert request.startswith("sir-")
    world.ec2.get_waiter("spot_instance_request_fulfilled").wait(SpotInstanceRequestIds=[request])
    shown = world.ec2.describe_spot_instance_requests(Filters=[{"Name": "tag:a", "Values": ["b"]}])
    [shown] = shown["SpotInstanceRequests"]
    assert (shown["State"], shown["Status"]["Code"]) == ("active", "fulfilled")
    assert (shown["InstanceId"], shown["SpotPrice"]) == (instance["InstanceId"], "0.010400")
    until(lambda: world.ec2.describe_instances(InstanceIds=[instance["InstanceId"]])["Reservations"][0]["Instances"][0][
        "State"]["Name"] == "running", "a running instance")
    fails(lambda: world.ec2.stop_instances(InstanceIds=[instance["InstanceId"]]), "UnsupportedOperation")
    gone = world.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request])["CancelledSpotInstanceRequests"]
    assert gone == [{"SpotInstanceRequestId": request, "State": "cancelled"}]
    [shown] = world.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request])["SpotInstanceRequests"]
    assert shown["Status"]["Code"] == "request-canceled-and-instance-running"
    other = world.run()[0]
    world.ec2.terminate_instances(InstanceIds=[instance["InstanceId"], other["InstanceId"]])
    [shown] = world.ec2.describe_spot_instance_requests(
        SpotInstanceRequestIds=[other["SpotInstanceRequestId"]])["SpotInstanceRequests"]
    assert (shown["State"], shown["Status"]["Code"]) == ("closed", "instance-terminated-by-user")
    fails(lambda: world.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=["sir-0123456789abcdef0"]),
          "InvalidSpotInstanceRequestID.NotFound")


def test_what_the_market_refuses(world):
    fails(lambda: world.run(spot={"MaxPrice": "0.0001"}), "SpotMaxPriceTooLow")
    fails(lambda: world.run(spot={"MaxPrice": "cheap"}), "InvalidSpotPrice")
    fails(lambda: world.run(spot={"SpotInstanceType": "persistent"}), "UnsupportedOperation")
    world.puffer("spot", "set", "t2.nano", "--capacity", "1")
    fails(lambda: world.run("t2.nano", 2, Placement={"AvailabilityZone": ZONES[0]}), "InsufficientInstanceCapacity")
    world.puffer("spot", "set", "t2.nano", "--capacity", "machine")
    world.puffer("spot", "market", "--limit", "0")
    fails(lambda: world.run("t2.nano"), "MaxSpotInstanceCountExceeded")
    world.puffer("spot", "market", "--limit", "none")
    assert world.puffer("spot", "set", "x9.*", "--capacity", "1", check=False).returncode != 0


def test_price_history_shows_what_was_set(world):
    world.puffer("spot", "set", "r5.large", "--zone", ZONES[0], "--price", "0.05")
    now = datetime.datetime.now(datetime.timezone.utc)
    history = world.ec2.describe_spot_price_history(
        InstanceTypes=["r5.large"], AvailabilityZone=ZONES[0], ProductDescriptions=["Linux/UNIX"],
        StartTime=now - datetime.timedelta(days=2), EndTime=now + datetime.timedelta(seconds=5))["SpotPriceHistory"]
    assert history[0]["SpotPrice"] == "0.050000"
    assert len(history) > 2 and [h["Timestamp"] for h in history] == sorted((h["Timestamp"] for h in history), reverse=True)
    assert all(0 < float(h["SpotPrice"]) < 0.126 for h in history)
    paged = world.ec2.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=["r5.large"], StartTime=now - datetime.timedelta(days=3), PaginationConfig={"PageSize": 5})
    seen = [(h["AvailabilityZone"], h["Timestamp"]) for page in paged for h in page["SpotPriceHistory"]]
    assert len(seen) == len(set(seen)) > 20
    world.puffer("spot", "set", "r5.large", "--price", "model")
    listed = json.loads(world.puffer("spot", "list", "r5.large", "--json"))["pools"]
    assert len(listed) == 3 and all(p["price"] != "0.050000" for p in listed)


def test_an_interruption_gives_notice(world):
    instance = world.run()[0]["InstanceId"]
    world.puffer("spot", "interrupt", instance)
    [shown] = world.ec2.describe_spot_instance_requests(
        Filters=[{"Name": "instance-id", "Values": [instance]}])["SpotInstanceRequests"]
    assert shown["Status"]["Code"] == "marked-for-termination"
    plain = world.ec2.run_instances(ImageId=IMAGE, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]
    assert world.puffer("spot", "interrupt", plain["InstanceId"], check=False).returncode != 0
    world.ec2.terminate_instances(InstanceIds=[instance, plain["InstanceId"]])


def test_capacity_at_risk_is_replaced_first(world):
    name = world.group("moving", ["m5.large", "c5.large", "r5.large"],
                       {"OnDemandPercentageAboveBaseCapacity": 0, "SpotAllocationStrategy": "capacity-optimized"},
                       CapacityRebalance=True, DesiredCapacity=2, MaxSize=2)
    members = world.settled(name, 2)
    assert world.describe(name)["CapacityRebalance"] is True
    victim = members[0]["InstanceId"]
    world.puffer("spot", "rebalance", victim)
    world.settled(name, 2, but=[victim])
    told = world.autoscaling.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]
    causes = " ".join(a["Cause"] for a in told)
    assert "rebalance recommendation" in causes
    [gone] = [a["StartTime"] for a in told if a["Description"] == f"Terminating EC2 instance: {victim}"]
    # The market chose the successor's zone; the group may have moved it to another one since.
    [successor] = [a["StartTime"] for a in told
                   if a["Description"].startswith("Launching") and "rebalance recommendation" in a["Cause"]]
    assert successor <= gone
    # A notice takes the instance out at once.
    victim = world.describe(name)["Instances"][0]["InstanceId"]
    world.puffer("spot", "interrupt", victim)
    world.settled(name, 2, but=[victim])
    world.delete(name)


def test_without_spot_capacity_a_group_waits_or_falls_back(world):
    world.puffer("spot", "set", "c6i.*", "--capacity", "0")
    spot_only = {"OnDemandPercentageAboveBaseCapacity": 0, "SpotAllocationStrategy": "price-capacity-optimized"}
    waits = world.group("waits", ["c6i.large", "c6i.xlarge"], spot_only, DesiredCapacity=2)
    falls = world.group("falls", ["c6i.large", "c6i.xlarge"], spot_only, DesiredCapacity=2,
                        Tags=[{"Key": "puffer:on-demand-fallback", "Value": "true"}])
    assert world.lifecycles(world.settled(falls, 2)) == ["on-demand", "on-demand"]
    seen = until(lambda: world.failures(waits), "a failed launch")
    assert "not enough c6i.large capacity" in seen[0]
    assert not world.describe(waits)["Instances"]
    # Once the market sells again, the group that waited gets what it wants.
    world.puffer("spot", "set", "c6i.*", "--capacity", "machine")
    assert world.lifecycles(world.settled(waits, 2)) == ["spot", "spot"]
    world.delete(waits)
    world.delete(falls)


def test_a_zone_that_is_down_is_left_and_filled_again(world):
    name = world.group("zones", ["m5.large"], {}, DesiredCapacity=2)
    assert sorted(m["AvailabilityZone"] for m in world.settled(name, 2)) == ZONES
    until(lambda: all(s["SystemStatus"]["Status"] == "ok"
                      for s in world.ec2.describe_instance_status()["InstanceStatuses"]), "passed checks")
    world.puffer("zone", "down", ZONES[0])
    states = {s["AvailabilityZone"]: s["SystemStatus"]["Status"]
              for s in world.ec2.describe_instance_status()["InstanceStatuses"]}
    assert states[ZONES[0]] == "impaired" and states[ZONES[1]] == "ok"
    fails(lambda: world.ec2.run_instances(ImageId=IMAGE, InstanceType="t3.micro", MinCount=1, MaxCount=1, Placement={
        "AvailabilityZone": ZONES[0]}), "InsufficientInstanceCapacity")
    world.autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=5)
    zones = [m["AvailabilityZone"] for m in world.settled(name, 5)]
    assert zones.count(ZONES[1]) == 4
    listed = json.loads(world.puffer("zone", "list", "--json"))["zones"]
    assert [bool(z["down_since"]) for z in listed] == [True, False, False]
    # What is stopped there cannot start, and what is left of the checks stays so, also after a restart of the server.
    there = next(m["InstanceId"] for m in world.describe(name)["Instances"] if m["AvailabilityZone"] == ZONES[0])
    world.server.kill()
    world.server.start()
    [status] = world.ec2.describe_instance_status(InstanceIds=[there])["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == status["SystemStatus"]["Status"] == "impaired"
    world.puffer("zone", "up", ZONES[0])
    until(lambda: sorted(m["AvailabilityZone"] for m in world.settled(name, 5)).count(ZONES[0]) in (2, 3), "even zones")
    world.delete(name)


def test_a_shifted_group_launches_elsewhere(world):
    name = world.group("shifted", ["m5.large"], {}, AvailabilityZoneImpairmentPolicy={
        "ZonalShiftEnabled": True, "ImpairedZoneHealthCheckBehavior": "ReplaceUnhealthy"})
    world.puffer("zone", "shift", name, "--away-from", ZONES[0], "--minutes", "5")
    world.autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=2)
    assert [m["AvailabilityZone"] for m in world.settled(name, 2)] == [ZONES[1]] * 2
    world.puffer("zone", "end-shift", name)
    until(lambda: sorted(m["AvailabilityZone"] for m in world.settled(name, 2)) == ZONES, "even zones")
    other = world.group("unshifted", ["m5.large"], {})
    assert world.puffer("zone", "shift", other, "--away-from", ZONES[0], check=False).returncode != 0
    world.delete(name)
    world.delete(other)


def test_instances_are_launched_synchronously_and_once(world):
    name = world.group("sync", ["m5.large"], {}, MaxSize=4)
    # Else the group would even out the zones that the calls fill by name.
    world.autoscaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=["AZRebalance"])
    ask = {"AutoScalingGroupName": name, "RequestedCapacity": 2, "ClientToken": "token-1", "AvailabilityZones": [ZONES[1]]}
    first = world.autoscaling.launch_instances(**ask)
    [made] = first["Instances"]
    assert (made["AvailabilityZone"], made["MarketType"], len(made["InstanceIds"])) == (ZONES[1], "OnDemand", 2)
    again = world.autoscaling.launch_instances(**ask)
    assert again["Instances"] == first["Instances"]
    assert {m["InstanceId"] for m in world.settled(name, 2)} == set(made["InstanceIds"])
    assert world.describe(name)["DesiredCapacity"] == 2
    fails(lambda: world.autoscaling.launch_instances(**{**ask, "RequestedCapacity": 1}), "IdempotentParameterMismatch")
    fails(lambda: world.autoscaling.launch_instances(**{**ask, "ClientToken": "t2", "RequestedCapacity": 3}), "ValidationError")
    fails(lambda: world.autoscaling.launch_instances(
        AutoScalingGroupName=name, RequestedCapacity=1, ClientToken="t3"), "ValidationError")
    # A zone without capacity is told, not retried behind the caller's back.
    world.puffer("zone", "down", ZONES[0])
    refused = world.autoscaling.launch_instances(
        AutoScalingGroupName=name, RequestedCapacity=1, ClientToken="t4", AvailabilityZoneIds=["use1-az1"])
    assert not refused["Instances"] and refused["Errors"][0]["ErrorCode"] == "InsufficientInstanceCapacity"
    assert world.describe(name)["DesiredCapacity"] == 2
    # With the group's own configuration, the rest comes wherever the group may.
    world.autoscaling.launch_instances(
        AutoScalingGroupName=name, RequestedCapacity=1, ClientToken="t5", AvailabilityZones=[ZONES[0]],
        RetryStrategy="retry-with-group-configuration")
    assert len(world.settled(name, 3)) == 3
    world.puffer("zone", "up", ZONES[0])
    world.delete(name)


def test_an_instance_is_the_source_of_configurations_and_groups(world):
    source = world.ec2.run_instances(ImageId=IMAGE, InstanceType="t3.small", MinCount=1, MaxCount=1, UserData="#!/bin/sh")
    source = source["Instances"][0]["InstanceId"]
    world.autoscaling.create_launch_configuration(
        LaunchConfigurationName="of-instance", InstanceId=source, InstanceType="t3.medium", SpotPrice="0.03")
    [made] = world.autoscaling.describe_launch_configurations(
        LaunchConfigurationNames=["of-instance"])["LaunchConfigurations"]
    assert (made["InstanceType"], made["ImageId"], made["SpotPrice"]) == ("t3.medium", IMAGE, "0.03")
    world.autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="of-instance-group", InstanceId=source, MinSize=1, MaxSize=1, AvailabilityZones=ZONES)
    assert world.describe("of-instance-group")["LaunchConfigurationName"] == "of-instance-group"
    assert world.settled("of-instance-group", 1)[0]["InstanceType"] == "t3.small"
    world.delete("of-instance-group")
    world.ec2.terminate_instances(InstanceIds=[source])


def test_a_launch_configuration_acts_on_what_it_is_given(world):
    make = world.autoscaling.create_launch_configuration
    root = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 33, "VolumeType": "gp3"}}
    made = {"ImageId": IMAGE, "InstanceType": "t3.large"}
    fails(lambda: make(LaunchConfigurationName="two", BlockDeviceMappings=[
        root, {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}], **made), "UnsupportedOperation")
    fails(lambda: make(LaunchConfigurationName="big", BlockDeviceMappings=[
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20000}}], **made), "ValidationError")
    make(LaunchConfigurationName="full", BlockDeviceMappings=[root, {"DeviceName": "/dev/sdb", "NoDevice": True}],
         SpotPrice="0.08", InstanceMonitoring={"Enabled": False}, AssociatePublicIpAddress=False, **made)
    [shown] = world.autoscaling.describe_launch_configurations(LaunchConfigurationNames=["full"])["LaunchConfigurations"]
    assert shown["BlockDeviceMappings"] == [root] and shown["InstanceMonitoring"] == {"Enabled": False}
    world.autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="full", LaunchConfigurationName="full", MinSize=1, MaxSize=1, AvailabilityZones=ZONES)
    id = world.settled("full", 1)[0]["InstanceId"]
    [instance] = world.ec2.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"]
    assert (instance["InstanceLifecycle"], instance["Monitoring"]["State"]) == ("spot", "disabled")
    assert "PublicIpAddress" not in instance
    [volume] = world.ec2.describe_volumes(VolumeIds=[instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]])["Volumes"]
    assert volume["Size"] == 33
    world.delete("full")


def test_types_by_requirements(world):
    found = world.ec2.get_instance_types_from_instance_requirements(
        ArchitectureTypes=["x86_64"], VirtualizationTypes=["hvm"],
        InstanceRequirements={"VCpuCount": {"Min": 16}, "MemoryMiB": {"Min": 100000}})["InstanceTypes"]
    assert [t["InstanceType"] for t in found] == ["r5.4xlarge", "r6i.4xlarge"]
