"""Instance refresh of a group with a warm pool: the pool gets the new configuration, too, and feeds the group meanwhile."""

from conftest import until
from test_lifecycle import pooled
from test_refresh import NEW, OLD, fleet  # noqa: F401 (fixture)


def pool_images(f, ec2):
    ids = [i["InstanceId"] for i in f.autoscaling.describe_warm_pool(AutoScalingGroupName=f.name)["Instances"]]
    return sorted(i["ImageId"] for r in ec2.describe_instances(InstanceIds=ids)["Reservations"] for i in r["Instances"]) if ids else []


def test_a_refresh_replaces_what_serves_and_what_waits(fleet, ec2):
    f = fleet("refresh-pool", 2, MaxSize=4)
    f.autoscaling.put_warm_pool(AutoScalingGroupName=f.name)
    waiting = {i["InstanceId"] for i in pooled(f.autoscaling, f.name, "Warmed:Stopped", 2)}
    before = f.ids()
    f.start("2", MinHealthyPercentage=50)
    shown, _ = f.followed(least=1, most=2)
    assert shown["Status"] == "Successful"
    details = shown["ProgressDetails"]
    for part in ("LivePoolProgress", "WarmPoolProgress"):
        assert details[part] == {"PercentageComplete": 100, "InstancesToUpdate": 0}
    assert not f.settled(2) & before and f.images() == [NEW] * 2
    ready = {i["InstanceId"] for i in pooled(f.autoscaling, f.name, "Warmed:Stopped", 2)}
    assert not ready & waiting and pool_images(f, ec2) == [NEW] * 2
    # What the group gets when it grows is of the new configuration.
    f.autoscaling.set_desired_capacity(AutoScalingGroupName=f.name, DesiredCapacity=4)
    assert ready <= f.settled(4) and f.images() == [NEW] * 4


def test_a_refresh_is_rolled_back_in_the_pool_as_well(fleet, ec2):
    f = fleet("refresh-pool-back", 3, MaxSize=4)
    f.autoscaling.put_warm_pool(AutoScalingGroupName=f.name, PoolState="Running")
    pooled(f.autoscaling, f.name, "Warmed:Running", 1)
    # It stops half-way, so that there is something to take back.
    f.start("2", MinHealthyPercentage=50, CheckpointPercentages=[30, 100], CheckpointDelay=3600)
    until(lambda: f.refresh()["PercentageComplete"] >= 30 and NEW in f.images(), "the checkpoint")
    answer = f.autoscaling.rollback_instance_refresh(AutoScalingGroupName=f.name)
    assert answer["InstanceRefreshId"] == f.refresh()["InstanceRefreshId"]
    shown, _ = f.followed(least=1, most=4)
    assert shown["Status"] == "RollbackSuccessful" and shown["RollbackDetails"]["RollbackReason"]
    f.settled(3)
    assert f.images() == [OLD] * 3 and f.now()["LaunchTemplate"]["Version"] == "1"
    pooled(f.autoscaling, f.name, "Warmed:Running", 1)
    assert pool_images(f, ec2) == [OLD]


def test_a_cancelled_refresh_leaves_what_it_has_done(fleet, ec2):
    f = fleet("refresh-pool-cancelled", 4, MaxSize=5)
    f.autoscaling.put_warm_pool(AutoScalingGroupName=f.name)
    pooled(f.autoscaling, f.name, "Warmed:Stopped", 1)
    f.start("2", MinHealthyPercentage=50, CheckpointPercentages=[20, 100], CheckpointDelay=3600)
    until(lambda: f.refresh()["PercentageComplete"] >= 20 and NEW in f.images(), "the checkpoint")
    f.autoscaling.cancel_instance_refresh(AutoScalingGroupName=f.name)
    assert f.followed()[0]["Status"] == "Cancelled"
    f.settled(4)
    assert OLD in f.images() and NEW in f.images() and f.now()["LaunchTemplate"]["Version"] == "1"
    # What waits is still of the group's own configuration, as what is launched from now on is.
    pooled(f.autoscaling, f.name, "Warmed:Stopped", 1)
    assert pool_images(f, ec2) == [OLD]
