#!/usr/bin/env python3
"""Records what boto3 and the AWS CLI really send, as goldens for the codecs, the router and the signature check.

    python3 tests/wire/capture/capture.py > crates/shapes/tests/goldens/requests.json

Needs boto3, and the `aws` command for the cases that name it. Dials a server of its own on 127.0.0.1 only. The keys are
the well-known ones of AWS's examples.
"""

import base64
import datetime
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request

import boto3
import botocore
from botocore.config import Config

KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
WHEN = datetime.datetime(2026, 11, 21, 3, 28, 0, tzinfo=datetime.timezone.utc)

# (client, operation, parameters). Times are datetimes here and seconds in the goldens; bytes are base64 there.
CASES = [
    ("autoscaling", "DescribeAutoScalingGroups", {}),
    ("autoscaling", "DescribeAutoScalingGroups", {"AutoScalingGroupNames": ["web", "a b&c=d/é🐡"], "MaxRecords": 5}),
    ("autoscaling", "DescribeAutoScalingGroups", {"Filters": [{"Name": "tag:env", "Values": ["x", "y"]}]}),
    ("autoscaling", "CreateAutoScalingGroup", {
        "AutoScalingGroupName": "web", "MinSize": 1, "MaxSize": 4, "VPCZoneIdentifier": "subnet-1,subnet-2",
        "LaunchTemplate": {"LaunchTemplateName": "web", "Version": "$Latest"}, "TargetGroupARNs": [],
        "Tags": [{"Key": f"k{i}", "Value": "", "PropagateAtLaunch": i % 2 == 0} for i in range(12)]}),
    ("autoscaling", "PutScalingPolicy", {
        "AutoScalingGroupName": "web", "PolicyName": "p", "PolicyType": "TargetTrackingScaling",
        "TargetTrackingConfiguration": {
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
            "TargetValue": 37.5, "DisableScaleIn": False}}),
    ("autoscaling", "PutScheduledUpdateGroupAction", {
        "AutoScalingGroupName": "web", "ScheduledActionName": "s", "StartTime": WHEN, "MinSize": 0}),
    ("autoscaling", "SetDesiredCapacity", {"AutoScalingGroupName": "web", "DesiredCapacity": 3, "HonorCooldown": False}),
    ("ec2", "RunInstances", {
        "ImageId": "ami-1", "MinCount": 1, "MaxCount": 2, "InstanceType": "t3.micro", "UserData": "#!/bin/sh\necho hello\n",
        "SecurityGroupIds": ["sg-1", "sg-2"], "ClientToken": "token",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": True}}],
        "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": "subnet-1", "Groups": ["sg-1"], "AssociatePublicIpAddress": False}],
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "w"}]}],
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2}}),
    ("ec2", "DescribeInstances", {
        "Filters": [{"Name": "instance-state-name", "Values": ["running", "pending"]}], "MaxResults": 50}),
    ("ec2", "DescribeInstanceStatus", {"InstanceIds": ["i-1"], "IncludeAllInstances": True}),
    ("ec2", "AuthorizeSecurityGroupIngress", {
        "GroupId": "sg-1", "IpPermissions": [
            {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all"}],
             "UserIdGroupPairs": [{"GroupId": "sg-2", "UserId": "123456789012"}]}]}),
    ("ec2", "CreateLaunchTemplate", {
        "LaunchTemplateName": "web", "ClientToken": "token", "LaunchTemplateData": {
            "ImageId": "ami-1", "SecurityGroupIds": ["sg-1"], "UserData": "IyEvYmluL3NoCg==",
            "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}]}}),
    ("ec2", "ImportKeyPair", {"KeyName": "k", "PublicKeyMaterial": b"ssh-ed25519 AAAA test"}),
    ("ec2", "DescribeInstanceTypes", {"InstanceTypes": ["t3.micro"]}),
    ("ec2", "ModifyInstanceAttribute", {"InstanceId": "i-1", "DisableApiTermination": {"Value": True}}),
    ("ec2", "CreateTags", {"Resources": ["i-1", "i-2"], "Tags": [{"Key": "k", "Value": ""}]}),
    ("elbv2", "CreateRule", {
        "ListenerArn": "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/app/lb/0011223344556677/8899aabbccddeeff",
        "Priority": 10, "Conditions": [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/a*", "/b?"]}}],
        "Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": "arn:x", "Weight": 1}]}}]}),
    ("elbv2", "RegisterTargets", {"TargetGroupArn": "arn:x", "Targets": [{"Id": "i-1", "Port": 80}, {"Id": "i-2"}]}),
    ("cloudwatch", "PutMetricData", {
        "Namespace": "Lab", "MetricData": [
            {"MetricName": "load", "Dimensions": [{"Name": "d", "Value": "v"}], "Timestamp": WHEN, "Value": 1.25,
             "Unit": "Percent", "StorageResolution": 1},
            {"MetricName": "many", "Values": [1.0, 2.0], "Counts": [3.0, 4.0]}]}),
    ("cloudwatch", "GetMetricStatistics", {
        "Namespace": "AWS/EC2", "MetricName": "CPUUtilization", "StartTime": WHEN, "EndTime": WHEN + datetime.timedelta(hours=1),
        "Period": 60, "Statistics": ["Average", "Maximum"]}),
    ("cloudwatch", "PutMetricAlarm", {
        "AlarmName": "high", "MetricName": "CPUUtilization", "Namespace": "AWS/EC2", "Statistic": "Average", "Period": 60,
        "EvaluationPeriods": 3, "Threshold": 70.0, "ComparisonOperator": "GreaterThanThreshold"}),
    ("sts", "GetCallerIdentity", {}),
    ("ssm", "GetParameters", {"Names": ["/puffer/image/web"], "WithDecryption": False}),
]

# AWS CLI commands, with the operation and parameters that should arrive.
COMMANDS = [
    (["autoscaling", "describe-auto-scaling-groups", "--auto-scaling-group-names", "web"],
     "autoscaling", "DescribeAutoScalingGroups", {"AutoScalingGroupNames": ["web"]}),
    (["elbv2", "describe-target-health", "--target-group-arn", "arn:x"],
     "elbv2", "DescribeTargetHealth", {"TargetGroupArn": "arn:x"}),
    (["cloudwatch", "describe-alarms", "--alarm-names", "a", "b"],
     "cloudwatch", "DescribeAlarms", {"AlarmNames": ["a", "b"]}),
    (["ec2", "describe-images", "--owners", "self"], "ec2", "DescribeImages", {"Owners": ["self"]}),
]

captured = []


# Headers that say something about the machine that records, and are never signed.
UNTOLD = {"user-agent", "amz-sdk-invocation-id", "amz-sdk-request"}


class Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        captured.append({"method": self.command, "path": path, "query": query,
                         "headers": [[k.lower(), v] for k, v in self.headers.items() if k.lower() not in UNTOLD], "body": body.decode()})
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


def plain(value):
    if isinstance(value, datetime.datetime):
        seconds = value.timestamp()
        return int(seconds) if seconds == int(seconds) else seconds
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    config = Config(retries={"max_attempts": 0, "mode": "standard"})
    clients = {
        name: boto3.client(name, endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=KEY,
                           aws_secret_access_key=SECRET, config=config)
        for name in {case[0] for case in CASES}
    }
    goldens = []

    def keep(client, service, operation, parameters):
        request = captured.pop()
        captured.clear()
        goldens.append({"client": client, "service": service, "operation": operation,
                        "parameters": plain(parameters), "request": request})

    for service, operation, parameters in CASES:
        client = clients[service]
        method = next(m for m, o in client.meta.method_to_api_mapping.items() if o == operation)
        try:
            getattr(client, method)(**parameters)
        except botocore.exceptions.ClientError:
            pass
        sent = dict(parameters)
        if operation == "RunInstances":
            sent["UserData"] = base64.b64encode(sent["UserData"].encode()).decode()
        keep(f"botocore {botocore.__version__}", service, operation, sent)

    for service, method, operation, parameters in [
        ("sts", "get_caller_identity", "GetCallerIdentity", {}),
        ("autoscaling", "describe_auto_scaling_groups", "DescribeAutoScalingGroups", {"AutoScalingGroupNames": ["a b", "~é"]}),
    ]:
        for http_method in ("GET", "POST"):
            url = clients[service].generate_presigned_url(method, Params=parameters, ExpiresIn=600, HttpMethod=http_method)
            if http_method == "POST":
                continue  # The parameters of a presigned POST are in its body, which only the signer knows.
            try:
                urllib.request.urlopen(urllib.request.Request(url, method=http_method))
            except urllib.error.HTTPError:
                pass
            keep(f"botocore {botocore.__version__} presigned", service, operation, parameters)

    environment = dict(os.environ, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_DEFAULT_REGION="eu-west-1",
                       AWS_ENDPOINT_URL=endpoint, AWS_MAX_ATTEMPTS="1", AWS_CONFIG_FILE="/dev/null",
                       AWS_SHARED_CREDENTIALS_FILE="/dev/null")
    version = subprocess.run(["aws", "--version"], capture_output=True, text=True, check=True, timeout=60).stdout.split()[0]
    for command, service, operation, parameters in COMMANDS:
        subprocess.run(["aws", *command], env=environment, capture_output=True, timeout=60)
        keep(version, service, operation, parameters)

    json.dump({"access_key_id": KEY, "secret_access_key": SECRET, "goldens": goldens}, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
