"""Bad input gets the AWS error and changes nothing."""

import urllib.error
import urllib.request

import pytest
from botocore.awsrequest import AWSRequest
from botocore.auth import SigV4Auth
from botocore.credentials import Credentials
from botocore.exceptions import ClientError


def send(server, service, body, headers=None):
    """A signed request as it is, past every check of boto3's."""
    keys = server.environment
    request = AWSRequest("POST", keys["AWS_ENDPOINT_URL"] + "/", data=body, headers={
        "Content-Type": "application/x-www-form-urlencoded", **(headers or {})})
    SigV4Auth(Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]), service, "us-east-1").add_auth(request)
    prepared = request.prepare()
    raw = urllib.request.Request(prepared.url, data=prepared.body, headers=dict(prepared.headers), method="POST")
    try:
        with urllib.request.urlopen(raw, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("service, version", [("autoscaling", "2011-01-01"), ("ec2", "2016-11-15")])
def test_an_unknown_action(server, service, version):
    status, text = send(server, service, f"Action=MakeCoffee&Version={version}".encode())
    assert status == 400
    assert "<Code>InvalidAction</Code>" in text


def test_a_body_that_is_too_large(server):
    status, _ = send(server, "autoscaling", b"Action=DescribeAutoScalingGroups&Version=2011-01-01&x=" + b"y" * (20 << 20))
    assert status == 413


def test_ec2_refuses_unknown_parameters(server):
    status, text = send(server, "ec2", b"Action=DescribeInstances&Version=2016-11-15&Colour=red")
    assert (status, "<Code>UnknownParameter</Code>" in text) == (400, True)


def test_a_wrong_type(server):
    body = b"Action=SetDesiredCapacity&Version=2011-01-01&AutoScalingGroupName=g&DesiredCapacity=many"
    status, text = send(server, "autoscaling", body)
    assert status == 400
    assert "MalformedInput" in text or "ValidationError" in text


def test_json_that_is_none(server):
    status, text = send(server, "monitoring", b"{not json", {
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "GraniteServiceVersion20100801.ListMetrics"})
    assert status == 400
    assert "SerializationException" in text


def test_sizes_out_of_order_leave_no_group(autoscaling, ec2):
    ec2.create_launch_template(LaunchTemplateName="errors", LaunchTemplateData={
        "ImageId": "ami-0123456789abcdef0", "InstanceType": "t2.micro"})
    with pytest.raises(ClientError) as error:
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName="bad", MinSize=3, MaxSize=2, AvailabilityZones=["us-east-1a"],
            LaunchTemplate={"LaunchTemplateName": "errors"})
    assert error.value.response["Error"]["Code"] == "ValidationError"
    assert autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["bad"])["AutoScalingGroups"] == []
    ec2.delete_launch_template(LaunchTemplateName="errors")


def test_what_does_not_exist(autoscaling, ec2, elbv2, cloudwatch):
    for call, code in [
        (lambda: autoscaling.set_desired_capacity(AutoScalingGroupName="none", DesiredCapacity=1), "ValidationError"),
        (lambda: ec2.describe_instances(InstanceIds=["i-0123456789abcdef0"]), "InvalidInstanceID.NotFound"),
        (lambda: ec2.describe_instances(InstanceIds=["nonsense"]), "InvalidInstanceID.Malformed"),
        (lambda: ec2.delete_security_group(GroupId="sg-0123456789abcdef0"), "InvalidGroup.NotFound"),
        (lambda: elbv2.describe_load_balancers(Names=["none"]), "LoadBalancerNotFound"),
        (lambda: elbv2.describe_target_groups(Names=["none"]), "TargetGroupNotFound"),
        (lambda: cloudwatch.set_alarm_state(AlarmName="none", StateValue="OK", StateReason="x"), "ResourceNotFound"),
    ]:
        with pytest.raises(ClientError) as error:
            call()
        assert error.value.response["Error"]["Code"] == code
