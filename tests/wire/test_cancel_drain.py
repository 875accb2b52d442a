"""The tag that lets who drains come back, from the outside: what it may say. What it does is told by the tests of the group's
steps and by the simulator: here nothing is under way that would have to drain."""

import pytest

from test_cooldowns import tag
from test_groups import group, template  # noqa: F401 (fixtures)
from test_lists import refused

KEY = "puffer:cancel-drain"


@pytest.mark.parametrize("value", ["yes", "1", "", "truely"])
def test_another_value_than_true_or_false_is_refused(autoscaling, group, value):
    name = group("drains")
    assert KEY in refused("ValidationError", autoscaling.create_or_update_tags, Tags=[tag(name, KEY, value)])
    assert autoscaling.describe_tags(Filters=[{"Name": "auto-scaling-group", "Values": [name]}])["Tags"] == []


@pytest.mark.parametrize("value", ["true", "false"])
def test_the_tag_is_kept_as_given(autoscaling, group, value):
    name = group("drains", Tags=[{"Key": KEY, "Value": value, "PropagateAtLaunch": False}])
    shown = autoscaling.describe_tags(Filters=[{"Name": "auto-scaling-group", "Values": [name]}])["Tags"]
    assert [(t["Key"], t["Value"]) for t in shown] == [(KEY, value)]
    autoscaling.delete_tags(Tags=[tag(name, KEY)])
