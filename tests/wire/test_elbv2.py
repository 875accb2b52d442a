"""Elastic Load Balancing v2 through boto3 and the AWS CLI: what is made, shown, changed, refused and removed."""

import pytest
from botocore.exceptions import ClientError

from conftest import until

AMI = "ami-0123456789abcdef0"


@pytest.fixture(scope="module")
def unchecked(server):
    """A client that sends what boto3 would refuse by itself."""
    return server.client("elbv2", parameter_validation=False)


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code, error.value
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return error.value.response["Error"]["Message"]


class Network:
    """The default VPC with its subnets by zone."""

    def __init__(self, ec2):
        self.vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
        subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["Subnets"]
        self.subnets = [s["SubnetId"] for s in sorted(subnets, key=lambda s: s["AvailabilityZone"])]


@pytest.fixture(scope="module")
def network(ec2):
    return Network(ec2)


@pytest.fixture(scope="module")
def groups(elbv2, network):
    """Two target groups that all tests use."""
    arns = [target_group(elbv2, network, name)["TargetGroupArn"] for name in ("shared-a", "shared-b")]
    yield arns
    for arn in arns:
        elbv2.delete_target_group(TargetGroupArn=arn)


@pytest.fixture
def balancer(elbv2, network):
    """A load balancer of a test's own; returns its ARN."""
    made = load_balancer(elbv2, network, "own")
    yield made["LoadBalancerArn"]
    elbv2.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])


@pytest.fixture
def listener(elbv2, balancer, groups):
    return elbv2.create_listener(
        LoadBalancerArn=balancer, Protocol="HTTP", Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": groups[0]}])["Listeners"][0]["ListenerArn"]


@pytest.fixture(scope="module")
def instances(ec2, network):
    """Two running instances in two zones."""
    ids = [
        ec2.run_instances(ImageId=AMI, InstanceType="t2.micro", MinCount=1, MaxCount=1, SubnetId=subnet)
        ["Instances"][0]["InstanceId"] for subnet in network.subnets[:2]]
    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})
    yield ids
    ec2.terminate_instances(InstanceIds=ids)


def load_balancer(elbv2, network, name, **more):
    settings = {"Subnets": network.subnets[:2], **more}
    return elbv2.create_load_balancer(Name=name, **settings)["LoadBalancers"][0]


def target_group(elbv2, network, name, **more):
    settings = {"Protocol": "HTTP", "Port": 80, "VpcId": network.vpc, **more}
    return elbv2.create_target_group(Name=name, **settings)["TargetGroups"][0]


def attributes(answer):
    return {a["Key"]: a["Value"] for a in answer["Attributes"]}


def test_a_load_balancer_lives_and_goes(elbv2, ec2, network):
    made = load_balancer(elbv2, network, "life", Tags=[{"Key": "role", "Value": "web"}])
    arn = made["LoadBalancerArn"]
    assert arn.startswith("arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/life/")
    assert made["State"]["Code"] in ("provisioning", "active")
    assert (made["Type"], made["Scheme"], made["IpAddressType"]) == ("application", "internet-facing", "ipv4")
    assert made["DNSName"].startswith("life-") and made["DNSName"].endswith(".us-east-1.elb.amazonaws.com")
    assert made["VpcId"] == network.vpc and made["CanonicalHostedZoneId"]
    assert [z["SubnetId"] for z in made["AvailabilityZones"]] == network.subnets[:2]
    default = ec2.describe_security_groups(Filters=[
        {"Name": "group-name", "Values": ["default"]}, {"Name": "vpc-id", "Values": [network.vpc]}])["SecurityGroups"]
    assert made["SecurityGroups"] == [default[0]["GroupId"]]

    quick = {"WaiterConfig": {"Delay": 1}}
    elbv2.get_waiter("load_balancer_exists").wait(LoadBalancerArns=[arn], **quick)
    elbv2.get_waiter("load_balancer_available").wait(Names=["life"], **quick)
    # The same request again gives the same load balancer; another with its name does not.
    again = load_balancer(elbv2, network, "life", Tags=[{"Key": "role", "Value": "web"}])
    assert again["LoadBalancerArn"] == arn
    refused("DuplicateLoadBalancerName", elbv2.create_load_balancer, Name="life", Subnets=network.subnets[1:3])

    faces = ec2.describe_network_interfaces(Filters=[
        {"Name": "description", "Values": [f"ELB app/life/{arn.rsplit('/', 1)[1]}"]}])["NetworkInterfaces"]
    assert len(faces) == 2
    elbv2.delete_load_balancer(LoadBalancerArn=arn)
    elbv2.get_waiter("load_balancers_deleted").wait(LoadBalancerArns=[arn], **quick)
    refused("LoadBalancerNotFound", elbv2.describe_load_balancers, LoadBalancerArns=[arn])
    # Deleting it once more is no error, as on AWS.
    elbv2.delete_load_balancer(LoadBalancerArn=arn)


def test_load_balancers_that_cannot_be(elbv2, unchecked, network):
    before = elbv2.describe_load_balancers()["LoadBalancers"]
    create, subnets = unchecked.create_load_balancer, network.subnets[:2]
    refused("ValidationError", create, Name="-x", Subnets=subnets)
    refused("ValidationError", create, Name="x" * 33, Subnets=subnets)
    refused("ValidationError", create, Name="internal-x", Subnets=subnets)
    refused("ValidationError", create, Name="no_underscore", Subnets=subnets)
    refused("ValidationError", create, Name="nowhere")
    refused("ValidationError", create, Name="one-zone", Subnets=subnets[:1])
    refused("InvalidConfigurationRequest", create, Name="twice", Subnets=[subnets[0], subnets[0]])
    refused("SubnetNotFound", create, Name="gone", Subnets=[subnets[0], "subnet-0123456789abcdef0"])
    refused("InvalidSecurityGroup", create, Name="group", Subnets=subnets, SecurityGroups=["sg-0123456789abcdef0"])
    refused("OperationNotPermitted", create, Name="tcp", Subnets=subnets, Type="network")
    refused("DuplicateTagKeys", create, Name="tags", Subnets=subnets, Tags=[
        {"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}])
    refused("ValidationError", create, Name="scheme", Subnets=subnets, Scheme="sideways")
    assert elbv2.describe_load_balancers()["LoadBalancers"] == before


def test_subnets_and_security_groups_change(elbv2, ec2, network, balancer):
    zones = elbv2.set_subnets(LoadBalancerArn=balancer, Subnets=network.subnets[1:3])["AvailabilityZones"]
    assert {z["SubnetId"] for z in zones} == set(network.subnets[1:3])
    refused("ValidationError", elbv2.set_subnets, LoadBalancerArn=balancer, Subnets=network.subnets[:1])
    group = ec2.create_security_group(GroupName="elbv2-sg", Description="x", VpcId=network.vpc)["GroupId"]
    answer = elbv2.set_security_groups(LoadBalancerArn=balancer, SecurityGroups=[group])
    assert answer["SecurityGroupIds"] == [group]
    refused("InvalidSecurityGroup", elbv2.set_security_groups, LoadBalancerArn=balancer, SecurityGroups=["sg-0123456789abcdef0"])
    shown = elbv2.describe_load_balancers(LoadBalancerArns=[balancer])["LoadBalancers"][0]
    assert shown["SecurityGroups"] == [group]
    assert {z["SubnetId"] for z in shown["AvailabilityZones"]} == set(network.subnets[1:3])
    # What a load balancer uses cannot be deleted.
    refused("DependencyViolation", ec2.delete_security_group, GroupId=group)
    assert elbv2.set_ip_address_type(LoadBalancerArn=balancer, IpAddressType="ipv4")["IpAddressType"] == "ipv4"
    refused("InvalidConfigurationRequest", elbv2.set_ip_address_type, LoadBalancerArn=balancer, IpAddressType="dualstack")


def test_attributes_of_load_balancers(elbv2, balancer):
    before = attributes(elbv2.describe_load_balancer_attributes(LoadBalancerArn=balancer))
    assert before["idle_timeout.timeout_seconds"] == "60" and before["deletion_protection.enabled"] == "false"
    after = attributes(elbv2.modify_load_balancer_attributes(LoadBalancerArn=balancer, Attributes=[
        {"Key": "idle_timeout.timeout_seconds", "Value": "30"}, {"Key": "deletion_protection.enabled", "Value": "true"}]))
    assert after["idle_timeout.timeout_seconds"] == "30"
    refused("OperationNotPermitted", elbv2.delete_load_balancer, LoadBalancerArn=balancer)
    modify = elbv2.modify_load_balancer_attributes
    # Of several changes, all are made or none.
    refused("ValidationError", modify, LoadBalancerArn=balancer, Attributes=[
        {"Key": "deletion_protection.enabled", "Value": "false"}, {"Key": "idle_timeout.timeout_seconds", "Value": "4001"}])
    refused("ValidationError", modify, LoadBalancerArn=balancer, Attributes=[{"Key": "no.such", "Value": "1"}])
    refused("InvalidConfigurationRequest", modify, LoadBalancerArn=balancer, Attributes=[
        {"Key": "access_logs.s3.enabled", "Value": "true"}])
    assert attributes(elbv2.describe_load_balancer_attributes(LoadBalancerArn=balancer)) == after
    modify(LoadBalancerArn=balancer, Attributes=[{"Key": "deletion_protection.enabled", "Value": "false"}])


def test_listeners(elbv2, unchecked, balancer, groups):
    forward = [{"Type": "forward", "TargetGroupArn": groups[0]}]
    made = elbv2.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=8080, DefaultActions=forward)["Listeners"][0]
    arn = made["ListenerArn"]
    assert arn.startswith(balancer.replace(":loadbalancer/", ":listener/") + "/")
    assert (made["LoadBalancerArn"], made["Port"], made["Protocol"]) == (balancer, 8080, "HTTP")
    action = made["DefaultActions"][0]
    assert (action["Type"], action["TargetGroupArn"]) == ("forward", groups[0])
    assert action["ForwardConfig"]["TargetGroups"] == [{"TargetGroupArn": groups[0], "Weight": 1}]
    # An action goes back as it was read.
    elbv2.modify_listener(ListenerArn=arn, DefaultActions=made["DefaultActions"])

    create = unchecked.create_listener
    refused("DuplicateListener", create, LoadBalancerArn=balancer, Protocol="HTTP", Port=8080, DefaultActions=[
        {"Type": "forward", "TargetGroupArn": groups[1]}])
    refused("ValidationError", create, LoadBalancerArn=balancer, Protocol="HTTP", Port=70000, DefaultActions=forward)
    refused("ValidationError", create, LoadBalancerArn=balancer, Protocol="TCP", Port=81, DefaultActions=forward)
    refused("UnsupportedProtocol", create, LoadBalancerArn=balancer, Protocol="HTTPS", Port=443, DefaultActions=forward)
    refused("TargetGroupNotFound", create, LoadBalancerArn=balancer, Protocol="HTTP", Port=82, DefaultActions=[
        {"Type": "forward", "TargetGroupArn": groups[0] + "0"}])
    refused("LoadBalancerNotFound", create, LoadBalancerArn=balancer + "0", Protocol="HTTP", Port=83, DefaultActions=forward)
    assert len(elbv2.describe_listeners(LoadBalancerArn=balancer)["Listeners"]) == 1

    changed = elbv2.modify_listener(ListenerArn=arn, Port=8081, DefaultActions=[
        {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404", "ContentType": "text/plain", "MessageBody": "no"}}])
    assert changed["Listeners"][0]["Port"] == 8081
    assert changed["Listeners"][0]["DefaultActions"][0]["FixedResponseConfig"] == {
        "StatusCode": "404", "ContentType": "text/plain", "MessageBody": "no"}
    other = create(LoadBalancerArn=balancer, Protocol="HTTP", Port=8082, DefaultActions=forward)["Listeners"][0]["ListenerArn"]
    refused("DuplicateListener", elbv2.modify_listener, ListenerArn=arn, Port=8082)
    pages = elbv2.get_paginator("describe_listeners").paginate(LoadBalancerArn=balancer, PaginationConfig={"PageSize": 1})
    assert {l["ListenerArn"] for page in pages for l in page["Listeners"]} == {arn, other}
    names = attributes(elbv2.describe_listener_attributes(ListenerArn=arn))
    assert names["routing.http.response.server.enabled"] == "true"
    elbv2.delete_listener(ListenerArn=other)
    refused("ListenerNotFound", elbv2.describe_listeners, ListenerArns=[other])


def test_rules(elbv2, unchecked, listener, groups):
    forward = [{"Type": "forward", "TargetGroupArn": groups[1]}]
    path = [{"Field": "path-pattern", "Values": ["/api/*"]}]
    made = elbv2.create_rule(ListenerArn=listener, Priority=10, Conditions=path, Actions=forward)["Rules"][0]
    assert (made["Priority"], made["IsDefault"]) == ("10", False)
    assert made["Conditions"][0]["Values"] == ["/api/*"] == made["Conditions"][0]["PathPatternConfig"]["Values"]
    elbv2.modify_rule(RuleArn=made["RuleArn"], Conditions=made["Conditions"], Actions=made["Actions"])

    everything = elbv2.create_rule(ListenerArn=listener, Priority=20, Conditions=[
        {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.com"]}},
        {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET"]}},
        {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}},
        {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Test", "Values": ["on"]}},
        {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "v", "Value": "2"}]}},
    ], Actions=[{"Type": "redirect", "RedirectConfig": {
        "Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}])["Rules"][0]
    assert [c["Field"] for c in everything["Conditions"]] == [
        "host-header", "http-request-method", "source-ip", "http-header", "query-string"]
    assert everything["Actions"][0]["RedirectConfig"] == {
        "Protocol": "HTTPS", "Port": "443", "Host": "#{host}", "Path": "/#{path}", "Query": "#{query}", "StatusCode": "HTTP_301"}

    weighted = elbv2.create_rule(ListenerArn=listener, Priority=30, Conditions=[
        {"Field": "host-header", "Values": ["both.example.com"]}], Actions=[{"Type": "forward", "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": groups[0], "Weight": 9}, {"TargetGroupArn": groups[1], "Weight": 1}],
            "TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 600}}}])["Rules"][0]
    action = weighted["Actions"][0]
    assert "TargetGroupArn" not in action
    assert [t["Weight"] for t in action["ForwardConfig"]["TargetGroups"]] == [9, 1]
    assert action["ForwardConfig"]["TargetGroupStickinessConfig"] == {"Enabled": True, "DurationSeconds": 600}

    def priorities():
        return {r["RuleArn"]: r["Priority"] for r in elbv2.describe_rules(ListenerArn=listener)["Rules"]}

    before = priorities()
    assert list(before.values()) == ["10", "20", "30", "default"]
    create = unchecked.create_rule
    refused("PriorityInUse", create, ListenerArn=listener, Priority=10, Conditions=path, Actions=forward)
    refused("ValidationError", create, ListenerArn=listener, Priority=0, Conditions=path, Actions=forward)
    refused("ValidationError", create, ListenerArn=listener, Priority=50001, Conditions=path, Actions=forward)
    refused("ValidationError", create, ListenerArn=listener, Priority=40, Conditions=[], Actions=forward)
    refused("ValidationError", create, ListenerArn=listener, Priority=40, Conditions=path * 2, Actions=forward)
    refused("ValidationError", create, ListenerArn=listener, Priority=40, Conditions=[
        {"Field": "path-pattern", "Values": [f"/{i}" for i in range(6)]}], Actions=forward)
    refused("ValidationError", create, ListenerArn=listener, Priority=40, Conditions=path, Actions=[
        {"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": groups[0], "Weight": 1000}]}}])
    refused("InvalidLoadBalancerAction", create, ListenerArn=listener, Priority=40, Conditions=path, Actions=forward + [
        {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}])
    refused("ListenerNotFound", create, ListenerArn=listener + "0", Priority=40, Conditions=path, Actions=forward)
    default = [arn for arn, priority in before.items() if priority == "default"][0]
    refused("OperationNotPermitted", elbv2.delete_rule, RuleArn=default)
    first, second = [r for r, p in before.items() if p in ("10", "20")]
    refused("PriorityInUse", elbv2.set_rule_priorities, RulePriorities=[{"RuleArn": first, "Priority": 30}])
    assert priorities() == before
    # Two rules trade places in one call.
    elbv2.set_rule_priorities(RulePriorities=[{"RuleArn": first, "Priority": 20}, {"RuleArn": second, "Priority": 10}])
    assert list(priorities())[:2] == [second, first]
    pages = elbv2.get_paginator("describe_rules").paginate(ListenerArn=listener, PaginationConfig={"PageSize": 1})
    assert [r["RuleArn"] for page in pages for r in page["Rules"]] == list(priorities())
    elbv2.delete_rule(RuleArn=first)
    refused("RuleNotFound", elbv2.describe_rules, RuleArns=[first])
    # A target group that a rule forwards to stays.
    refused("ResourceInUse", elbv2.delete_target_group, TargetGroupArn=groups[1])


def test_target_groups(elbv2, unchecked, network):
    made = target_group(elbv2, network, "plain")
    arn = made["TargetGroupArn"]
    assert arn.startswith("arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/plain/")
    shown = {k: made[k] for k in (
        "Protocol", "ProtocolVersion", "Port", "TargetType", "HealthCheckProtocol", "HealthCheckPort", "HealthCheckPath",
        "HealthCheckIntervalSeconds", "HealthCheckTimeoutSeconds", "HealthyThresholdCount", "UnhealthyThresholdCount",
        "HealthCheckEnabled", "Matcher", "LoadBalancerArns")}
    assert shown == {
        "Protocol": "HTTP", "ProtocolVersion": "HTTP1", "Port": 80, "TargetType": "instance", "HealthCheckProtocol": "HTTP",
        "HealthCheckPort": "traffic-port", "HealthCheckPath": "/", "HealthCheckIntervalSeconds": 30,
        "HealthCheckTimeoutSeconds": 5, "HealthyThresholdCount": 5, "UnhealthyThresholdCount": 2,
        "HealthCheckEnabled": True, "Matcher": {"HttpCode": "200"}, "LoadBalancerArns": []}
    assert target_group(elbv2, network, "plain")["TargetGroupArn"] == arn
    create = unchecked.create_target_group
    good = {"Protocol": "HTTP", "Port": 80, "VpcId": network.vpc}
    refused("DuplicateTargetGroupName", create, Name="plain", **{**good, "Port": 81})
    refused("ValidationError", create, Name="bad_name", **good)
    refused("ValidationError", create, Name="port", **{**good, "Port": 0})
    refused("ValidationError", create, Name="vpc", **{**good, "VpcId": "vpc-0123456789abcdef0"})
    refused("ValidationError", create, Name="slow", **good, HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=10)
    refused("ValidationError", create, Name="codes", **good, Matcher={"HttpCode": "700"})
    refused("ValidationError", create, Name="path", **good, HealthCheckPath="no-slash")
    refused("TargetGroupNotFound", elbv2.describe_target_groups, Names=["bad_name"])

    changed = elbv2.modify_target_group(
        TargetGroupArn=arn, HealthCheckPath="/ping", HealthCheckIntervalSeconds=10, Matcher={"HttpCode": "200-299"},
        HealthyThresholdCount=2, HealthCheckPort="8080")["TargetGroups"][0]
    assert (changed["HealthCheckPath"], changed["Matcher"]["HttpCode"], changed["HealthCheckPort"]) == ("/ping", "200-299", "8080")
    refused("ValidationError", unchecked.modify_target_group, TargetGroupArn=arn, HealthyThresholdCount=11)
    assert elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0] == changed

    before = attributes(elbv2.describe_target_group_attributes(TargetGroupArn=arn))
    assert before["deregistration_delay.timeout_seconds"] == "300" and before["stickiness.enabled"] == "false"
    after = attributes(elbv2.modify_target_group_attributes(TargetGroupArn=arn, Attributes=[
        {"Key": "deregistration_delay.timeout_seconds", "Value": "5"},
        {"Key": "load_balancing.algorithm.type", "Value": "least_outstanding_requests"},
        {"Key": "stickiness.enabled", "Value": "true"}, {"Key": "stickiness.type", "Value": "lb_cookie"}]))
    assert after == {**before, "deregistration_delay.timeout_seconds": "5", "stickiness.enabled": "true",
                     "load_balancing.algorithm.type": "least_outstanding_requests"}
    modify = elbv2.modify_target_group_attributes
    refused("ValidationError", modify, TargetGroupArn=arn, Attributes=[
        {"Key": "deregistration_delay.timeout_seconds", "Value": "3601"}])
    # Slow start does not go with this algorithm.
    refused("InvalidConfigurationRequest", modify, TargetGroupArn=arn, Attributes=[
        {"Key": "slow_start.duration_seconds", "Value": "60"}])
    assert attributes(elbv2.describe_target_group_attributes(TargetGroupArn=arn)) == after
    elbv2.delete_target_group(TargetGroupArn=arn)
    refused("TargetGroupNotFound", elbv2.describe_target_group_attributes, TargetGroupArn=arn)


def test_targets_come_and_go(elbv2, unchecked, network, instances):
    arn = target_group(elbv2, network, "targets")["TargetGroupArn"]

    def health(*ids):
        more = {"Targets": [{"Id": i} for i in ids]} if ids else {}
        return elbv2.describe_target_health(TargetGroupArn=arn, **more)["TargetHealthDescriptions"]

    elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": instances[0]}, {"Id": instances[1], "Port": 8080}])
    shown = {t["Target"]["Id"]: t for t in health()}
    assert shown[instances[0]]["Target"] == {"Id": instances[0], "Port": 80}
    assert shown[instances[1]]["HealthCheckPort"] == "8080"
    # No listener uses the group: nobody checks its targets.
    assert shown[instances[0]]["TargetHealth"]["State"] == "unused"
    assert shown[instances[0]]["TargetHealth"]["Reason"] == "Target.NotInUse"
    elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": instances[0]}])
    assert len(health()) == 2
    stranger = health("i-0123456789abcdef0")[0]["TargetHealth"]
    assert (stranger["State"], stranger["Reason"]) == ("unused", "Target.NotRegistered")
    refused("InvalidTarget", elbv2.register_targets, TargetGroupArn=arn, Targets=[{"Id": instances[0]}, {"Id": "i-0123456789abcdef0"}])
    refused("ValidationError", unchecked.register_targets, TargetGroupArn=arn, Targets=[{"Id": instances[0], "Port": 0}])
    refused("TargetGroupNotFound", elbv2.register_targets, TargetGroupArn=arn + "0", Targets=[{"Id": instances[0]}])
    assert len(health()) == 2
    elbv2.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": instances[1]}])
    elbv2.get_waiter("target_deregistered").wait(
        TargetGroupArn=arn, Targets=[{"Id": instances[1], "Port": 8080}], WaiterConfig={"Delay": 1})
    assert [t["Target"]["Id"] for t in health()] == [instances[0]]

    made = load_balancer(elbv2, network, "targets")["LoadBalancerArn"]
    elbv2.create_listener(LoadBalancerArn=made, Protocol="HTTP", Port=80, DefaultActions=[
        {"Type": "forward", "TargetGroupArn": arn}])
    assert elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]["LoadBalancerArns"] == [made]
    assert elbv2.describe_target_groups(LoadBalancerArn=made)["TargetGroups"][0]["TargetGroupArn"] == arn
    until(lambda: health()[0]["TargetHealth"]["State"] != "unused", "a check of the target")
    refused("ResourceInUse", elbv2.delete_target_group, TargetGroupArn=arn)
    elbv2.delete_load_balancer(LoadBalancerArn=made)
    elbv2.delete_target_group(TargetGroupArn=arn)


def test_addresses_are_targets_too(elbv2, ec2, network, instances):
    arn = target_group(elbv2, network, "addresses", TargetType="ip")["TargetGroupArn"]
    address = ec2.describe_instances(InstanceIds=instances[:1])["Reservations"][0]["Instances"][0]["PrivateIpAddress"]
    elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": address, "Port": 81}])
    target = elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"][0]["Target"]
    assert target["Id"] == address and target["AvailabilityZone"] == "us-east-1a"
    refused("ValidationError", elbv2.register_targets, TargetGroupArn=arn, Targets=[{"Id": instances[0]}])
    refused("InvalidTarget", elbv2.register_targets, TargetGroupArn=arn, Targets=[{"Id": "8.8.8.8"}])
    elbv2.delete_target_group(TargetGroupArn=arn)


def test_tags_of_all_kinds_of_resources(elbv2, network, balancer, listener, groups):
    rule = elbv2.create_rule(
        ListenerArn=listener, Priority=1, Conditions=[{"Field": "path-pattern", "Values": ["/x"]}],
        Actions=[{"Type": "forward", "TargetGroupArn": groups[0]}], Tags=[{"Key": "made", "Value": "with"}])["Rules"][0]["RuleArn"]
    arns = [balancer, listener, rule, groups[0]]

    def tags():
        described = elbv2.describe_tags(ResourceArns=arns)["TagDescriptions"]
        return {d["ResourceArn"]: {t["Key"]: t["Value"] for t in d["Tags"]} for d in described}

    elbv2.add_tags(ResourceArns=arns, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
    elbv2.add_tags(ResourceArns=[balancer], Tags=[{"Key": "a", "Value": "2"}])
    assert tags()[balancer] == {"a": "2", "b": ""} and tags()[rule] == {"made": "with", "a": "1", "b": ""}
    before = tags()
    refused("ValidationError", elbv2.add_tags, ResourceArns=arns, Tags=[{"Key": "aws:x", "Value": "1"}])
    for key, value in [("puffer:metric-period", "0"), ("puffer:health-check-period", "soon"), ("puffer:metric-periods", "1")]:
        refused("ValidationError", elbv2.add_tags, ResourceArns=arns, Tags=[{"Key": key, "Value": value}])
    refused("TooManyTags", elbv2.add_tags, ResourceArns=arns, Tags=[{"Key": f"k{i}", "Value": ""} for i in range(50)])
    # One resource of the list is unknown: no tag changes.
    refused("LoadBalancerNotFound", elbv2.add_tags, ResourceArns=[groups[0], balancer + "0"], Tags=[{"Key": "c", "Value": "3"}])
    assert tags() == before
    elbv2.remove_tags(ResourceArns=arns, TagKeys=["a", "b", "none"])
    assert tags()[groups[0]] == {}


def test_pages_and_the_command_line(elbv2, server, network):
    names = [f"page-{i}" for i in range(5)]
    arns = [target_group(elbv2, network, n)["TargetGroupArn"] for n in names]
    pages = elbv2.get_paginator("describe_target_groups").paginate(PaginationConfig={"PageSize": 2})
    seen = [g["TargetGroupName"] for page in pages for g in page["TargetGroups"]]
    assert len(seen) == len(set(seen)) and set(names) <= set(seen)
    told = server.aws("elbv2", "describe-target-groups", "--names", *names)
    assert [g["TargetGroupName"] for g in told["TargetGroups"]] == names
    made = server.aws("elbv2", "create-load-balancer", "--name", "cli", "--subnets", *network.subnets[:2])["LoadBalancers"][0]
    made = made["LoadBalancerArn"]
    listener = server.aws(
        "elbv2", "create-listener", "--load-balancer-arn", made, "--protocol", "HTTP", "--port", "80",
        "--default-actions", f"Type=forward,TargetGroupArn={arns[0]}")["Listeners"][0]["ListenerArn"]
    rule = server.aws(
        "elbv2", "create-rule", "--listener-arn", listener, "--priority", "5", "--conditions",
        "Field=path-pattern,Values=/a,/b", "--actions",
        "Type=redirect,RedirectConfig={Host=elsewhere.example.com,StatusCode=HTTP_302}")["Rules"][0]
    assert rule["Conditions"][0]["Values"] == ["/a", "/b"]
    assert rule["Actions"][0]["RedirectConfig"]["Host"] == "elsewhere.example.com"
    server.aws("elbv2", "wait", "load-balancer-available", "--load-balancer-arns", made)
    failed = server.aws("elbv2", "describe-load-balancers", "--names", "nothing", check=False)
    assert failed.returncode != 0 and "LoadBalancerNotFound" in failed.stderr
    server.aws("elbv2", "delete-load-balancer", "--load-balancer-arn", made)
    for arn in arns:
        elbv2.delete_target_group(TargetGroupArn=arn)
    limits = {l["Name"]: l["Max"] for l in elbv2.describe_account_limits()["Limits"]}
    assert int(limits["application-load-balancers"]) > 0


def test_attributes_of_a_listener(elbv2, listener):
    before = attributes(elbv2.describe_listener_attributes(ListenerArn=listener))
    assert before["routing.http.response.server.enabled"] == "true"
    # What is so already can be said again; what the data plane does not do is refused, and nothing changes.
    after = attributes(elbv2.modify_listener_attributes(ListenerArn=listener, Attributes=[
        {"Key": "routing.http.response.server.enabled", "Value": "true"}]))
    assert after == before
    for code, key, value in (("InvalidConfigurationRequest", "x_frame_options.header_value", "DENY"),
                             ("InvalidConfigurationRequest", "server.enabled", "false"), ("ValidationError", "colour", "red")):
        refused(code, elbv2.modify_listener_attributes, ListenerArn=listener, Attributes=[
            {"Key": f"routing.http.response.{key}", "Value": value}])
    assert attributes(elbv2.describe_listener_attributes(ListenerArn=listener)) == before
    refused("ListenerNotFound", elbv2.modify_listener_attributes, ListenerArn=listener + "0", Attributes=[
        {"Key": "routing.http.response.server.enabled", "Value": "true"}])


def test_what_there_is_none_of(elbv2, balancer):
    assert elbv2.describe_ssl_policies()["SslPolicies"] == []
    refused("SSLPolicyNotFound", elbv2.describe_ssl_policies, Names=["ELBSecurityPolicy-2016-08"])
    assert "MinimumLoadBalancerCapacity" not in elbv2.describe_capacity_reservation(LoadBalancerArn=balancer)
    refused("LoadBalancerNotFound", elbv2.describe_capacity_reservation, LoadBalancerArn=balancer + "0")
