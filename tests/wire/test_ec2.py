"""EC2 through boto3 and the AWS CLI, on simulated instances."""

import base64
import subprocess
import uuid

import botocore.exceptions
import pytest

AMI = "ami-0123456789abcdef0"
QUICK = {"Delay": 1, "MaxAttempts": 30}


def code(call, **arguments):
    """The error code that a call answers."""
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"]


def name(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def instance(ec2):
    """A running instance, ended afterwards."""
    launched = ec2.run_instances(ImageId=AMI, InstanceType="t2.micro", MinCount=1, MaxCount=1)["Instances"][0]
    ids = [launched["InstanceId"]]
    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig=QUICK)
    yield describe(ec2, ids[0])
    ec2.modify_instance_attribute(InstanceId=ids[0], DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=ids)


def describe(ec2, instance_id):
    return ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


def default_vpc(ec2):
    return ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]


def test_an_instance_lives_and_ends(ec2):
    reservation = ec2.run_instances(
        ImageId=AMI,
        InstanceType="t3.small",
        MinCount=2,
        MaxCount=2,
        UserData="#!/bin/sh\necho hello\n",
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]},
            {"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "root"}]},
        ],
    )
    ids = [i["InstanceId"] for i in reservation["Instances"]]
    assert [i["State"]["Name"] for i in reservation["Instances"]] == ["pending", "pending"]
    assert [i["AmiLaunchIndex"] for i in reservation["Instances"]] == [0, 1]
    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig=QUICK)
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=ids, WaiterConfig=QUICK)
    one = describe(ec2, ids[0])
    assert one["InstanceType"] == "t3.small" and one["Tags"] == [{"Key": "Name", "Value": "web"}]
    assert one["PrivateIpAddress"] == one["NetworkInterfaces"][0]["PrivateIpAddress"]
    data = ec2.describe_instance_attribute(InstanceId=ids[0], Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(data) == b"#!/bin/sh\necho hello\n"
    volume_id = one["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    volume = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
    assert volume["Attachments"][0]["InstanceId"] == ids[0] and volume["Tags"][0]["Value"] == "root"
    assert "boot 1" in ec2.get_console_output(InstanceId=ids[0])["Output"]

    stopped = ec2.stop_instances(InstanceIds=ids)["StoppingInstances"]
    assert {s["CurrentState"]["Name"] for s in stopped} == {"stopping"}
    ec2.get_waiter("instance_stopped").wait(InstanceIds=ids, WaiterConfig=QUICK)
    assert describe(ec2, ids[0])["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    ec2.modify_instance_attribute(InstanceId=ids[0], InstanceType={"Value": "t3.large"})
    ec2.start_instances(InstanceIds=ids)
    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig=QUICK)
    assert describe(ec2, ids[0])["InstanceType"] == "t3.large"
    ec2.reboot_instances(InstanceIds=ids)
    ended = ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
    assert {e["PreviousState"]["Name"] for e in ended} == {"running"}
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig=QUICK)
    assert describe(ec2, ids[0])["NetworkInterfaces"] == []


def test_describe_by_filter_and_page(ec2):
    tag = name("page")
    made = ec2.run_instances(
        ImageId=AMI, InstanceType="t2.nano", MinCount=12, MaxCount=12,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Test", "Value": tag}]}],
    )["Instances"]
    ids = {i["InstanceId"] for i in made}
    mine = [{"Name": "tag:Test", "Values": [tag[:6] + "*"]}, {"Name": "tag-key", "Values": ["T?st"]},
            {"Name": "tag:Test", "Values": [tag]}]
    pages = list(ec2.get_paginator("describe_instances").paginate(Filters=mine, PaginationConfig={"PageSize": 5}))
    assert len(pages) == 3
    assert {i["InstanceId"] for p in pages for r in p["Reservations"] for i in r["Instances"]} == ids
    filters = mine + [{"Name": "instance-type", "Values": ["t2.micro"]}]
    assert ec2.describe_instances(Filters=filters)["Reservations"] == []
    assert code(ec2.describe_instances, Filters=[{"Name": "colour", "Values": ["red"]}]) == "InvalidParameterValue"
    tags = ec2.describe_tags(Filters=[{"Name": "value", "Values": [tag]}])["Tags"]
    assert {t["ResourceId"] for t in tags} == ids
    ec2.terminate_instances(InstanceIds=list(ids))


def test_errors_are_those_of_ec2(ec2, instance):
    run = {"ImageId": AMI, "InstanceType": "t2.micro", "MinCount": 1, "MaxCount": 1}
    missing = "i-0123456789abcdef0"
    for expected, call, arguments in [
        ("InvalidInstanceID.NotFound", ec2.describe_instances, {"InstanceIds": [missing]}),
        ("InvalidInstanceID.Malformed", ec2.describe_instances, {"InstanceIds": ["nonsense"]}),
        ("InvalidInstanceID.NotFound", ec2.terminate_instances, {"InstanceIds": [instance["InstanceId"], missing]}),
        ("InvalidAMIID.Malformed", ec2.run_instances, {**run, "ImageId": "nonsense"}),
        ("InvalidParameterValue", ec2.run_instances, {**run, "InstanceType": "t9.giga"}),
        ("InvalidKeyPair.NotFound", ec2.run_instances, {**run, "KeyName": "none"}),
        ("InvalidGroup.NotFound", ec2.run_instances, {**run, "SecurityGroupIds": ["sg-12345678"]}),
        ("InvalidSubnetID.NotFound", ec2.run_instances, {**run, "SubnetId": "subnet-12345678"}),
        ("InvalidParameterValue", ec2.run_instances, {**run, "MinCount": 2}),
        ("DryRunOperation", ec2.run_instances, {**run, "DryRun": True}),
        ("DryRunOperation", ec2.terminate_instances, {"InstanceIds": [instance["InstanceId"]], "DryRun": True}),
        ("UnsupportedOperation", ec2.run_instances, {**run, "InstanceMarketOptions": {"MarketType": "capacity-block"}}),
        ("InvalidLaunchTemplateName.NotFoundException", ec2.run_instances,
         {**run, "LaunchTemplate": {"LaunchTemplateName": "none"}}),
        ("IncorrectInstanceState", ec2.modify_instance_attribute,
         {"InstanceId": instance["InstanceId"], "InstanceType": {"Value": "t2.small"}}),
        ("InvalidInstanceType", ec2.describe_instance_types, {"InstanceTypes": ["t9.giga"]}),
    ]:
        assert code(call, **arguments) == expected, (call, arguments)
    assert describe(ec2, instance["InstanceId"])["State"]["Name"] == "running"


def test_protection(ec2, instance):
    ids = [instance["InstanceId"]]
    ec2.modify_instance_attribute(InstanceId=ids[0], DisableApiTermination={"Value": True})
    assert code(ec2.terminate_instances, InstanceIds=ids) == "OperationNotPermitted"
    ec2.modify_instance_attribute(InstanceId=ids[0], DisableApiStop={"Value": True})
    assert code(ec2.stop_instances, InstanceIds=ids) == "OperationNotPermitted"


def test_a_client_token_launches_once(ec2):
    token = name("token")
    run = {"ImageId": AMI, "InstanceType": "t2.micro", "MinCount": 1, "MaxCount": 1, "ClientToken": token}
    first, again = ec2.run_instances(**run), ec2.run_instances(**run)
    assert first["ReservationId"] == again["ReservationId"]
    assert code(ec2.run_instances, **{**run, "InstanceType": "t2.small"}) == "IdempotentParameterMismatch"
    ec2.terminate_instances(InstanceIds=[first["Instances"][0]["InstanceId"]])


def test_security_groups(ec2):
    vpc_id = default_vpc(ec2)["VpcId"]
    web, lb = name("web"), name("lb")
    web_id = ec2.create_security_group(GroupName=web, Description="web", VpcId=vpc_id)["GroupId"]
    lb_id = ec2.create_security_group(GroupName=lb, Description="lb")["GroupId"]
    assert code(ec2.create_security_group, GroupName=web, Description="x", VpcId=vpc_id) == "InvalidGroup.Duplicate"
    from_lb = [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": lb_id}]}]
    made = ec2.authorize_security_group_ingress(GroupId=web_id, IpPermissions=from_lb)["SecurityGroupRules"]
    assert made[0]["ReferencedGroupInfo"]["GroupId"] == lb_id
    ec2.authorize_security_group_ingress(GroupId=web_id, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0")
    assert code(ec2.authorize_security_group_ingress, GroupId=web_id, IpPermissions=from_lb) == "InvalidPermission.Duplicate"
    shown = ec2.describe_security_groups(GroupIds=[web_id])["SecurityGroups"][0]
    assert {p["FromPort"] for p in shown["IpPermissions"]} == {22, 80}
    assert shown["IpPermissionsEgress"][0]["IpProtocol"] == "-1" and "FromPort" not in shown["IpPermissionsEgress"][0]
    assert code(ec2.delete_security_group, GroupId=lb_id) == "DependencyViolation"
    launched = ec2.run_instances(ImageId=AMI, InstanceType="t2.micro", MinCount=1, MaxCount=1, SecurityGroups=[web])
    instance_id = launched["Instances"][0]["InstanceId"]
    ec2.revoke_security_group_ingress(GroupId=web_id, SecurityGroupRuleIds=[made[0]["SecurityGroupRuleId"]])
    assert code(ec2.revoke_security_group_ingress, GroupId=web_id, IpPermissions=from_lb) == "InvalidPermission.NotFound"
    ec2.delete_security_group(GroupId=lb_id)
    assert code(ec2.delete_security_group, GroupId=web_id) == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=[instance_id])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance_id], WaiterConfig=QUICK)
    ec2.delete_security_group(GroupId=web_id)
    assert code(ec2.describe_security_groups, GroupIds=[web_id]) == "InvalidGroup.NotFound"


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_key_pairs(ec2, tmp_path, kind):
    key = name("key")
    made = ec2.create_key_pair(KeyName=key, KeyType=kind)
    assert code(ec2.create_key_pair, KeyName=key) == "InvalidKeyPair.Duplicate"
    file = tmp_path / "key.pem"
    file.write_text(made["KeyMaterial"])
    file.chmod(0o600)
    public = subprocess.run(["ssh-keygen", "-y", "-f", file], check=True, capture_output=True, text=True).stdout
    shown = ec2.describe_key_pairs(KeyNames=[key], IncludePublicKey=True)["KeyPairs"][0]
    assert shown["PublicKey"].split()[:2] == public.split()[:2]
    other = name("key")
    imported = ec2.import_key_pair(KeyName=other, PublicKeyMaterial=public.encode())
    if kind == "ed25519":
        assert imported["KeyFingerprint"] == made["KeyFingerprint"]
    assert code(ec2.import_key_pair, KeyName=name("key"), PublicKeyMaterial=b"nonsense") == "InvalidKey.Format"
    for key_name in (key, other):
        ec2.delete_key_pair(KeyName=key_name)
    assert code(ec2.describe_key_pairs, KeyNames=[key]) == "InvalidKeyPair.NotFound"


def test_launch_templates(ec2):
    template = name("template")
    data = {"ImageId": AMI, "InstanceType": "t2.micro", "MetadataOptions": {"HttpTokens": "optional"},
            "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Type", "Value": "app"}]}]}
    made = ec2.create_launch_template(LaunchTemplateName=template, VersionDescription="first", LaunchTemplateData=data)
    template_id = made["LaunchTemplate"]["LaunchTemplateId"]
    again = {"LaunchTemplateName": template, "LaunchTemplateData": data}
    assert code(ec2.create_launch_template, **again) == "InvalidLaunchTemplateName.AlreadyExistsException"
    second = ec2.create_launch_template_version(
        LaunchTemplateId=template_id, SourceVersion="1", LaunchTemplateData={"InstanceType": "t3.small"})
    assert second["LaunchTemplateVersion"]["LaunchTemplateData"]["ImageId"] == AMI
    shown = ec2.describe_launch_template_versions(LaunchTemplateId=template_id)["LaunchTemplateVersions"]
    assert [(v["VersionNumber"], v["DefaultVersion"]) for v in shown] == [(2, False), (1, True)]
    ec2.modify_launch_template(LaunchTemplateId=template_id, DefaultVersion="2")
    one = {"MinCount": 1, "MaxCount": 1}
    latest = ec2.run_instances(**one, LaunchTemplate={"LaunchTemplateName": template})["Instances"][0]
    first = ec2.run_instances(**one, LaunchTemplate={"LaunchTemplateId": template_id, "Version": "1"})["Instances"][0]
    assert (latest["InstanceType"], first["InstanceType"]) == ("t3.small", "t2.micro")
    assert first["MetadataOptions"]["HttpTokens"] == "optional" and first["Tags"] == [{"Key": "Type", "Value": "app"}]
    gone = ec2.delete_launch_template_versions(LaunchTemplateId=template_id, Versions=["1", "2", "9"])
    assert [v["VersionNumber"] for v in gone["SuccessfullyDeletedLaunchTemplateVersions"]] == [1]
    assert len(gone["UnsuccessfullyDeletedLaunchTemplateVersions"]) == 2
    ec2.delete_launch_template(LaunchTemplateName=template)
    assert code(ec2.describe_launch_templates, LaunchTemplateIds=[template_id]) == "InvalidLaunchTemplateId.NotFound"
    ec2.terminate_instances(InstanceIds=[latest["InstanceId"], first["InstanceId"]])


def test_images_and_their_names(server, ec2, instance):
    image = name("counter")
    image_id = ec2.create_image(InstanceId=instance["InstanceId"], Name=image, Description="d")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig=QUICK)
    assert code(ec2.create_image, InstanceId=instance["InstanceId"], Name=image) == "InvalidAMIName.Duplicate"
    mine = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [image]}])["Images"]
    assert [i["ImageId"] for i in mine] == [image_id]
    alias = f"/puffer/images/{image}/latest"
    ssm = server.client("ssm")
    assert ssm.get_parameter(Name=alias)["Parameter"]["Value"] == image_id
    many = ssm.get_parameters(Names=[alias, "/none"])
    assert (len(many["Parameters"]), many["InvalidParameters"]) == (1, ["/none"])
    below = ssm.get_paginator("get_parameters_by_path").paginate(Path="/puffer/images", Recursive=True)
    assert image_id in [p["Value"] for page in below for p in page["Parameters"]]
    run = {"InstanceType": "t2.micro", "MinCount": 1, "MaxCount": 1}
    by_name = ec2.run_instances(ImageId=f"resolve:ssm:{alias}", **run)["Instances"][0]
    assert by_name["ImageId"] == image_id
    ec2.terminate_instances(InstanceIds=[by_name["InstanceId"]])
    ec2.deregister_image(ImageId=image_id)
    assert code(ec2.describe_images, ImageIds=[image_id]) == "InvalidAMIID.NotFound"
    assert code(ssm.get_parameter, Name="/none") == "ParameterNotFound"


def test_networks(ec2):
    vpc = default_vpc(ec2)
    mine = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    subnets = ec2.describe_subnets(Filters=mine + [{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    zones = [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]]
    assert sorted(s["AvailabilityZone"] for s in subnets) == zones and len(zones) == 3
    table = ec2.describe_route_tables(Filters=mine)["RouteTables"][0]
    gateway = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc["VpcId"]]}])
    assert gateway["InternetGateways"][0]["InternetGatewayId"] in [r["GatewayId"] for r in table["Routes"]]
    assert code(ec2.delete_subnet, SubnetId="subnet-12345678") == "InvalidSubnetID.NotFound"
    made = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    ec2.get_waiter("vpc_available").wait(VpcIds=[made])
    ec2.modify_vpc_attribute(VpcId=made, EnableDnsHostnames={"Value": True})
    assert ec2.describe_vpc_attribute(VpcId=made, Attribute="enableDnsHostnames")["EnableDnsHostnames"]["Value"]
    subnet = ec2.create_subnet(VpcId=made, CidrBlock="10.77.1.0/24", AvailabilityZone=zones[1])["Subnet"]
    assert subnet["AvailableIpAddressCount"] == 251
    assert code(ec2.create_subnet, VpcId=made, CidrBlock="10.77.1.0/25") == "InvalidSubnet.Conflict"
    run = {"ImageId": AMI, "InstanceType": "t2.micro", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet["SubnetId"]}
    placed = ec2.run_instances(**run, PrivateIpAddress="10.77.1.9")["Instances"][0]
    assert placed["PrivateIpAddress"] == "10.77.1.9" and placed["Placement"]["AvailabilityZone"] == zones[1]
    assert code(ec2.run_instances, **run, PrivateIpAddress="10.77.1.9") == "InvalidIPAddress.InUse"
    assert code(ec2.delete_subnet, SubnetId=subnet["SubnetId"]) == "DependencyViolation"
    ids = [placed["InstanceId"]]
    ec2.terminate_instances(InstanceIds=ids)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig=QUICK)
    ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    ec2.delete_vpc(VpcId=made)
    assert code(ec2.describe_vpcs, VpcIds=[made]) == "InvalidVpcID.NotFound"


def test_tags(ec2, instance):
    vpc_id = default_vpc(ec2)["VpcId"]
    ids = [instance["InstanceId"], vpc_id, instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]]
    ec2.create_tags(Resources=ids, Tags=[{"Key": "Team", "Value": "blue"}, {"Key": "Cost", "Value": "1"}])
    ec2.delete_tags(Resources=ids, Tags=[{"Key": "Team", "Value": "red"}, {"Key": "Cost"}])
    shown = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": ids}])["Tags"]
    assert {(t["ResourceId"], t["Key"], t["Value"]) for t in shown} == {(i, "Team", "blue") for i in ids}
    assert code(ec2.create_tags, Resources=ids, Tags=[{"Key": "aws:x", "Value": "1"}]) == "InvalidParameterValue"
    assert code(ec2.create_tags, Resources=["vpc-12345678"], Tags=[{"Key": "x", "Value": "1"}]) == "InvalidVpcID.NotFound"
    ec2.delete_tags(Resources=ids, Tags=[{"Key": "Team"}])


def test_types(ec2):
    shown = ec2.describe_instance_types(InstanceTypes=["t2.micro"])["InstanceTypes"][0]
    assert (shown["VCpuInfo"]["DefaultVCpus"], shown["MemoryInfo"]["SizeInMiB"]) == (1, 1024)
    offered = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["t2.micro"]}])
    assert len(offered["InstanceTypeOfferings"]) == 3
    assert ec2.describe_regions()["Regions"][0]["RegionName"] == ec2.meta.region_name


def test_the_command_line_does_the_same(server):
    made = server.aws(
        "ec2", "run-instances", "--image-id", AMI, "--instance-type", "t2.micro", "--count", "1",
        "--user-data", "#!/bin/sh\ntrue", "--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=cli}]",
    )
    instance_id = made["Instances"][0]["InstanceId"]
    server.aws("ec2", "wait", "instance-running", "--instance-ids", instance_id)
    server.aws("ec2", "wait", "instance-status-ok", "--instance-ids", instance_id)
    shown = server.aws("ec2", "describe-instances", "--filters", "Name=tag:Name,Values=cli", "Name=instance-state-name,Values=running")
    assert shown["Reservations"][0]["Instances"][0]["InstanceId"] == instance_id
    server.aws("ec2", "terminate-instances", "--instance-ids", instance_id)
    server.aws("ec2", "wait", "instance-terminated", "--instance-ids", instance_id)
    unknown = server.aws("ec2", "describe-spot-fleet-requests", check=False)
    assert "InvalidAction" in unknown.stderr or "Unsupported" in unknown.stderr
