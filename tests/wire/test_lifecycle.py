"""Lifecycle hooks, notifications and warm pools from the outside, on simulated instances."""

import http.server
import json
import subprocess
import threading
import time
import urllib.request

import pytest
from botocore.exceptions import ClientError

from conftest import PUFFER, until
from test_groups import describe, group, in_service, template  # noqa: F401 (fixtures)

ROLE = "arn:aws:iam::123456789012:role/hooks"
LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


def in_state(autoscaling, name, state, count=1):
    """The group's instances in a lifecycle state, once there are so many."""
    def look():
        found = [m for m in describe(autoscaling, name)["Instances"] if m["LifecycleState"] == state]
        return found if len(found) == count else None

    return until(look, f"{count} instances in {state}")


def activities(autoscaling, name):
    return autoscaling.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]


def test_hooks_are_put_described_changed_and_deleted(autoscaling, group):
    name = group("hooked", LifecycleHookSpecificationList=[
        {"LifecycleHookName": "first", "LifecycleTransition": LAUNCHING, "HeartbeatTimeout": 120}])
    autoscaling.put_lifecycle_hook(AutoScalingGroupName=name, LifecycleHookName="second",
                                   LifecycleTransition=TERMINATING, DefaultResult="CONTINUE")
    autoscaling.put_lifecycle_hook(AutoScalingGroupName=name, LifecycleHookName="first", HeartbeatTimeout=7200,
                                   NotificationMetadata="more")
    first, second = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=name)["LifecycleHooks"]
    assert first == {
        "LifecycleHookName": "first", "AutoScalingGroupName": name, "LifecycleTransition": LAUNCHING,
        "HeartbeatTimeout": 7200, "GlobalTimeout": 172800, "DefaultResult": "ABANDON", "NotificationMetadata": "more"}
    assert (second["HeartbeatTimeout"], second["DefaultResult"]) == (3600, "CONTINUE")
    chosen = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=name, LifecycleHookNames=["second"])
    assert [h["LifecycleHookName"] for h in chosen["LifecycleHooks"]] == ["second"]
    autoscaling.delete_lifecycle_hook(AutoScalingGroupName=name, LifecycleHookName="second")
    assert len(autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=name)["LifecycleHooks"]) == 1
    put = autoscaling.put_lifecycle_hook
    assert "HeartbeatTimeout" in refused(
        put, AutoScalingGroupName=name, LifecycleHookName="first", HeartbeatTimeout=29)["Message"]
    assert "LifecycleTransition" in refused(put, AutoScalingGroupName=name, LifecycleHookName="new")["Message"]
    error = refused(autoscaling.complete_lifecycle_action, AutoScalingGroupName=name, LifecycleHookName="first",
                    LifecycleActionResult="CONTINUE", LifecycleActionToken="0" * 36)
    assert error["Code"] == "ValidationError"
    assert error["Message"] == "No active Lifecycle Action found with token " + "0" * 36


def test_launch_hooks_hold_instances_until_they_are_completed(autoscaling, group):
    name = group("gated", MinSize=1, LifecycleHookSpecificationList=[
        {"LifecycleHookName": "in", "LifecycleTransition": LAUNCHING}])
    waiting = in_state(autoscaling, name, "Pending:Wait")[0]["InstanceId"]
    assert activities(autoscaling, name)[0]["StatusCode"] == "MidLifecycleAction"
    autoscaling.record_lifecycle_action_heartbeat(
        AutoScalingGroupName=name, LifecycleHookName="in", InstanceId=waiting)
    autoscaling.complete_lifecycle_action(AutoScalingGroupName=name, LifecycleHookName="in", InstanceId=waiting,
                                          LifecycleActionResult="CONTINUE")
    assert in_service(autoscaling, name, 1)[0]["InstanceId"] == waiting
    # A second one is abandoned: it goes, its activity says why, and another takes its place.
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=2)
    bad = in_state(autoscaling, name, "Pending:Wait")[0]["InstanceId"]
    autoscaling.complete_lifecycle_action(AutoScalingGroupName=name, LifecycleHookName="in", InstanceId=bad,
                                          LifecycleActionResult="ABANDON")
    failed = until(lambda: [a for a in activities(autoscaling, name) if a["StatusCode"] == "Cancelled"],
                   "an abandoned launch")[0]
    assert failed["StatusMessage"].startswith(
        "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token ")
    assert failed["StatusMessage"].endswith(" was abandoned: Lifecycle Action Completed with ABANDON Result")
    assert failed["Description"] == f"Launching a new EC2 instance: {bad}.  Status Reason: {failed['StatusMessage']}"
    assert in_state(autoscaling, name, "Pending:Wait")[0]["InstanceId"] != bad


def test_heartbeats_give_an_instance_more_time(autoscaling, group):
    """Of two instances that wait, one gives signs of life: when the other's time is over, this one's is not."""
    name = group("alive", MinSize=2, LifecycleHookSpecificationList=[
        {"LifecycleHookName": "in", "LifecycleTransition": LAUNCHING, "HeartbeatTimeout": 30, "DefaultResult": "CONTINUE"}])
    alive, silent = (i["InstanceId"] for i in in_state(autoscaling, name, "Pending:Wait", 2))
    here = {"AutoScalingGroupName": name, "LifecycleHookName": "in"}

    def times_out():
        autoscaling.record_lifecycle_action_heartbeat(**here, InstanceId=alive)
        return {i["InstanceId"]: i["LifecycleState"] for i in describe(autoscaling, name)["Instances"]}[silent] == "InService"

    until(times_out, "the end of the silent one's time", 60, 0.5)
    assert in_state(autoscaling, name, "Pending:Wait")[0]["InstanceId"] == alive
    error = refused(autoscaling.record_lifecycle_action_heartbeat, **here, InstanceId=silent)
    assert (error["Code"], error["Message"]) == ("ValidationError", f"No active Lifecycle Action found with instance ID {silent}")
    error = refused(autoscaling.record_lifecycle_action_heartbeat, **here, LifecycleActionToken="0" * 36)
    assert error["Message"] == "No active Lifecycle Action found with token " + "0" * 36
    autoscaling.complete_lifecycle_action(**here, InstanceId=alive, LifecycleActionResult="CONTINUE")
    in_service(autoscaling, name, 2)


def test_termination_hooks_hold_instances_and_retention_keeps_them(autoscaling, ec2, group):
    name = group("kept", MinSize=0, DesiredCapacity=1, LifecycleHookSpecificationList=[
        {"LifecycleHookName": "out", "LifecycleTransition": TERMINATING}],
        InstanceLifecyclePolicy={"RetentionTriggers": {"TerminateHookAbandon": "retain"}})
    assert describe(autoscaling, name)["InstanceLifecyclePolicy"]["RetentionTriggers"] == {
        "TerminateHookAbandon": "retain"}
    kept = in_service(autoscaling, name, 1)[0]["InstanceId"]
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=0)
    in_state(autoscaling, name, "Terminating:Wait")
    done = dict(AutoScalingGroupName=name, LifecycleHookName="out", InstanceId=kept)
    autoscaling.complete_lifecycle_action(**done, LifecycleActionResult="ABANDON")
    in_state(autoscaling, name, "Terminating:Retained")
    state = ec2.describe_instances(InstanceIds=[kept])["Reservations"][0]["Instances"][0]["State"]["Name"]
    assert state == "running"
    terminate = autoscaling.terminate_instance_in_auto_scaling_group
    assert "Terminating:Retained" in refused(
        terminate, InstanceId=kept, ShouldDecrementDesiredCapacity=True)["Message"]
    assert "ForceDelete" in refused(
        autoscaling.delete_auto_scaling_group, AutoScalingGroupName=name, ForceDelete=True)["Message"]
    terminate(InstanceId=kept, ShouldDecrementDesiredCapacity=False)
    in_state(autoscaling, name, "Terminating:Wait")
    autoscaling.complete_lifecycle_action(**done, LifecycleActionResult="CONTINUE")
    in_service(autoscaling, name, 0)
    autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, InstanceLifecyclePolicy={
        "RetentionTriggers": {"TerminateHookAbandon": "terminate"}})


class Inbox:
    """An HTTP endpoint that keeps what it is sent."""

    def __init__(self):
        inbox = self
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                inbox.requests.append((dict(self.headers), json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/inbox"

    def of_type(self, kind):
        return [body for headers, body in self.requests if headers["x-amz-sns-message-type"] == kind]


@pytest.fixture
def inbox():
    inbox = Inbox()
    yield inbox
    inbox.server.shutdown()


@pytest.fixture
def queue(sqs):
    """Makes queues; gives URL and ARN."""
    made = []

    def make(name, **attributes):
        url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        made.append(url)
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return url, arn

    yield make
    for url in made:
        sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def topic(sns):
    made = []

    def make(name):
        made.append(sns.create_topic(Name=name)["TopicArn"])
        return made[-1]

    yield make
    for arn in made:
        sns.delete_topic(TopicArn=arn)


def fetch(sqs, url, wait=10):
    """The next message, removed from its queue."""
    messages = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=wait).get("Messages", [])
    if not messages:
        return None
    sqs.delete_message(QueueUrl=url, ReceiptHandle=messages[0]["ReceiptHandle"])
    return messages[0]["Body"]


def test_queues_hide_what_was_received_and_wait_for_what_comes(sqs, queue):
    url, arn = queue("plain", VisibilityTimeout="1")
    assert arn == "arn:aws:sqs:us-east-1:123456789012:plain"
    assert sqs.get_queue_url(QueueName="plain")["QueueUrl"] == url
    assert url in sqs.list_queues(QueueNamePrefix="pl")["QueueUrls"]
    sqs.send_message(QueueUrl=url, MessageBody="one", MessageAttributes={
        "n": {"DataType": "Number", "StringValue": "1"}})
    first = sqs.receive_message(QueueUrl=url, AttributeNames=["All"], MessageAttributeNames=["All"])["Messages"][0]
    assert (first["Body"], first["Attributes"]["ApproximateReceiveCount"]) == ("one", "1")
    assert first["MessageAttributes"]["n"]["StringValue"] == "1"
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    # Its time runs out, and it is seen again: the poll waits for that.
    again = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10, AttributeNames=["All"])["Messages"][0]
    assert (again["MessageId"], again["Attributes"]["ApproximateReceiveCount"]) == (first["MessageId"], "2")
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"], VisibilityTimeout=100)
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (counts["ApproximateNumberOfMessages"], counts["ApproximateNumberOfMessagesNotVisible"]) == ("0", "1")
    done = sqs.delete_message_batch(QueueUrl=url, Entries=[
        {"Id": "a", "ReceiptHandle": again["ReceiptHandle"]}, {"Id": "b", "ReceiptHandle": "nonsense"}])
    assert ([e["Id"] for e in done["Successful"]], [e["Id"] for e in done["Failed"]]) == (["a"], ["b"])
    # A poll that waits hears of a message at once.
    timer = threading.Timer(0.2, lambda: sqs.send_message(QueueUrl=url, MessageBody="two"))
    timer.start()
    begun = time.monotonic()
    assert fetch(sqs, url, wait=20) == "two"
    assert time.monotonic() - begun < 10
    with pytest.raises(sqs.exceptions.QueueDoesNotExist) as error:
        sqs.get_queue_url(QueueName="nowhere")
    assert error.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"


def test_topics_tell_queues_and_endpoints(sns, sqs, topic, queue, inbox):
    arn = topic("news")
    assert arn in [t["TopicArn"] for t in sns.list_topics()["Topics"]]
    (enveloped, enveloped_arn), (raw, raw_arn) = queue("enveloped"), queue("raw")
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=enveloped_arn)
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=raw_arn, Attributes={"RawMessageDelivery": "true"})
    pending = sns.subscribe(TopicArn=arn, Protocol="http", Endpoint=inbox.url)
    assert pending["SubscriptionArn"] == "pending confirmation"
    asked = until(lambda: inbox.of_type("SubscriptionConfirmation"), "a question for confirmation")[0]
    sns.publish(TopicArn=arn, Message="before")
    assert fetch(sqs, raw) == "before"
    fetch(sqs, enveloped)
    # The URL in the question confirms without a signature.
    urllib.request.urlopen(asked["SubscribeURL"], timeout=10).read()
    subscriptions = sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
    assert sorted(s["Protocol"] for s in subscriptions) == ["http", "sqs", "sqs"]
    assert all(s["SubscriptionArn"].startswith(arn) for s in subscriptions)
    published = sns.publish(TopicArn=arn, Subject="S", Message="after")["MessageId"]
    assert fetch(sqs, raw) == "after"
    message = json.loads(fetch(sqs, enveloped))
    assert (message["Type"], message["Subject"], message["Message"]) == ("Notification", "S", "after")
    assert (message["MessageId"], message["TopicArn"]) == (published, arn)
    told = until(lambda: inbox.of_type("Notification"), "a notification")
    assert [m["Message"] for m in told] == ["after"]
    assert refused(sns.subscribe, TopicArn=arn, Protocol="email", Endpoint="a@b.example")["Code"] == "InvalidParameter"
    assert refused(sns.publish, TopicArn=arn + "x", Message="m")["Code"] == "NotFound"


def test_a_group_tells_its_topics_of_launches_and_terminations(autoscaling, sns, sqs, topic, queue, group):
    arn, (url, queue_arn) = topic("fleet"), queue("fleet")
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    name = group("told")
    types = ["autoscaling:EC2_INSTANCE_LAUNCH", "autoscaling:EC2_INSTANCE_TERMINATE"]
    autoscaling.put_notification_configuration(AutoScalingGroupName=name, TopicARN=arn, NotificationTypes=types)
    assert json.loads(fetch(sqs, url))["Event"] == "autoscaling:TEST_NOTIFICATION"
    shown = autoscaling.describe_notification_configurations(AutoScalingGroupNames=[name])["NotificationConfigurations"]
    assert [(c["TopicARN"], c["NotificationType"]) for c in shown] == [(arn, t) for t in types]
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)
    launched = json.loads(fetch(sqs, url))
    instance = in_service(autoscaling, name, 1)[0]["InstanceId"]
    assert launched["Event"] == types[0] and launched["EC2InstanceId"] == instance
    assert (launched["StatusCode"], launched["Progress"]) == ("InProgress", 50)
    assert launched["Description"] == f"Launching a new EC2 instance: {instance}"
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=0)
    assert json.loads(fetch(sqs, url))["Event"] == types[1]
    autoscaling.delete_notification_configuration(AutoScalingGroupName=name, TopicARN=arn)
    assert not autoscaling.describe_notification_configurations(
        AutoScalingGroupNames=[name])["NotificationConfigurations"]
    error = refused(autoscaling.put_notification_configuration, AutoScalingGroupName=name, TopicARN=arn + "-no",
                    NotificationTypes=types)
    assert error["Code"] == "ValidationError"


def test_a_hook_tells_its_queue_and_events_are_logged(autoscaling, sqs, queue, group, server):
    url, arn = queue("hooks")
    name = group("announced", MinSize=1, LifecycleHookSpecificationList=[{
        "LifecycleHookName": "in", "LifecycleTransition": LAUNCHING, "NotificationTargetARN": arn,
        "RoleARN": ROLE, "NotificationMetadata": "about it"}])
    assert json.loads(fetch(sqs, url))["Event"] == "autoscaling:TEST_NOTIFICATION"
    told = json.loads(fetch(sqs, url))
    instance = in_state(autoscaling, name, "Pending:Wait")[0]["InstanceId"]
    assert told["EC2InstanceId"] == instance and told["LifecycleTransition"] == LAUNCHING
    assert (told["NotificationMetadata"], told["Origin"], told["Destination"]) == ("about it", "EC2", "AutoScalingGroup")
    autoscaling.complete_lifecycle_action(
        AutoScalingGroupName=name, LifecycleHookName="in", LifecycleActionToken=told["LifecycleActionToken"],
        LifecycleActionResult="CONTINUE")
    in_service(autoscaling, name, 1)
    printed = subprocess.run([PUFFER, "events", "--group", name, "--data-dir", server.data_dir],
                             capture_output=True, check=True, text=True).stdout
    events = [json.loads(line) for line in printed.splitlines()]
    assert [e["detail-type"] for e in events] == [
        "EC2 Instance-launch Lifecycle Action", "EC2 Instance Launch Successful"]
    assert all(e["source"] == "aws.autoscaling" and e["detail"]["EC2InstanceId"] == instance for e in events)
    error = refused(autoscaling.put_lifecycle_hook, AutoScalingGroupName=name, LifecycleHookName="in",
                    NotificationTargetARN=arn + "-no")
    assert "Unable to publish test message" in error["Message"]
    error = refused(autoscaling.put_lifecycle_hook, AutoScalingGroupName=name, LifecycleHookName="new",
                    LifecycleTransition=LAUNCHING, NotificationTargetARN=arn)
    assert (error["Code"], "RoleARN" in error["Message"]) == ("ValidationError", True)


def pooled(autoscaling, name, state, count):
    """The warm pool's instances, once so many are in a state and no others are there."""
    def look():
        found = autoscaling.describe_warm_pool(AutoScalingGroupName=name)["Instances"]
        return found if [m["LifecycleState"] for m in found] == [state] * count else None

    return until(look, f"{count} instances {state}") if count else until(
        lambda: not autoscaling.describe_warm_pool(AutoScalingGroupName=name)["Instances"], "an empty pool")


def test_a_warm_pool_serves_a_group_that_grows(autoscaling, ec2, group):
    name = group("warm", MinSize=1, MaxSize=3)
    autoscaling.put_warm_pool(AutoScalingGroupName=name)
    ready = pooled(autoscaling, name, "Warmed:Stopped", 2)
    in_service(autoscaling, name, 1)
    shown = describe(autoscaling, name)
    assert (shown["WarmPoolSize"], shown["WarmPoolConfiguration"]["PoolState"]) == (2, "Stopped")
    ids = [m["InstanceId"] for m in ready]
    states = [i["State"]["Name"] for r in ec2.describe_instances(InstanceIds=ids)["Reservations"] for i in r["Instances"]]
    assert states == ["stopped", "stopped"]
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=3)
    grown = in_service(autoscaling, name, 3)
    assert set(ids) <= {m["InstanceId"] for m in grown}
    texts = [a["Description"] for a in activities(autoscaling, name)]
    for instance in ids:
        assert f"Launching a new EC2 instance into warm pool: {instance}" in texts
        assert f"Launching a new EC2 instance from warm pool: {instance}" in texts
    autoscaling.put_warm_pool(AutoScalingGroupName=name, PoolState="Running", MaxGroupPreparedCapacity=2,
                              InstanceReusePolicy={"ReuseOnScaleIn": True})
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)
    kept = pooled(autoscaling, name, "Warmed:Running", 1)[0]["InstanceId"]
    assert kept in {m["InstanceId"] for m in grown}
    details = autoscaling.describe_auto_scaling_instances(InstanceIds=[kept])["AutoScalingInstances"][0]
    assert (details["LifecycleState"], details["AutoScalingGroupName"]) == ("Warmed:Running", name)
    error = refused(autoscaling.delete_warm_pool, AutoScalingGroupName=name)
    assert error["Code"] == "ResourceInUse"
    autoscaling.delete_warm_pool(AutoScalingGroupName=name, ForceDelete=True)
    pooled(autoscaling, name, "", 0)
    until(lambda: "WarmPoolConfiguration" not in describe(autoscaling, name), "the pool's end")
    error = refused(autoscaling.put_warm_pool, AutoScalingGroupName=name, PoolState="Hibernated")
    assert error["Code"] == "UnsupportedOperation" and "memory" in error["Message"] and "Stopped" in error["Message"]
    # Who asks for several impossible things hears of the group first.
    error = refused(autoscaling.put_warm_pool, AutoScalingGroupName="no-such-group", PoolState="Hibernated")
    assert (error["Code"], "not found" in error["Message"]) == ("ValidationError", True)


def test_hooks_are_asked_on_the_way_into_the_pool_and_out_of_it(autoscaling, sqs, queue, group):
    url, arn = queue("warmhooks")
    name = group("warmhooked", MinSize=0, MaxSize=1, LifecycleHookSpecificationList=[{
        "LifecycleHookName": "in", "LifecycleTransition": LAUNCHING, "NotificationTargetARN": arn, "RoleARN": ROLE}])
    fetch(sqs, url)
    autoscaling.put_warm_pool(AutoScalingGroupName=name)

    def go_on():
        told = json.loads(fetch(sqs, url))
        autoscaling.complete_lifecycle_action(
            AutoScalingGroupName=name, LifecycleHookName="in", LifecycleActionToken=told["LifecycleActionToken"],
            LifecycleActionResult="CONTINUE")
        return told["Origin"], told["Destination"]

    assert go_on() == ("EC2", "WarmPool")
    pooled(autoscaling, name, "Warmed:Stopped", 1)
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)
    assert go_on() == ("WarmPool", "AutoScalingGroup")
    in_service(autoscaling, name, 1)


def test_activities_are_filtered_and_several_instances_terminated(autoscaling, group):
    name = group("filtered", MinSize=0, DesiredCapacity=2)
    ids = [m["InstanceId"] for m in in_service(autoscaling, name, 2)]
    done = autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceIds=ids, ShouldDecrementDesiredCapacity=True)["Activities"]
    assert [a["Description"] for a in done] == [f"Terminating EC2 instance: {i}" for i in ids]
    in_service(autoscaling, name, 0)

    def found(**filters):
        given = [{"Name": k, "Values": [v]} for k, v in filters.items()]
        return autoscaling.describe_scaling_activities(AutoScalingGroupName=name, Filters=given)["Activities"]

    until(lambda: len(found(Status="Successful")) == 4, "the end of all activities")
    assert found(Status="Failed") == []
    assert len(found(StartTimeLowerBound="2000-01-01T00:00:00Z", Status="Successful")) == 4
    assert found(StartTimeUpperBound="2000-01-01T00:00:00Z") == []
    error = refused(autoscaling.describe_scaling_activities, AutoScalingGroupName=name,
                    Filters=[{"Name": "Colour", "Values": ["red"]}])
    assert error["Code"] == "ValidationError"
    assert autoscaling.describe_account_settings()["Settings"] == []
    assert refused(autoscaling.put_account_setting, Name="anything", Value="on")["Code"] == "ValidationError"
