"""CloudWatch through boto3, the AWS CLI and the query protocol of old clients: data in and out, alarms and their history."""

import datetime
import gzip
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as xml

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from conftest import until

UTC = datetime.timezone.utc


@pytest.fixture(scope="module")
def unchecked(server):
    """A client that sends what boto3 would refuse by itself."""
    return server.client("cloudwatch", parameter_validation=False)


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code, error.value
    return error.value.response["Error"]["Message"]


def minutes_ago(n):
    """The start of the minute n minutes ago."""
    now = datetime.datetime.now(UTC).replace(second=0, microsecond=0)
    return now - datetime.timedelta(minutes=n)


def put(cloudwatch, space, *data):
    cloudwatch.put_metric_data(Namespace=space, MetricData=list(data))


def statistics(cloudwatch, space, name, kinds=("SampleCount", "Sum", "Minimum", "Maximum", "Average"), period=60, **more):
    points = cloudwatch.get_metric_statistics(
        Namespace=space, MetricName=name, StartTime=minutes_ago(30), EndTime=minutes_ago(-1), Period=period,
        Statistics=list(kinds), **more)["Datapoints"]
    return sorted(points, key=lambda p: p["Timestamp"])


def stat(identifier, space, name, kind="Sum", period=60, show=True, **metric):
    return {"Id": identifier, "ReturnData": show, "MetricStat": {
        "Metric": {"Namespace": space, "MetricName": name, **metric}, "Period": period, "Stat": kind}}


def data(cloudwatch, *queries, **more):
    settings = {"StartTime": minutes_ago(30), "EndTime": minutes_ago(-1), "ScanBy": "TimestampAscending", **more}
    answer = cloudwatch.get_metric_data(MetricDataQueries=list(queries), **settings)
    return {r["Id"]: r for r in answer["MetricDataResults"]}


def test_data_in_all_its_forms(cloudwatch):
    at = minutes_ago(5)
    put(cloudwatch, "Forms",
        {"MetricName": "single", "Value": 3.0, "Timestamp": at},
        {"MetricName": "single", "Value": 5.0, "Timestamp": at + datetime.timedelta(seconds=30)},
        {"MetricName": "list", "Values": [1.0, 2.0, 10.0], "Counts": [2.0, 1.0, 1.0], "Timestamp": at, "Unit": "Seconds"},
        {"MetricName": "list", "Values": [4.0], "Timestamp": at, "Unit": "Seconds"},
        {"MetricName": "set", "Timestamp": at, "StatisticValues": {"SampleCount": 4, "Sum": 20, "Minimum": 2, "Maximum": 9}},
        {"MetricName": "now", "Value": 1.0})
    single, = statistics(cloudwatch, "Forms", "single")
    assert single == {"Timestamp": at, "SampleCount": 2, "Sum": 8, "Minimum": 3, "Maximum": 5, "Average": 4, "Unit": "None"}
    listed, = statistics(cloudwatch, "Forms", "list")
    assert listed == {"Timestamp": at, "SampleCount": 5, "Sum": 18, "Minimum": 1, "Maximum": 10, "Average": 3.6, "Unit": "Seconds"}
    shown, = statistics(cloudwatch, "Forms", "set")
    assert (shown["SampleCount"], shown["Average"], shown["Maximum"]) == (4, 5, 9)
    assert len(statistics(cloudwatch, "Forms", "now")) == 1
    # A unit is asked for: only data with it are told.
    assert statistics(cloudwatch, "Forms", "list", Unit="Bytes") == []
    assert len(statistics(cloudwatch, "Forms", "list", Unit="Seconds")) == 1
    high, = cloudwatch.get_metric_statistics(
        Namespace="Forms", MetricName="list", StartTime=minutes_ago(30), EndTime=minutes_ago(0), Period=300,
        ExtendedStatistics=["p50", "p100", "tm90"])["Datapoints"]
    assert high["ExtendedStatistics"]["p100"] == pytest.approx(10, rel=0.05)
    assert high["ExtendedStatistics"]["p50"] == pytest.approx(2, rel=0.05)


def test_dimensions_make_metrics_of_their_own(cloudwatch):
    at = minutes_ago(3)
    one, two = ([{"Name": "Host", "Value": h}, {"Name": "App", "Value": "x"}] for h in ("one", "two"))
    put(cloudwatch, "Dims", {"MetricName": "m", "Value": 1, "Timestamp": at, "Dimensions": one},
        {"MetricName": "m", "Value": 2, "Timestamp": at, "Dimensions": two})
    assert statistics(cloudwatch, "Dims", "m") == []
    assert statistics(cloudwatch, "Dims", "m", Dimensions=list(reversed(one)))[0]["Sum"] == 1
    listed = cloudwatch.list_metrics(Namespace="Dims", Dimensions=[{"Name": "Host"}])["Metrics"]
    assert len(listed) == 2
    listed = cloudwatch.list_metrics(Namespace="Dims", MetricName="m", Dimensions=[{"Name": "Host", "Value": "two"}])["Metrics"]
    assert listed == [{"Namespace": "Dims", "MetricName": "m", "Dimensions": sorted(two, key=lambda d: d["Name"])}]


def test_high_resolution(cloudwatch):
    now = datetime.datetime.now(UTC).replace(microsecond=0) - datetime.timedelta(seconds=40)
    for i in range(3):
        put(cloudwatch, "High", {"MetricName": "m", "Value": i, "Timestamp": now + datetime.timedelta(seconds=i), "StorageResolution": 1})
    points = cloudwatch.get_metric_statistics(
        Namespace="High", MetricName="m", StartTime=now, EndTime=now + datetime.timedelta(seconds=10), Period=1,
        Statistics=["Sum"])["Datapoints"]
    points.sort(key=lambda p: p["Timestamp"])
    assert [p["Sum"] for p in points] == [0, 1, 2]
    assert points[0]["Timestamp"] == now


def test_data_that_cannot_be(cloudwatch, unchecked):
    put_data = unchecked.put_metric_data

    def bad(code, space="Bad", **datum):
        refused(code, put_data, Namespace=space, MetricData=[
            {"MetricName": "good", "Value": 1.0}, {"MetricName": "bad", **datum}])

    bad("InvalidParameterValue", space="AWS/EC2", Value=1.0)
    bad("InvalidParameterValue", Value=float("inf"))
    bad("InvalidParameterValue", Value=1.0, StorageResolution=7)
    bad("InvalidParameterValue", Value=1.0, Timestamp=minutes_ago(60 * 24 * 15))
    bad("InvalidParameterValue", Value=1.0, Timestamp=minutes_ago(-60 * 3))
    bad("InvalidParameterCombination", Value=1.0, Values=[1.0])
    bad("InvalidParameterCombination", Values=[1.0, 2.0], Counts=[1.0])
    bad("MissingParameter")
    bad("InvalidParameterValue", Values=[1.0] * 151)
    bad("InvalidParameterValue", Value=1.0, Dimensions=[{"Name": ":x", "Value": "1"}])
    # Of a request with one bad datum, none is kept.
    assert cloudwatch.list_metrics(Namespace="Bad")["Metrics"] == []


def test_compressed_requests(server):
    """boto3 compresses large requests to this operation."""
    client = server.client("cloudwatch")
    client.put_metric_data(Namespace="Large", MetricData=[
        {"MetricName": f"metric-{i}-{'x' * 100}", "Value": float(i)} for i in range(500)])
    pages = client.get_paginator("list_metrics").paginate(Namespace="Large")
    assert sum(len(page["Metrics"]) for page in pages) == 500


def test_listing_pages(cloudwatch):
    for start in range(0, 1200, 400):
        put(cloudwatch, "Pages", *[{"MetricName": f"m{i}", "Value": 1.0} for i in range(start, start + 400)])
    pages = list(cloudwatch.get_paginator("list_metrics").paginate(Namespace="Pages", RecentlyActive="PT3H"))
    names = [m["MetricName"] for page in pages for m in page["Metrics"]]
    assert len(pages) >= 3 and len(names) == len(set(names)) == 1200
    refused("InvalidParameterValue", cloudwatch.list_metrics, NextToken="nonsense")
    refused("ValidationError", cloudwatch.list_metrics, RecentlyActive="PT5H")


def test_maths(cloudwatch):
    start = minutes_ago(10)
    for i in range(4):
        at = start + datetime.timedelta(minutes=i)
        put(cloudwatch, "Maths", {"MetricName": "errors", "Value": i, "Timestamp": at},
            {"MetricName": "requests", "Value": 10.0, "Timestamp": at})
    put(cloudwatch, "Maths", {"MetricName": "rare", "Value": 7, "Timestamp": start})
    answer = data(
        cloudwatch,
        stat("e", "Maths", "errors", show=False), stat("r", "Maths", "requests"), stat("rare", "Maths", "rare", show=False),
        {"Id": "rate", "Expression": "100 * e / r", "Label": "error rate"},
        {"Id": "filled", "Expression": "FILL(rare, 0)"},
        {"Id": "total", "Expression": "SUM(METRICS())"},
        {"Id": "when", "Expression": "IF(e > 1, e, 0)"},
        {"Id": "least", "Expression": "MIN(r) + TIME_SERIES(2)"})
    assert set(answer) == {"r", "rate", "filled", "total", "when", "least"}
    assert answer["rate"]["Values"] == [0, 10, 20, 30] and answer["rate"]["Label"] == "error rate"
    assert answer["rate"]["Timestamps"][0] == start
    assert answer["when"]["Values"] == [0, 0, 2, 3]
    assert sum(answer["filled"]["Values"]) == 7 and len(answer["filled"]["Values"]) > 25
    assert answer["total"]["Values"][0] == 17
    assert set(answer["least"]["Values"]) == {12}
    assert answer["r"]["StatusCode"] == "Complete" and answer["r"]["Label"] == "requests"
    down = data(cloudwatch, stat("e", "Maths", "errors"), ScanBy="TimestampDescending")["e"]
    assert down["Values"] == [3, 2, 1, 0]
    for expression in ("e /", "nothing + 1", "FROB(e)", "e + )"):
        refused("ValidationError", cloudwatch.get_metric_data, StartTime=start, EndTime=minutes_ago(0), MetricDataQueries=[
            stat("e", "Maths", "errors"), {"Id": "x", "Expression": expression}])
    refused("ValidationError", cloudwatch.get_metric_data, StartTime=minutes_ago(0), EndTime=start,
            MetricDataQueries=[stat("e", "Maths", "errors")])
    refused("ValidationError", cloudwatch.get_metric_data, StartTime=start, EndTime=minutes_ago(0), MetricDataQueries=[
        stat("e", "Maths", "errors"), stat("e", "Maths", "requests")])


def test_data_come_in_pages(cloudwatch):
    start = minutes_ago(20)
    for i in range(10):
        put(cloudwatch, "Paging", *[
            {"MetricName": n, "Value": float(i), "Timestamp": start + datetime.timedelta(minutes=i)} for n in ("a", "b")])
    pages = list(cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[stat("a", "Paging", "a"), stat("b", "Paging", "b")], StartTime=minutes_ago(30),
        EndTime=minutes_ago(0), ScanBy="TimestampAscending", PaginationConfig={"PageSize": 6}))
    assert len(pages) == 4
    seen = {"a": [], "b": []}
    for page in pages:
        assert sum(len(r["Values"]) for r in page["MetricDataResults"]) <= 6
        for result in page["MetricDataResults"]:
            seen[result["Id"]] += result["Values"]
    assert seen == {"a": list(range(10)), "b": list(range(10))}


def test_statistics_that_cannot_be_asked_for(cloudwatch):
    ask = cloudwatch.get_metric_statistics
    good = {"Namespace": "X", "MetricName": "m", "StartTime": minutes_ago(10), "EndTime": minutes_ago(0), "Period": 60,
            "Statistics": ["Sum"]}
    assert ask(**good)["Datapoints"] == [] and ask(**good)["Label"] == "m"
    refused("InvalidParameterValue", ask, **{**good, "Period": 61})
    refused("InvalidParameterValue", ask, **{**good, "EndTime": minutes_ago(11)})
    refused("InvalidParameterCombination", ask, **{**good, "StartTime": minutes_ago(1441), "Period": 1})
    refused("InvalidParameterCombination", ask, **{k: v for k, v in good.items() if k != "Statistics"})


def alarm(name, **more):
    return {"AlarmName": name, "Namespace": "Alarms", "MetricName": name, "Statistic": "Average", "Period": 10,
            "EvaluationPeriods": 1, "Threshold": 10.0, "ComparisonOperator": "GreaterThanThreshold", **more}


def shown(cloudwatch, name):
    return cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]


def test_an_alarm_lives_and_goes(cloudwatch):
    topic = "arn:aws:sns:us-east-1:123456789012:none"
    cloudwatch.put_metric_alarm(**alarm(
        "life", AlarmDescription="too much", Dimensions=[{"Name": "Host", "Value": "one"}], Unit="Percent",
        TreatMissingData="notBreaching", DatapointsToAlarm=1, Tags=[{"Key": "team", "Value": "a"}]))
    cloudwatch.get_waiter("alarm_exists").wait(AlarmNames=["life"])
    made = shown(cloudwatch, "life")
    assert made["AlarmArn"] == "arn:aws:cloudwatch:us-east-1:123456789012:alarm:life"
    expected = {"AlarmDescription": "too much", "MetricName": "life", "Namespace": "Alarms", "Statistic": "Average",
                "Period": 10, "EvaluationPeriods": 1, "DatapointsToAlarm": 1, "Threshold": 10.0, "Unit": "Percent",
                "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching", "ActionsEnabled": True,
                "OKActions": [], "AlarmActions": [], "InsufficientDataActions": [],
                "Dimensions": [{"Name": "Host", "Value": "one"}]}
    assert {k: made[k] for k in expected} == expected
    tags = cloudwatch.list_tags_for_resource(ResourceARN=made["AlarmArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "a"}]
    cloudwatch.tag_resource(ResourceARN=made["AlarmArn"], Tags=[{"Key": "more", "Value": "1"}])
    with pytest.raises(ClientError, match="There is no tag puffer:health-check-period here"):
        cloudwatch.tag_resource(ResourceARN=made["AlarmArn"], Tags=[{"Key": "puffer:health-check-period", "Value": "1"}])
    cloudwatch.untag_resource(ResourceARN=made["AlarmArn"], TagKeys=["team"])
    assert cloudwatch.list_tags_for_resource(ResourceARN=made["AlarmArn"])["Tags"] == [{"Key": "more", "Value": "1"}]
    before = shown(cloudwatch, "life")["AlarmConfigurationUpdatedTimestamp"]
    cloudwatch.put_metric_alarm(**alarm("life", Threshold=20.0))
    after = shown(cloudwatch, "life")
    assert after["Threshold"] == 20.0 and "Unit" not in after and "AlarmDescription" not in after
    assert after["AlarmConfigurationUpdatedTimestamp"] >= before
    cloudwatch.delete_alarms(AlarmNames=["life"])
    assert cloudwatch.describe_alarms(AlarmNames=["life"])["MetricAlarms"] == []
    refused("ResourceNotFound", cloudwatch.delete_alarms, AlarmNames=["life", "never"])
    history = cloudwatch.describe_alarm_history(AlarmName="life")["AlarmHistoryItems"]
    assert [h["HistorySummary"] for h in history if h["HistoryItemType"] == "ConfigurationUpdate"] == [
        'Alarm "life" deleted', 'Alarm "life" updated', 'Alarm "life" created']
    assert all(json.loads(h["HistoryData"]) for h in history)
    assert topic not in str(history)


def test_alarms_that_cannot_be(cloudwatch, unchecked):
    create = unchecked.put_metric_alarm
    refused("ValidationError", create, **alarm("bad", Period=15))
    refused("ValidationError", create, **alarm("bad", EvaluationPeriods=0))
    refused("ValidationError", create, **alarm("bad", EvaluationPeriods=10000))
    refused("ValidationError", create, **alarm("bad", DatapointsToAlarm=2))
    refused("ValidationError", create, **alarm("bad", ComparisonOperator="Nearly"))
    refused("ValidationError", create, **alarm("bad", TreatMissingData="maybe"))
    refused("ValidationError", create, **alarm("bad", ExtendedStatistic="p99"))
    refused("ValidationError", create, **{k: v for k, v in alarm("bad").items() if k != "Threshold"})
    refused("ValidationError", create, **alarm("bad", AlarmActions=["not an arn"]))
    assert cloudwatch.describe_alarms(AlarmNamePrefix="bad")["MetricAlarms"] == []


def test_data_move_an_alarm(cloudwatch):
    cloudwatch.put_metric_alarm(**alarm("moves"))
    first = shown(cloudwatch, "moves")
    assert first["StateValue"] == "INSUFFICIENT_DATA" and first["StateReason"] == "Unchecked: Initial alarm creation"

    def state_at(value, wanted):
        def check():
            put(cloudwatch, "Alarms", {"MetricName": "moves", "Value": value, "StorageResolution": 1})
            return shown(cloudwatch, "moves")["StateValue"] == wanted
        until(check, wanted, 45, 0.5)

    state_at(50.0, "ALARM")
    reason = shown(cloudwatch, "moves")
    assert "greater than the threshold (10.0)" in reason["StateReason"]
    assert json.loads(reason["StateReasonData"])["threshold"] == 10.0
    history = cloudwatch.describe_alarm_history(AlarmName="moves", HistoryItemType="StateUpdate")["AlarmHistoryItems"]
    assert history[0]["HistorySummary"] == "Alarm updated from INSUFFICIENT_DATA to ALARM"
    cloudwatch.delete_alarms(AlarmNames=["moves"])


def test_a_state_set_by_hand_runs_actions(cloudwatch, autoscaling):
    autoscaling.create_launch_configuration(
        LaunchConfigurationName="alarms", ImageId="ami-0123456789abcdef0", InstanceType="t2.micro")
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="alarms", LaunchConfigurationName="alarms", MinSize=0, MaxSize=4, DesiredCapacity=0,
        AvailabilityZones=["us-east-1a"])
    policy = autoscaling.put_scaling_policy(
        AutoScalingGroupName="alarms", PolicyName="more", AdjustmentType="ChangeInCapacity", ScalingAdjustment=1, Cooldown=0)["PolicyARN"]

    def desired():
        return autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["alarms"])["AutoScalingGroups"][0]["DesiredCapacity"]

    cloudwatch.put_metric_alarm(**alarm("acts", Period=3600, AlarmActions=[policy]))
    cloudwatch.disable_alarm_actions(AlarmNames=["acts"])
    assert shown(cloudwatch, "acts")["ActionsEnabled"] is False
    cloudwatch.set_alarm_state(AlarmName="acts", StateValue="ALARM", StateReason="by hand")
    cloudwatch.set_alarm_state(AlarmName="acts", StateValue="OK", StateReason="by hand", StateReasonData='{"a": 1}')
    assert desired() == 0
    cloudwatch.enable_alarm_actions(AlarmNames=["acts"])
    cloudwatch.set_alarm_state(AlarmName="acts", StateValue="ALARM", StateReason="by hand again")
    until(lambda: desired() == 1, "the policy's run")
    until(lambda: any(h["HistoryItemType"] == "Action" for h in cloudwatch.describe_alarm_history(
        AlarmName="acts")["AlarmHistoryItems"]), "the action's record")
    refused("ResourceNotFound", cloudwatch.set_alarm_state, AlarmName="never", StateValue="OK", StateReason="x")
    refused("ValidationError", cloudwatch.set_alarm_state, AlarmName="acts", StateValue="FINE", StateReason="x")
    refused("InvalidFormat", cloudwatch.set_alarm_state, AlarmName="acts", StateValue="OK", StateReason="x", StateReasonData="{")
    found = cloudwatch.describe_alarms(ActionPrefix="arn:aws:autoscaling", AlarmNames=["acts"])["MetricAlarms"]
    assert [a["AlarmName"] for a in found] == ["acts"]
    pages = cloudwatch.get_paginator("describe_alarm_history").paginate(AlarmName="acts", PaginationConfig={"PageSize": 2})
    items = [h for page in pages for h in page["AlarmHistoryItems"]]
    assert len(items) >= 5 and items == sorted(items, key=lambda h: h["Timestamp"], reverse=True)
    cloudwatch.delete_alarms(AlarmNames=["acts"])
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="alarms", ForceDelete=True)


def test_alarms_are_found(cloudwatch):
    names = [f"find-{i:02}" for i in range(12)]
    for i, name in enumerate(names):
        cloudwatch.put_metric_alarm(**alarm(name, MetricName="shared", Period=60 if i % 2 else 300))
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix="find-", PaginationConfig={"PageSize": 5})
    assert [a["AlarmName"] for page in pages for a in page["MetricAlarms"]] == names
    for_metric = cloudwatch.describe_alarms_for_metric
    assert len(for_metric(Namespace="Alarms", MetricName="shared")["MetricAlarms"]) == 12
    assert len(for_metric(Namespace="Alarms", MetricName="shared", Period=300)["MetricAlarms"]) == 6
    assert for_metric(Namespace="Alarms", MetricName="shared", Statistic="Sum")["MetricAlarms"] == []
    assert for_metric(Namespace="Alarms", MetricName="shared", Dimensions=[{"Name": "a", "Value": "b"}])["MetricAlarms"] == []
    waiting = cloudwatch.describe_alarms(AlarmNamePrefix="find-", StateValue="ALARM")["MetricAlarms"]
    assert waiting == []
    cloudwatch.delete_alarms(AlarmNames=names)


def test_alarms_on_expressions(cloudwatch):
    cloudwatch.put_metric_alarm(
        AlarmName="ratio", EvaluationPeriods=1, Threshold=5.0, ComparisonOperator="GreaterThanOrEqualToThreshold",
        Metrics=[stat("e", "Alarms", "errors", show=False), stat("r", "Alarms", "requests", show=False),
                 {"Id": "rate", "Expression": "100 * e / r", "Label": "rate", "ReturnData": True}])
    made = shown(cloudwatch, "ratio")
    assert {m["Id"] for m in made["Metrics"]} == {"e", "r", "rate"} and "MetricName" not in made and "Period" not in made
    refused("ValidationError", cloudwatch.put_metric_alarm, AlarmName="two", EvaluationPeriods=1, Threshold=5.0,
            ComparisonOperator="GreaterThanOrEqualToThreshold", Metrics=[stat("e", "Alarms", "errors"), stat("r", "Alarms", "requests")])
    cloudwatch.delete_alarms(AlarmNames=["ratio"])


def test_the_command_line(cloudwatch, server):
    server.aws("cloudwatch", "put-metric-data", "--namespace", "Cli", "--metric-name", "m", "--value", "3", "--unit", "Count",
               "--dimensions", "Host=one,App=x")
    listed = server.aws("cloudwatch", "list-metrics", "--namespace", "Cli")["Metrics"]
    assert listed[0]["Dimensions"] == [{"Name": "App", "Value": "x"}, {"Name": "Host", "Value": "one"}]
    points = server.aws(
        "cloudwatch", "get-metric-statistics", "--namespace", "Cli", "--metric-name", "m", "--period", "60", "--statistics",
        "Sum", "Maximum", "--start-time", minutes_ago(5).isoformat(), "--end-time", minutes_ago(-1).isoformat(),
        "--dimensions", "Name=Host,Value=one", "Name=App,Value=x")["Datapoints"]
    assert points[0]["Sum"] == 3 and points[0]["Unit"] == "Count"
    server.aws("cloudwatch", "put-metric-alarm", "--alarm-name", "cli", "--namespace", "Cli", "--metric-name", "m", "--statistic",
               "Sum", "--period", "60", "--evaluation-periods", "2", "--threshold", "1", "--comparison-operator", "LessThanThreshold")
    server.aws("cloudwatch", "wait", "alarm-exists", "--alarm-names", "cli")
    server.aws("cloudwatch", "set-alarm-state", "--alarm-name", "cli", "--state-value", "ALARM", "--state-reason", "trying")
    assert server.aws("cloudwatch", "describe-alarms", "--alarm-names", "cli")["MetricAlarms"][0]["StateReason"] == "trying"
    failed = server.aws("cloudwatch", "set-alarm-state", "--alarm-name", "no", "--state-value", "OK", "--state-reason", "x", check=False)
    assert "ResourceNotFound" in failed.stderr
    server.aws("cloudwatch", "delete-alarms", "--alarm-names", "cli")


def query(server, method="GET", body=None, **params):
    """A request in the query protocol, as boto 2 sends it: everything in the query string of a GET, or a form by POST."""
    keys = server.environment
    params = {"Version": "2010-08-01", **params}
    text = urllib.parse.urlencode(sorted(params.items()), quote_via=urllib.parse.quote)
    url = keys["AWS_ENDPOINT_URL"] + "/"
    headers = {}
    if method == "GET":
        url += "?" + text
    else:
        body, headers = text.encode(), {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
    request = AWSRequest(method, url, data=body, headers=headers)
    SigV4Auth(Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]), "monitoring", "us-east-1").add_auth(request)
    prepared = request.prepare()
    raw = urllib.request.Request(prepared.url, data=prepared.body, headers=dict(prepared.headers), method=method)
    try:
        with urllib.request.urlopen(raw, timeout=20) as answer:
            return answer.status, xml.fromstring(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, xml.fromstring(error.read())


SPACE = "{http://monitoring.amazonaws.com/doc/2010-08-01/}"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_query_protocol(server, method):
    name = f"query{method.lower()}"
    at = minutes_ago(4).strftime("%Y-%m-%dT%H:%M:%SZ")
    status, answer = query(server, method, Action="PutMetricData", Namespace="Query", **{
        "MetricData.member.1.MetricName": name, "MetricData.member.1.Value": "4.5", "MetricData.member.1.Unit": "Percent",
        "MetricData.member.1.Timestamp": at, "MetricData.member.1.Dimensions.member.1.Name": "Host",
        "MetricData.member.1.Dimensions.member.1.Value": "one & two"})
    assert status == 200 and answer.tag == f"{SPACE}PutMetricDataResponse"
    assert answer.find(f"{SPACE}ResponseMetadata/{SPACE}RequestId").text
    status, answer = query(server, method, Action="GetMetricStatistics", Namespace="Query", MetricName=name, Period="60",
                           StartTime=minutes_ago(10).isoformat(), EndTime=minutes_ago(0).isoformat(), **{
                               "Statistics.member.1": "Average", "Dimensions.member.1.Name": "Host",
                               "Dimensions.member.1.Value": "one & two"})
    point = answer.find(f"{SPACE}GetMetricStatisticsResult/{SPACE}Datapoints/{SPACE}member")
    assert (point.find(f"{SPACE}Average").text, point.find(f"{SPACE}Timestamp").text) == ("4.5", at)
    status, answer = query(server, method, Action="PutMetricAlarm", AlarmName=name, Namespace="Query", MetricName=name, Period="300",
                           Statistic="Average", EvaluationPeriods="2", Threshold="70.0", ComparisonOperator="GreaterThanThreshold",
                           ActionsEnabled="true")
    assert status == 200
    status, answer = query(server, method, Action="DescribeAlarms", **{"AlarmNames.member.1": name})
    found = answer.find(f"{SPACE}DescribeAlarmsResult/{SPACE}MetricAlarms/{SPACE}member")
    assert found.find(f"{SPACE}Threshold").text == "70.0" and found.find(f"{SPACE}ActionsEnabled").text == "true"
    status, answer = query(server, method, Action="SetAlarmState", AlarmName="never", StateValue="OK", StateReason="x")
    assert status == 404 and answer.find(f"{SPACE}Error/{SPACE}Code").text == "ResourceNotFound"
    status, answer = query(server, method, Action="DeleteAlarms", **{"AlarmNames.member.1": name})
    assert status == 200


def test_a_refused_request_tells_old_and_new_clients(server):
    """The json protocol carries the query protocol's code in a header, which clients of either kind report."""
    keys = server.environment
    request = AWSRequest("POST", keys["AWS_ENDPOINT_URL"] + "/", data=b'{"AlarmNames":["never"]}', headers={
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "GraniteServiceVersion20100801.DeleteAlarms"})
    SigV4Auth(Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]), "monitoring", "us-east-1").add_auth(request)
    prepared = request.prepare()
    raw = urllib.request.Request(prepared.url, data=prepared.body, headers=dict(prepared.headers), method="POST")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(raw, timeout=20)
    assert error.value.code == 404
    assert error.value.headers["x-amzn-query-error"] == "ResourceNotFound;Sender"
    assert json.loads(error.value.read())["__type"].endswith("ResourceNotFound")
