"""Composite alarms and the EC2 actions of metric alarms, with boto3."""

import json

import pytest
from botocore.exceptions import ClientError

from conftest import until


def metric_alarm(cloudwatch, name, **settings):
    base = {
        "AlarmName": name,
        "Namespace": "app",
        "MetricName": name,
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "ignore",
    }
    cloudwatch.put_metric_alarm(**{**base, **settings})


def composite(cloudwatch, name):
    found = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=["CompositeAlarm"])
    return found["CompositeAlarms"][0]


def test_a_composite_alarm_follows_its_children(cloudwatch):
    a, b, top = "composite-a", "composite-b", "composite-top"
    metric_alarm(cloudwatch, a)
    metric_alarm(cloudwatch, b)
    cloudwatch.put_composite_alarm(
        AlarmName=top, AlarmRule=f'ALARM("{a}") AND NOT ALARM({b})', Tags=[{"Key": "team", "Value": "web"}]
    )
    cloudwatch.get_waiter("composite_alarm_exists").wait(AlarmNames=[top], AlarmTypes=["CompositeAlarm"])
    until(lambda: composite(cloudwatch, top)["StateValue"] == "OK", "OK")
    cloudwatch.set_alarm_state(AlarmName=a, StateValue="ALARM", StateReason="test")
    until(lambda: composite(cloudwatch, top)["StateValue"] == "ALARM", "ALARM")
    assert f":alarm:{a} transitioned to ALARM at " in composite(cloudwatch, top)["StateReason"]
    cloudwatch.set_alarm_state(AlarmName=b, StateValue="ALARM", StateReason="test")
    until(lambda: composite(cloudwatch, top)["StateValue"] == "OK", "OK")

    # Only metric alarms are described unless asked otherwise.
    assert cloudwatch.describe_alarms(AlarmNames=[top])["CompositeAlarms"] == []
    children = cloudwatch.describe_alarms(ChildrenOfAlarmName=top)["MetricAlarms"]
    assert sorted(c["AlarmName"] for c in children) == sorted([a, b])
    parents = cloudwatch.describe_alarms(ParentsOfAlarmName=a)["CompositeAlarms"]
    assert [p["AlarmName"] for p in parents] == [top]
    arn = composite(cloudwatch, top)["AlarmArn"]
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "web"}]
    history = cloudwatch.describe_alarm_history(AlarmName=top, AlarmTypes=["CompositeAlarm"])["AlarmHistoryItems"]
    assert {h["AlarmType"] for h in history} == {"CompositeAlarm"}
    assert "Alarm updated from OK to ALARM" in [h["HistorySummary"] for h in history]

    with pytest.raises(ClientError, match="composite alarm"):
        cloudwatch.delete_alarms(AlarmNames=[a])
    cloudwatch.delete_alarms(AlarmNames=[top, a, b])
    assert cloudwatch.describe_alarms(AlarmNamePrefix=top, AlarmTypes=["CompositeAlarm"])["CompositeAlarms"] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"AlarmRule": "ALARM("},
        {"AlarmRule": "ALARM(there-is-none)"},
        {"AlarmRule": "TRUE", "ActionsSuppressor": "x"},
        {"AlarmRule": "TRUE", "AlarmActions": ["arn:aws:automate:us-east-1:ec2:stop"]},
    ],
)
def test_what_cannot_be_is_refused(cloudwatch, settings):
    name = "composite-bad"
    with pytest.raises(ClientError) as refused:
        cloudwatch.put_composite_alarm(AlarmName=name, **settings)
    assert refused.value.response["Error"]["Code"] in ("ValidationError", "InvalidParameterValue")
    found = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=["CompositeAlarm"])
    assert found["CompositeAlarms"] == []


def test_alarms_tell_topics(cloudwatch, server):
    sns, sqs = server.client("sns"), server.client("sqs")
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    queue = sqs.create_queue(QueueName="alarms")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    with pytest.raises(ClientError, match="does not exist"):
        metric_alarm(cloudwatch, "told", AlarmActions=[topic + "x"])
    metric_alarm(cloudwatch, "told", AlarmActions=[topic])
    cloudwatch.put_composite_alarm(AlarmName="told-too", AlarmRule="ALARM(told)", AlarmActions=[topic])
    until(lambda: composite(cloudwatch, "told-too")["StateValue"] == "OK", "OK")
    cloudwatch.set_alarm_state(AlarmName="told", StateValue="ALARM", StateReason="test")

    messages = {}

    def told():
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            body = json.loads(message["Body"])
            messages[json.loads(body["Message"])["AlarmName"]] = body
        return len(messages) == 2

    until(told, "both messages")
    assert messages["told"]["Subject"].startswith('ALARM: "told" in ')
    message = json.loads(messages["told"]["Message"])
    assert (message["OldStateValue"], message["NewStateValue"]) == ("INSUFFICIENT_DATA", "ALARM")
    assert message["Trigger"]["MetricName"] == "told"
    assert json.loads(messages["told-too"]["Message"])["AlarmRule"] == "ALARM(told)"
    cloudwatch.delete_alarms(AlarmNames=["told-too", "told"])
    sns.delete_topic(TopicArn=topic)
    sqs.delete_queue(QueueUrl=queue)


def test_an_alarm_stops_its_instance(cloudwatch, ec2):
    instance = ec2.run_instances(ImageId="ami-0123456789abcdef0", InstanceType="t2.micro", MinCount=1, MaxCount=1)
    instance_id = instance["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance_id], WaiterConfig={"Delay": 1})
    name, stop = "idle", "arn:aws:automate:us-east-1:ec2:stop"
    with pytest.raises(ClientError, match="InstanceId"):
        metric_alarm(cloudwatch, name, AlarmActions=[stop])
    dimensions = [{"Name": "InstanceId", "Value": instance_id}]
    metric_alarm(cloudwatch, name, AlarmActions=[stop], Dimensions=dimensions)
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance_id], WaiterConfig={"Delay": 1})
    history = cloudwatch.describe_alarm_history(AlarmName=name, HistoryItemType="Action")["AlarmHistoryItems"]
    assert history[0]["HistorySummary"] == f"Successfully executed action {stop}"
    cloudwatch.delete_alarms(AlarmNames=[name])
    ec2.terminate_instances(InstanceIds=[instance_id])
