"""What Puffer does not do is refused by name, wherever a request can ask for it: nothing is stored and ignored."""

import copy

import pytest
from botocore.exceptions import ClientError

AMI = "ami-0123456789abcdef0"
GROUP = {"AutoScalingGroupName": "refused", "MinSize": 0, "MaxSize": 1, "AvailabilityZones": ["us-east-1a"],
         "LaunchConfigurationName": "refusals"}
CONFIGURATION = {"LaunchConfigurationName": "refused", "ImageId": AMI, "InstanceType": "t2.micro"}
TEMPLATE = {"LaunchTemplateName": "refusals", "Version": "1"}


@pytest.fixture(scope="module", autouse=True)
def world(autoscaling, ec2):
    """A group to ask of, from a template."""
    autoscaling.create_launch_configuration(**{**CONFIGURATION, "LaunchConfigurationName": "refusals"})
    ec2.create_launch_template(LaunchTemplateName="refusals", LaunchTemplateData={"ImageId": AMI, "InstanceType": "t2.micro"})
    autoscaling.create_auto_scaling_group(**{**GROUP, "AutoScalingGroupName": "asked"})
    yield
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="asked", ForceDelete=True)
    autoscaling.delete_launch_configuration(LaunchConfigurationName="refusals")
    ec2.delete_launch_template(LaunchTemplateName="refusals")


def refused(call, **request):
    with pytest.raises(ClientError) as error:
        call(**request)
    said = error.value.response["Error"]
    assert said["Code"] == "UnsupportedOperation", said
    return said["Message"]


def policy(distribution=None, override=None):
    return {"LaunchTemplate": {"LaunchTemplateSpecification": TEMPLATE, "Overrides": [override or {"InstanceType": "m5.large"}]},
            "InstancesDistribution": distribution or {}}


SETTINGS = [
    {"PlacementGroup": "p"},
    {"CapacityReservationSpecification": {"CapacityReservationPreference": "none"}},
    {"HealthCheckType": "EC2,EBS"},
    {"HealthCheckType": "VPC_LATTICE"},
    {"TerminationPolicies": ["arn:aws:lambda:us-east-1:123456789012:function:f:1"]},
    {"AvailabilityZoneDistribution": {"CapacityDistributionStrategy": "reservations-then-balanced"}},
    {"MixedInstancesPolicy": policy({"DistributionSegments": [{"TargetCapacityTypes": ["on-demand"]}]})},
    {"MixedInstancesPolicy": policy(override={"InstanceRequirements": {
        "VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 1}, "BaselineEbsBandwidthMbps": {"Min": 1}}})},
    {"MixedInstancesPolicy": policy(override={"InstanceRequirements": {
        "VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 1},
        "BaselinePerformanceFactors": {"Cpu": {"References": [{"InstanceFamily": "c6i"}]}}}})},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(s))
def test_settings_of_groups(autoscaling, setting):
    request = {k: v for k, v in GROUP.items() if not ("MixedInstancesPolicy" in setting and k == "LaunchConfigurationName")}
    refused(autoscaling.create_auto_scaling_group, **request, **setting)
    refused(autoscaling.update_auto_scaling_group, AutoScalingGroupName="asked", **setting)


ROLE = "arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"


@pytest.mark.parametrize("wrong", [
    {"AutoScalingGroupName": "with:colon"}, {"ServiceLinkedRoleARN": "arn:aws:iam::123456789012:role/mine"},
    {"ServiceLinkedRoleARN": ROLE + "2"}, {"ServiceLinkedRoleARN": ROLE.replace("123456789012", "")},
], ids=lambda s: "-".join(s))
def test_names_that_cannot_be(autoscaling, wrong):
    with pytest.raises(ClientError) as error:
        autoscaling.create_auto_scaling_group(**{**GROUP, **wrong})
    said = error.value.response["Error"]
    assert said["Code"] == "ValidationError" and next(iter(wrong.values())) in said["Message"], said


def test_roles_and_types_that_can_be(autoscaling):
    asked = {"AutoScalingGroupName": "asked"}
    for role in (ROLE, ROLE + "_mine"):
        autoscaling.update_auto_scaling_group(**asked, ServiceLinkedRoleARN=role)
        shown = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["asked"])["AutoScalingGroups"][0]
        assert shown["ServiceLinkedRoleARN"] == role
    with pytest.raises(ClientError, match="Invalid instance type: t2.gigantic"):
        autoscaling.create_launch_configuration(**{**CONFIGURATION, "InstanceType": "t2.gigantic"})


@pytest.mark.parametrize("setting", [
    {"ClassicLinkVPCId": "vpc-1"}, {"ClassicLinkVPCSecurityGroups": ["sg-1"]}, {"KernelId": "aki-1"}, {"RamdiskId": "ari-1"},
    {"PlacementTenancy": "dedicated"},
], ids=lambda s: "-".join(s))
def test_settings_of_launch_configurations(autoscaling, setting):
    name = next(iter(setting))
    assert name in refused(autoscaling.create_launch_configuration, **CONFIGURATION, **setting)


def test_the_rest_of_auto_scaling(autoscaling):
    asked = {"AutoScalingGroupName": "asked"}
    refused(autoscaling.put_warm_pool, **asked, PoolState="Hibernated")
    refused(autoscaling.attach_traffic_sources, **asked, TrafficSources=[{"Identifier": "x", "Type": "vpc-lattice"}])


INTERFACE = {"DeviceIndex": 0}
ROOT = {"DeviceName": "/dev/xvda"}
LAUNCHES = [
    {"KernelId": "aki-1"},
    {"Placement": {"Affinity": "host"}},
    {"Placement": {"GroupName": "p"}},
    {"Placement": {"GroupId": "pg-0123456789abcdef0"}},
    {"Placement": {"PartitionNumber": 1}},
    {"Placement": {"SpreadDomain": "x"}},
    {"Placement": {"Tenancy": "dedicated"}},
    {"Placement": {"HostId": "h-1"}},
    {"CpuOptions": {"CoreCount": 1}},
    {"HibernationOptions": {"Configured": True}},
    {"EnclaveOptions": {"Enabled": True}},
    {"CapacityReservationSpecification": {"CapacityReservationPreference": "capacity-reservations-only"}},
    {"LicenseSpecifications": [{"LicenseConfigurationArn": "arn:aws:license-manager:us-east-1:1:license-configuration:x"}]},
    {"PrivateDnsNameOptions": {"HostnameType": "resource-name"}},
    {"PrivateDnsNameOptions": {"EnableResourceNameDnsARecord": True}},
    {"MaintenanceOptions": {"AutoRecovery": "disabled"}},
    {"MetadataOptions": {"HttpProtocolIpv6": "enabled"}},
    {"NetworkPerformanceOptions": {"BandwidthWeighting": "vpc-1"}},
    {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "persistent"}}},
    {"BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}]},
    *({"BlockDeviceMappings": [{**ROOT, "Ebs": ebs}]} for ebs in [
        {"SnapshotId": "snap-0123456789abcdef0"}, {"VolumeType": "io1"}, {"VolumeType": "gp3", "Iops": 4000},
        {"VolumeType": "gp3", "Throughput": 500}, {"Encrypted": True}, {"KmsKeyId": "k"}, {"DeleteOnTermination": False}]),
    *({"NetworkInterfaces": [{**INTERFACE, **extra}]} for extra in [
        {"Ipv6Addresses": [{"Ipv6Address": "fd00::1"}]}, {"Ipv6AddressCount": 1}, {"PrimaryIpv6": True},
        {"Ipv4Prefixes": [{"Ipv4Prefix": "10.0.0.0/28"}]}, {"Ipv4PrefixCount": 1}, {"Ipv6PrefixCount": 1},
        {"InterfaceType": "efa"}, {"NetworkCardIndex": 1}, {"AssociateCarrierIpAddress": True},
        {"SecondaryPrivateIpAddressCount": 1}, {"DeleteOnTermination": False}]),
]


@pytest.mark.parametrize("asked", LAUNCHES, ids=str)
def test_launches(ec2, asked):
    refused(ec2.run_instances, ImageId=AMI, MinCount=1, MaxCount=1, **copy.deepcopy(asked))
    refused(ec2.create_launch_template, LaunchTemplateName="refused", LaunchTemplateData={"ImageId": AMI, **copy.deepcopy(asked)})



def test_what_is_the_default_may_be_said(ec2):
    made = ec2.run_instances(
        ImageId=AMI, MinCount=1, MaxCount=1,
        Placement={"AvailabilityZoneId": "use1-az2", "Tenancy": "default", "Affinity": "default"},
        CapacityReservationSpecification={"CapacityReservationPreference": "open"},
        PrivateDnsNameOptions={"HostnameType": "ip-name", "EnableResourceNameDnsARecord": False},
        MaintenanceOptions={"AutoRecovery": "default"},
        MetadataOptions={"HttpProtocolIpv6": "disabled"},
        BlockDeviceMappings=[{**ROOT, "Ebs": {"VolumeType": "gp3", "Iops": 3000, "Throughput": 125, "VolumeSize": 9}}],
        NetworkInterfaces=[{**INTERFACE, "InterfaceType": "interface", "NetworkCardIndex": 0}])["Instances"][0]
    try:
        assert made["Placement"]["AvailabilityZone"] == "us-east-1b"
    finally:
        ec2.terminate_instances(InstanceIds=[made["InstanceId"]], Force=True, SkipOsShutdown=True)


def test_a_zone_and_another_zones_id(ec2):
    with pytest.raises(ClientError) as error:
        ec2.run_instances(ImageId=AMI, MinCount=1, MaxCount=1,
                          Placement={"AvailabilityZone": "us-east-1a", "AvailabilityZoneId": "use1-az2"})
    assert error.value.response["Error"]["Code"] == "InvalidParameterCombination"
