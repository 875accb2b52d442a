"""Topics and queues by themselves: their settings, tags, subscriptions and messages."""

from conftest import until
from test_lifecycle import Inbox, fetch, inbox, queue, refused, topic  # noqa: F401 (fixtures)


def test_a_topics_settings_and_tags(sns, topic):
    arn = topic("settings")
    assert sns.create_topic(Name="settings")["TopicArn"] == arn
    shown = sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    assert (shown["TopicArn"], shown["Owner"], shown["DisplayName"], shown["SubscriptionsConfirmed"]) == (arn, "123456789012", "", "0")
    sns.set_topic_attributes(TopicArn=arn, AttributeName="DisplayName", AttributeValue="News")
    assert sns.get_topic_attributes(TopicArn=arn)["Attributes"]["DisplayName"] == "News"
    assert refused(sns.set_topic_attributes, TopicArn=arn, AttributeName="KmsMasterKeyId", AttributeValue="x")["Code"] == (
        "InvalidParameter")
    sns.tag_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    sns.tag_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "3"}])
    sns.untag_resource(ResourceArn=arn, TagKeys=["b", "none"])
    assert sns.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "3"}]
    error = refused(sns.tag_resource, ResourceArn=arn, Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])
    assert error["Code"] == "TagLimitExceeded"
    none = arn + "-none"
    for call in (sns.get_topic_attributes, sns.list_subscriptions_by_topic):
        assert refused(call, TopicArn=none)["Code"] == "NotFound"
    assert refused(sns.list_tags_for_resource, ResourceArn=none)["Code"] == "ResourceNotFound"


def test_a_subscription_is_confirmed_changed_and_ended(sns, sqs, topic, queue, inbox):
    arn, (url, queue_arn) = topic("subscribed"), queue("subscribed")
    subscription = sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)["SubscriptionArn"]

    def attributes(of=subscription):
        return sns.get_subscription_attributes(SubscriptionArn=of)["Attributes"]

    shown = attributes()
    assert (shown["Endpoint"], shown["RawMessageDelivery"], shown["PendingConfirmation"]) == (queue_arn, "false", "false")
    sns.set_subscription_attributes(SubscriptionArn=subscription, AttributeName="RawMessageDelivery", AttributeValue="true")
    assert attributes()["RawMessageDelivery"] == "true"
    sns.publish(TopicArn=arn, Message="bare")
    assert fetch(sqs, url) == "bare"
    error = refused(sns.set_subscription_attributes, SubscriptionArn=subscription, AttributeName="FilterPolicy", AttributeValue="{}")
    assert error["Code"] == "InvalidParameter"

    pending = sns.subscribe(TopicArn=arn, Protocol="http", Endpoint=inbox.url, ReturnSubscriptionArn=True)["SubscriptionArn"]
    assert attributes(pending)["PendingConfirmation"] == "true"
    asked = until(lambda: inbox.of_type("SubscriptionConfirmation"), "the question")[0]
    assert refused(sns.confirm_subscription, TopicArn=arn, Token="0" * 32)["Code"] in ("InvalidParameter", "NotFound")
    assert sns.confirm_subscription(TopicArn=arn, Token=asked["Token"])["SubscriptionArn"] == pending
    assert attributes(pending)["PendingConfirmation"] == "false"
    assert {subscription, pending} <= {s["SubscriptionArn"] for s in sns.list_subscriptions()["Subscriptions"]}
    assert sns.get_topic_attributes(TopicArn=arn)["Attributes"]["SubscriptionsConfirmed"] == "2"

    sns.unsubscribe(SubscriptionArn=subscription)
    assert refused(sns.get_subscription_attributes, SubscriptionArn=subscription)["Code"] == "NotFound"
    sns.publish(TopicArn=arn, Message="after")
    assert [m["Message"] for m in until(lambda: inbox.of_type("Notification"), "the endpoint's message")] == ["after"]
    assert fetch(sqs, url, wait=0) is None


def test_a_queues_settings_and_tags(sqs, queue):
    url, _ = queue("settings")
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0", "MaximumMessageSize": "2048"})
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout", "MaximumMessageSize"])["Attributes"]
    assert shown == {"VisibilityTimeout": "0", "MaximumMessageSize": "2048"}
    assert refused(sqs.send_message, QueueUrl=url, MessageBody="x" * 3000)["Code"] == "InvalidParameterValue"
    sqs.send_message(QueueUrl=url, MessageBody="seen by all")
    # Nobody hides a message for no time.
    handles = {sqs.receive_message(QueueUrl=url)["Messages"][0]["ReceiptHandle"] for _ in range(2)}
    sqs.delete_message(QueueUrl=url, ReceiptHandle=handles.pop())
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    for name, code in (("VisibilityTimeout", "InvalidAttributeValue"), ("RedrivePolicy", "InvalidAttributeName")):
        assert refused(sqs.set_queue_attributes, QueueUrl=url, Attributes={name: "-1"})["Code"] == code
    sqs.tag_queue(QueueUrl=url, Tags={"a": "1", "b": "2"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["b"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"a": "1"}
    with_none = url.replace("settings", "none")
    assert refused(sqs.list_queue_tags, QueueUrl=with_none)["Code"] == "AWS.SimpleQueueService.NonExistentQueue"


def test_a_purged_queue_is_empty(sqs, queue):
    url, _ = queue("purged")
    for n in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=str(n), DelaySeconds=n * 100)
    sqs.purge_queue(QueueUrl=url)
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (counts["ApproximateNumberOfMessages"], counts["ApproximateNumberOfMessagesDelayed"]) == ("0", "0")
    sqs.send_message(QueueUrl=url, MessageBody="new")
    assert fetch(sqs, url) == "new"
