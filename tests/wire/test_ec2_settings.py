"""EC2's smaller calls through boto3: rules of security groups, attributes, defaults and the views of what there is."""

import pytest

from conftest import until
from test_ec2 import AMI, QUICK, code, default_vpc, describe, instance, name  # noqa: F401 (fixture)


@pytest.fixture
def security_group(ec2):
    made = ec2.create_security_group(GroupName=name("rules"), Description="rules")["GroupId"]
    yield made
    ec2.delete_security_group(GroupId=made)


def test_rules_one_by_one(ec2, security_group):
    here = {"GroupId": security_group}

    def rules(**more):
        found = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [security_group]}], **more)
        return {r["SecurityGroupRuleId"]: r for r in found["SecurityGroupRules"]}

    (first, everything), = rules().items()
    assert everything["IsEgress"] and (everything["IpProtocol"], everything["CidrIpv4"]) == ("-1", "0.0.0.0/0")
    web = [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "inside"}]}]
    made = ec2.authorize_security_group_egress(**here, IpPermissions=web, TagSpecifications=[
        {"ResourceType": "security-group-rule", "Tags": [{"Key": "made", "Value": "by hand"}]}])["SecurityGroupRules"][0]
    assert (made["IsEgress"], made["CidrIpv4"], made["Description"], made["FromPort"]) == (True, "10.0.0.0/8", "inside", 443)
    assert code(ec2.authorize_security_group_egress, **here, IpPermissions=web) == "InvalidPermission.Duplicate"
    gone = ec2.revoke_security_group_egress(**here, SecurityGroupRuleIds=[first])["RevokedSecurityGroupRules"]
    assert [g["SecurityGroupRuleId"] for g in gone] == [first]
    assert list(rules()) == [made["SecurityGroupRuleId"]]
    ec2.modify_security_group_rules(**here, SecurityGroupRules=[{
        "SecurityGroupRuleId": made["SecurityGroupRuleId"],
        "SecurityGroupRule": {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIpv4": "10.1.0.0/16", "Description": "names"}}])
    changed = rules()[made["SecurityGroupRuleId"]]
    assert (changed["IpProtocol"], changed["FromPort"], changed["CidrIpv4"], changed["Description"]) == (
        "udp", 53, "10.1.0.0/16", "names")
    shown = ec2.describe_security_groups(GroupIds=[security_group])["SecurityGroups"][0]
    assert [(p["IpProtocol"], p["FromPort"]) for p in shown["IpPermissionsEgress"]] == [("udp", 53)]
    assert code(ec2.revoke_security_group_egress, **here, IpPermissions=web) == "InvalidPermission.NotFound"
    assert code(ec2.modify_security_group_rules, **here, SecurityGroupRules=[{
        "SecurityGroupRuleId": first, "SecurityGroupRule": {"IpProtocol": "-1", "CidrIpv4": "0.0.0.0/0"}}]) == (
            "InvalidSecurityGroupRuleId.NotFound")
    assert code(ec2.describe_security_group_rules, SecurityGroupRuleIds=[first]) == "InvalidSecurityGroupRuleId.NotFound"
    assert code(ec2.authorize_security_group_egress, **here, IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": 2, "ToPort": 1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]) == "InvalidParameterValue"


def test_what_can_be_changed_of_a_running_instance(ec2, instance):
    ids = [instance["InstanceId"]]
    changed = ec2.modify_instance_metadata_options(
        InstanceId=ids[0], HttpTokens="required", HttpPutResponseHopLimit=3, InstanceMetadataTags="enabled")
    assert changed["InstanceMetadataOptions"]["HttpTokens"] == "required"
    options = describe(ec2, ids[0])["MetadataOptions"]
    assert (options["HttpPutResponseHopLimit"], options["InstanceMetadataTags"], options["HttpEndpoint"]) == (3, "enabled", "enabled")
    assert code(ec2.modify_instance_metadata_options, InstanceId=ids[0], HttpPutResponseHopLimit=65) == "InvalidParameterValue"
    for call, state in ((ec2.monitor_instances, "enabled"), (ec2.unmonitor_instances, "disabled")):
        answer = call(InstanceIds=ids)["InstanceMonitorings"]
        assert [(m["InstanceId"], m["Monitoring"]["State"]) for m in answer] == [(ids[0], state)]
        assert describe(ec2, ids[0])["Monitoring"]["State"] == state
        assert code(call, InstanceIds=["i-0123456789abcdef0"]) == "InvalidInstanceID.NotFound"
    credits = ec2.describe_instance_credit_specifications(InstanceIds=ids)["InstanceCreditSpecifications"]
    assert credits == [{"InstanceId": ids[0], "CpuCredits": "unlimited"}]


def test_an_instance_makes_a_template_of_its_like(ec2, instance):
    ec2.create_tags(Resources=[instance["InstanceId"]], Tags=[{"Key": "Type", "Value": "model"}])
    data = ec2.get_launch_template_data(InstanceId=instance["InstanceId"])["LaunchTemplateData"]
    assert (data["ImageId"], data["InstanceType"]) == (AMI, "t2.micro")
    template = name("like")
    ec2.create_launch_template(LaunchTemplateName=template, LaunchTemplateData=data)
    twin = ec2.run_instances(MinCount=1, MaxCount=1, LaunchTemplate={"LaunchTemplateName": template})["Instances"][0]
    for part in ("ImageId", "InstanceType", "SubnetId", "SecurityGroups"):
        assert twin[part] == instance[part]
    assert twin["Tags"] == [{"Key": "Type", "Value": "model"}]
    ec2.terminate_instances(InstanceIds=[twin["InstanceId"]])
    ec2.delete_launch_template(LaunchTemplateName=template)
    assert code(ec2.get_launch_template_data, InstanceId="i-0123456789abcdef0") == "InvalidInstanceID.NotFound"


def test_an_images_attributes_and_its_snapshot(ec2, instance):
    image = ec2.create_image(InstanceId=instance["InstanceId"], Name=name("attributes"), Description="first")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig=QUICK)

    def attribute(which):
        return ec2.describe_image_attribute(ImageId=image, Attribute=which)

    assert attribute("description")["Description"]["Value"] == "first" and attribute("launchPermission")["LaunchPermissions"] == []
    ec2.modify_image_attribute(ImageId=image, Description={"Value": "second"})
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"Group": "all"}]})
    shown = ec2.describe_images(ImageIds=[image])["Images"][0]
    assert (shown["Description"], shown["Public"]) == ("second", True)
    assert attribute("launchPermission")["LaunchPermissions"] == [{"Group": "all"}]
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Remove": [{"Group": "all"}]})
    assert not ec2.describe_images(ImageIds=[image])["Images"][0]["Public"]
    assert code(ec2.modify_image_attribute, ImageId=image, LaunchPermission={"Add": [{"UserId": "210987654321"}]}) == (
        "UnsupportedOperation")
    assert code(ec2.describe_image_attribute, ImageId="ami-00000000000000000", Attribute="description") == "InvalidAMIID.NotFound"
    snapshot = shown["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    found = ec2.describe_snapshots(OwnerIds=["self"], SnapshotIds=[snapshot])["Snapshots"]
    assert [(s["SnapshotId"], s["State"]) for s in found] == [(snapshot, "completed")] and image in found[0]["Description"]
    ec2.deregister_image(ImageId=image)
    assert code(ec2.describe_snapshots, SnapshotIds=[snapshot]) == "InvalidSnapshot.NotFound"


def test_a_subnet_decides_about_public_addresses(ec2):
    zones = [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]]
    vpc = ec2.create_vpc(CidrBlock="10.78.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.78.1.0/24", AvailabilityZone=zones[0])["Subnet"]["SubnetId"]
    launched = []

    def public():
        one = ec2.run_instances(ImageId=AMI, InstanceType="t2.micro", MinCount=1, MaxCount=1, SubnetId=subnet)["Instances"][0]
        launched.append(one["InstanceId"])
        ec2.get_waiter("instance_running").wait(InstanceIds=launched[-1:], WaiterConfig=QUICK)
        return "PublicIpAddress" in describe(ec2, launched[-1])

    assert not public()
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    assert ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["MapPublicIpOnLaunch"] and public()
    assert code(ec2.modify_subnet_attribute, SubnetId=subnet, AssignIpv6AddressOnCreation={"Value": True}) == "UnsupportedOperation"
    acls = ec2.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkAcls"]
    assert [a["IsDefault"] for a in acls] == [True] and [a["SubnetId"] for a in acls[0]["Associations"]] == [subnet]
    assert ec2.describe_addresses()["Addresses"] == []
    ec2.terminate_instances(InstanceIds=launched)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=launched, WaiterConfig=QUICK)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)


def test_the_default_network_can_be_made_anew(new_server):
    ec2 = new_server("--any-image").client("ec2")

    def default():
        values = {a["AttributeName"]: a["AttributeValues"][0]["AttributeValue"]
                  for a in ec2.describe_account_attributes(AttributeNames=["default-vpc"])["AccountAttributes"]}
        return values["default-vpc"]

    old = default()
    assert old == default_vpc(ec2)["VpcId"] and code(ec2.create_default_vpc) == "DefaultVpcAlreadyExists"
    for subnet in ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [old]}])["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    ec2.delete_vpc(VpcId=old)
    assert default() == "none" and code(
        ec2.run_instances, ImageId=AMI, InstanceType="t2.micro", MinCount=1, MaxCount=1) == "VPCIdNotSpecified"
    made = ec2.create_default_vpc()["Vpc"]
    assert made["IsDefault"] and default() == made["VpcId"] != old
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [made["VpcId"]]}])["Subnets"]
    assert len(subnets) == 3 and all(s["DefaultForAz"] for s in subnets)
    launched = ec2.run_instances(ImageId=AMI, InstanceType="t2.micro", MinCount=1, MaxCount=1)["Instances"][0]
    assert until(lambda: describe(ec2, launched["InstanceId"])["State"]["Name"] == "running", "a start in the new network")
    assert launched["VpcId"] == made["VpcId"]
    assert code(ec2.describe_account_attributes, AttributeNames=["mood"]) == "InvalidParameterValue"


def test_a_root_volume_is_replaced(server, ec2, instance):
    other = "ami-0fedcba9876543210"
    id = instance["InstanceId"]

    def create(**arguments):
        return ec2.create_replace_root_volume_task(InstanceId=id, DeleteReplacedRootVolume=True, **arguments)[
            "ReplaceRootVolumeTask"]

    def over(task):
        def check():
            shown = ec2.describe_replace_root_volume_tasks(
                ReplaceRootVolumeTaskIds=[task["ReplaceRootVolumeTaskId"]])["ReplaceRootVolumeTasks"][0]
            return shown["TaskState"] not in ("pending", "in-progress") and shown
        return until(check, "the end of the task")

    def volume():
        return ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [id]}])["Volumes"][0]

    first = volume()
    tags = [{"ResourceType": "replace-root-volume-task", "Tags": [{"Key": "k", "Value": "v"}]}]
    task = create(ImageId=other, ClientToken="root-1", TagSpecifications=tags)
    assert task["InstanceId"] == id and task["ImageId"] == other and task["Tags"] == [{"Key": "k", "Value": "v"}]
    done = over(task)
    assert done["TaskState"] == "succeeded" and done["CompleteTime"] >= done["StartTime"] and done["DeleteReplacedRootVolume"]
    assert create(ImageId=other, ClientToken="root-1", TagSpecifications=tags)["ReplaceRootVolumeTaskId"] == (
        task["ReplaceRootVolumeTaskId"])
    assert code(create, ImageId=instance["ImageId"], ClientToken="root-1") == "IdempotentParameterMismatch"
    now = describe(ec2, id)
    assert (now["ImageId"], now["State"]["Name"], now["PrivateIpAddress"]) == (other, "running", instance["PrivateIpAddress"])
    second = volume()
    assert second["VolumeId"] != first["VolumeId"] and second["CreateTime"] >= first["CreateTime"]
    # The new volume was attached just now, the interface at the launch.
    (device,), (interface,) = now["BlockDeviceMappings"], now["NetworkInterfaces"]
    assert device["Ebs"]["VolumeId"] == second["VolumeId"] and device["Ebs"]["AttachTime"] == second["CreateTime"]
    assert interface["Attachment"]["AttachTime"] == now["LaunchTime"] == instance["LaunchTime"] <= device["Ebs"]["AttachTime"]
    assert code(ec2.describe_volumes, VolumeIds=[first["VolumeId"]]) == "InvalidVolume.NotFound"
    assert ec2.describe_volumes(VolumeIds=[second["VolumeId"]])["Volumes"][0]["Attachments"][0]["InstanceId"] == id
    ec2.create_tags(Resources=[second["VolumeId"]], Tags=[{"Key": "a", "Value": "b"}])
    # To the state of its launch, and to a snapshot of its own.
    again = over(create())
    assert (again["TaskState"], again["ImageId"]) == ("succeeded", other)
    image = ec2.create_image(InstanceId=id, Name=name("root"), NoReboot=True)["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig=QUICK)
    snapshot = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    restored = over(create(SnapshotId=snapshot))
    assert (restored["TaskState"], restored["SnapshotId"], describe(ec2, id)["ImageId"]) == ("succeeded", snapshot, image)
    mine = ec2.describe_replace_root_volume_tasks(Filters=[{"Name": "instance-id", "Values": [id]}])["ReplaceRootVolumeTasks"]
    assert len(mine) == 3
    refusals = [
        ("UnsupportedOperation", {"DeleteReplacedRootVolume": False}),
        ("UnsupportedOperation", {"VolumeId": second["VolumeId"]}),
        ("UnsupportedOperation", {"VolumeInitializationRate": 100}),
        ("InvalidParameterCombination", {"ImageId": other, "SnapshotId": snapshot}),
        ("InvalidSnapshot.NotFound", {"SnapshotId": "snap-00000000000000000"}),
        ("InvalidAMIID.Malformed", {"ImageId": "ami-x"}),
        ("InvalidInstanceID.NotFound", {"InstanceId": "i-00000000000000000"}),
        ("DryRunOperation", {"DryRun": True}),
        ("DryRunOperation", {"DryRun": True, "ImageId": other, "ClientToken": "root-1", "TagSpecifications": tags}),
    ]
    for wanted, arguments in refusals:
        arguments = {"InstanceId": id, "DeleteReplacedRootVolume": True, **arguments}
        assert code(ec2.create_replace_root_volume_task, **arguments) == wanted, arguments
    assert code(ec2.create_replace_root_volume_task, InstanceId=id) == "UnsupportedOperation", "EC2 would keep the old one"
    unknown = ["replacevol-00000000000000000"]
    assert code(ec2.describe_replace_root_volume_tasks, ReplaceRootVolumeTaskIds=unknown) == (
        "InvalidReplaceRootVolumeTaskId.NotFound")
    ec2.stop_instances(InstanceIds=[id])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[id], WaiterConfig=QUICK)
    assert code(create) == "IncorrectInstanceState"
    ec2.deregister_image(ImageId=image)
