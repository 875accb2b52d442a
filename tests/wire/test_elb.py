"""Classic load balancers through boto3 and the AWS CLI: what is made, shown, changed, refused and removed."""

import pytest

from conftest import until
from test_lists import refused

AMI = "ami-0123456789abcdef0"
HTTP = {"Protocol": "HTTP", "LoadBalancerPort": 80, "InstancePort": 8080}
TCP = {"Protocol": "TCP", "LoadBalancerPort": 25, "InstancePort": 2525}


@pytest.fixture
def balancer(elb):
    """A load balancer of a test's own; returns its name."""
    elb.create_load_balancer(LoadBalancerName="own", Listeners=[HTTP, TCP], AvailabilityZones=["us-east-1a", "us-east-1b"],
                             Tags=[{"Key": "puffer:health-check-period", "Value": "1"}])
    yield "own"
    elb.delete_load_balancer(LoadBalancerName="own")


def shown(elb, name="own"):
    return elb.describe_load_balancers(LoadBalancerNames=[name])["LoadBalancerDescriptions"][0]


def test_a_load_balancer_is_made_shown_and_deleted(elb, elbv2, server, balancer):
    own = shown(elb)
    assert own["DNSName"].startswith("own-") and own["Scheme"] == "internet-facing" and own["VPCId"].startswith("vpc-")
    assert [(l["Listener"]["Protocol"], l["Listener"]["InstanceProtocol"], l["Listener"]["LoadBalancerPort"])
            for l in own["ListenerDescriptions"]] == [("HTTP", "HTTP", 80), ("TCP", "TCP", 25)]
    assert own["HealthCheck"] == {
        "Target": "TCP:8080", "Interval": 30, "Timeout": 5, "UnhealthyThreshold": 2, "HealthyThreshold": 10}
    assert own["AvailabilityZones"] == ["us-east-1a", "us-east-1b"] and len(own["Subnets"]) == 2
    assert own["SourceSecurityGroup"]["GroupName"] == "default" and own["Instances"] == []
    listed = server.aws("elb", "describe-load-balancers")["LoadBalancerDescriptions"]
    assert [b["LoadBalancerName"] for b in listed] == ["own"]
    pages = elb.get_paginator("describe_load_balancers").paginate(PaginationConfig={"PageSize": 1})
    assert [b["LoadBalancerName"] for p in pages for b in p["LoadBalancerDescriptions"]] == ["own"]
    # Neither it nor the target group of its instances is one of version 2.
    assert elbv2.describe_load_balancers()["LoadBalancers"] == []
    assert "own" not in str(elbv2.describe_target_groups()["TargetGroups"])
    assert [b["name"] for b in server.status()["load_balancers"]] == ["own"]
    for settings in ({"Scheme": "internal"}, {"Listeners": [HTTP]}):
        wanted = {"Listeners": [HTTP, TCP], "AvailabilityZones": ["us-east-1a", "us-east-1b"], **settings}
        refused("DuplicateLoadBalancerName", elb.create_load_balancer, LoadBalancerName="own", **wanted)
    elb.delete_load_balancer(LoadBalancerName="none")
    refused("LoadBalancerNotFound", elb.describe_load_balancers, LoadBalancerNames=["none"])
    limits = {l["Name"]: l["Max"] for l in elb.describe_account_limits()["Limits"]}
    assert limits["classic-load-balancers"] == "20"


def test_listeners_come_and_go(elb, balancer):
    more = {"Protocol": "tcp", "LoadBalancerPort": 26, "InstancePort": 2526}
    elb.create_load_balancer_listeners(LoadBalancerName=balancer, Listeners=[more])
    elb.create_load_balancer_listeners(LoadBalancerName=balancer, Listeners=[more])
    refused("DuplicateListener", elb.create_load_balancer_listeners, LoadBalancerName=balancer,
            Listeners=[{**more, "InstancePort": 1}])
    for protocol in ("HTTPS", "SSL"):
        refused("UnsupportedProtocol", elb.create_load_balancer_listeners, LoadBalancerName=balancer,
                Listeners=[{**more, "Protocol": protocol, "LoadBalancerPort": 443}])
    refused("ListenerNotFound", elb.set_load_balancer_listener_ssl_certificate, LoadBalancerName=balancer,
            LoadBalancerPort=443, SSLCertificateId="arn:aws:iam::1:server-certificate/x")
    ports = lambda: [l["Listener"]["LoadBalancerPort"] for l in shown(elb)["ListenerDescriptions"]]
    assert ports() == [80, 25, 26]
    elb.delete_load_balancer_listeners(LoadBalancerName=balancer, LoadBalancerPorts=[25, 26, 27])
    assert ports() == [80]


def test_the_health_check_and_attributes(elb, balancer):
    check = {"Target": "HTTP:81/up?x=1", "Interval": 6, "Timeout": 3, "UnhealthyThreshold": 3, "HealthyThreshold": 2}
    assert elb.configure_health_check(LoadBalancerName=balancer, HealthCheck=check)["HealthCheck"] == check
    assert shown(elb)["HealthCheck"] == check
    for wrong in ({"Target": "HTTPS:443/"}, {"Target": "SSL:443"}, {"Target": "HTTP:80"}, {"Timeout": 6}):
        refused("ValidationError", elb.configure_health_check, LoadBalancerName=balancer, HealthCheck={**check, **wrong})
    attributes = lambda: elb.describe_load_balancer_attributes(LoadBalancerName=balancer)["LoadBalancerAttributes"]
    assert attributes() == {
        "CrossZoneLoadBalancing": {"Enabled": False}, "AccessLog": {"Enabled": False},
        "ConnectionDraining": {"Enabled": False, "Timeout": 300}, "ConnectionSettings": {"IdleTimeout": 60},
        "AdditionalAttributes": [{"Key": "elb.http.desyncmitigationmode", "Value": "defensive"}]}
    changed = {"CrossZoneLoadBalancing": {"Enabled": True}, "ConnectionDraining": {"Enabled": True, "Timeout": 7},
               "ConnectionSettings": {"IdleTimeout": 90}}
    told = elb.modify_load_balancer_attributes(LoadBalancerName=balancer, LoadBalancerAttributes=changed)
    assert told["LoadBalancerAttributes"] == changed
    assert {k: attributes()[k] for k in changed} == changed
    refused("InvalidConfigurationRequest", elb.modify_load_balancer_attributes, LoadBalancerName=balancer,
            LoadBalancerAttributes={"AccessLog": {"Enabled": True, "S3BucketName": "logs"}})
    refused("ValidationError", elb.modify_load_balancer_attributes, LoadBalancerName=balancer,
            LoadBalancerAttributes={"ConnectionDraining": {"Enabled": True, "Timeout": 3601}})
    refused("LoadBalancerAttributeNotFound", elb.modify_load_balancer_attributes, LoadBalancerName=balancer,
            LoadBalancerAttributes={"AdditionalAttributes": [{"Key": "elb.http.magic", "Value": "on"}]})


def test_zones_subnets_and_security_groups(elb, ec2, balancer):
    zones = elb.enable_availability_zones_for_load_balancer(LoadBalancerName=balancer, AvailabilityZones=["us-east-1c"])
    assert zones["AvailabilityZones"] == ["us-east-1a", "us-east-1b", "us-east-1c"]
    zones = elb.disable_availability_zones_for_load_balancer(
        LoadBalancerName=balancer, AvailabilityZones=["us-east-1a", "us-east-1b"])
    assert zones["AvailabilityZones"] == ["us-east-1c"]
    refused("InvalidConfigurationRequest", elb.disable_availability_zones_for_load_balancer, LoadBalancerName=balancer,
            AvailabilityZones=["us-east-1c"])
    subnets = {s["AvailabilityZone"]: s["SubnetId"] for s in ec2.describe_subnets()["Subnets"] if s["DefaultForAz"]}
    attached = elb.attach_load_balancer_to_subnets(LoadBalancerName=balancer, Subnets=[subnets["us-east-1a"]])
    assert set(attached["Subnets"]) == {subnets["us-east-1a"], subnets["us-east-1c"]}
    left = elb.detach_load_balancer_from_subnets(LoadBalancerName=balancer, Subnets=[subnets["us-east-1c"]])
    assert left["Subnets"] == [subnets["us-east-1a"]]
    made = ec2.create_security_group(GroupName="elb-own", Description="x", VpcId=shown(elb)["VPCId"])["GroupId"]
    applied = elb.apply_security_groups_to_load_balancer(LoadBalancerName=balancer, SecurityGroups=[made])
    assert applied["SecurityGroups"] == [made] == shown(elb)["SecurityGroups"]
    refused("DependencyViolation", ec2.delete_security_group, GroupId=made)
    refused("InvalidSecurityGroup", elb.apply_security_groups_to_load_balancer, LoadBalancerName=balancer,
            SecurityGroups=["sg-00000000000000000"])


def test_instances_are_registered_judged_and_deregistered(elb, ec2, server, balancer):
    run = ec2.run_instances(ImageId=AMI, InstanceType="t2.micro", MinCount=1, MaxCount=1, Placement={"AvailabilityZone": "us-east-1a"})
    id = run["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[id], WaiterConfig={"Delay": 1})
    here = {"LoadBalancerName": balancer, "Instances": [{"InstanceId": id}]}
    health = lambda **more: elb.describe_instance_health(LoadBalancerName=balancer, **more)["InstanceStates"]
    [before] = health(Instances=[{"InstanceId": id}])
    assert (before["State"], before["ReasonCode"]) == ("OutOfService", "Instance")
    assert elb.register_instances_with_load_balancer(**here)["Instances"] == [{"InstanceId": id}]
    assert shown(elb)["Instances"] == [{"InstanceId": id}]
    # Nobody listens behind a simulated instance's address.
    failed = until(lambda: [h for h in health() if "UnhealthyThreshold" in h["Description"]], "a failed check")
    assert (failed[0]["State"], failed[0]["ReasonCode"]) == ("OutOfService", "Instance")
    told = server.aws("elb", "describe-instance-health", "--load-balancer-name", balancer)["InstanceStates"]
    assert told[0]["InstanceId"] == id
    elb.disable_availability_zones_for_load_balancer(LoadBalancerName=balancer, AvailabilityZones=["us-east-1a"])
    until(lambda: health()[0]["ReasonCode"] == "ELB" and "Availability Zone" in health()[0]["Description"], "its zone is off")
    ec2.stop_instances(InstanceIds=[id])
    until(lambda: health()[0]["Description"] == "Instance is in stopped state.", "its stop")
    assert elb.deregister_instances_from_load_balancer(**here)["Instances"] == []
    until(lambda: health() == [], "its leaving")
    refused("InvalidInstance", elb.register_instances_with_load_balancer, LoadBalancerName=balancer,
            Instances=[{"InstanceId": "i-00000000000000000"}])
    ec2.terminate_instances(InstanceIds=[id])


def test_policies(elb, balancer):
    here = {"LoadBalancerName": balancer}
    elb.create_lb_cookie_stickiness_policy(**here, PolicyName="sticky", CookieExpirationPeriod=60)
    elb.create_app_cookie_stickiness_policy(**here, PolicyName="follows", CookieName="JSESSIONID")
    elb.create_load_balancer_policy(**here, PolicyName="proxy", PolicyTypeName="ProxyProtocolPolicyType", PolicyAttributes=[
        {"AttributeName": "ProxyProtocol", "AttributeValue": "true"}])
    refused("InvalidConfigurationRequest", elb.create_load_balancer_policy, **here, PolicyName="tls",
            PolicyTypeName="SSLNegotiationPolicyType")
    elb.set_load_balancer_policies_of_listener(**here, LoadBalancerPort=80, PolicyNames=["follows"])
    elb.set_load_balancer_policies_for_backend_server(**here, InstancePort=2525, PolicyNames=["proxy"])
    own = shown(elb)
    assert own["Policies"] == {
        "AppCookieStickinessPolicies": [{"PolicyName": "follows", "CookieName": "JSESSIONID"}],
        "LBCookieStickinessPolicies": [{"PolicyName": "sticky", "CookieExpirationPeriod": 60}], "OtherPolicies": ["proxy"]}
    assert own["ListenerDescriptions"][0]["PolicyNames"] == ["follows"]
    assert own["BackendServerDescriptions"] == [{"InstancePort": 2525, "PolicyNames": ["proxy"]}]
    told = elb.describe_load_balancer_policies(**here, PolicyNames=["proxy"])["PolicyDescriptions"]
    assert told == [{"PolicyName": "proxy", "PolicyTypeName": "ProxyProtocolPolicyType", "PolicyAttributeDescriptions": [
        {"AttributeName": "ProxyProtocol", "AttributeValue": "true"}]}]
    assert elb.describe_load_balancer_policies()["PolicyDescriptions"] == []
    types = elb.describe_load_balancer_policy_types()["PolicyTypeDescriptions"]
    assert "ProxyProtocolPolicyType" in [t["PolicyTypeName"] for t in types]
    refused("InvalidConfigurationRequest", elb.delete_load_balancer_policy, **here, PolicyName="follows")
    elb.delete_load_balancer_policy(**here, PolicyName="sticky")


def test_tags(elb, balancer):
    tags = lambda: {t["Key"]: t["Value"] for t in elb.describe_tags(LoadBalancerNames=[balancer])["TagDescriptions"][0]["Tags"]}
    elb.add_tags(LoadBalancerNames=[balancer], Tags=[{"Key": "team", "Value": "a b"}])
    assert tags() == {"team": "a b", "puffer:health-check-period": "1"}
    elb.remove_tags(LoadBalancerNames=[balancer], Tags=[{"Key": "team"}])
    assert tags() == {"puffer:health-check-period": "1"}
    refused("ValidationError", elb.add_tags, LoadBalancerNames=[balancer], Tags=[{"Key": "puffer:metric-period", "Value": "61"}])
    refused("LoadBalancerNotFound", elb.describe_tags, LoadBalancerNames=["none"])
