"""The server is killed again and again while groups grow and shrink: nothing acknowledged is lost, doubled or leaked."""

import os
import random
import time

from conftest import until

KILLS = 30
SEED = int(os.environ.get("PUFFER_TEST_SEED", random.randrange(1 << 32)))


def describe(autoscaling):
    pages = autoscaling.get_paginator("describe_auto_scaling_groups").paginate()
    return {g["AutoScalingGroupName"]: g for page in pages for g in page["AutoScalingGroups"]}


def test_kills_during_churn(new_server):
    print(f"PUFFER_TEST_SEED={SEED}")
    rng = random.Random(SEED)
    server = new_server("--any-image", "--boot-time", "120")
    autoscaling, ec2 = server.client("autoscaling"), server.client("ec2")
    ec2.create_launch_template(LaunchTemplateName="churn", LaunchTemplateData={
        "ImageId": "ami-0123456789abcdef0", "InstanceType": "t2.micro"})
    names = [f"g{i}" for i in range(4)]
    for name in names:
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name, LaunchTemplate={"LaunchTemplateName": "churn"}, MinSize=0, MaxSize=6,
            AvailabilityZones=["us-east-1a", "us-east-1b", "us-east-1c"])
    acknowledged = dict.fromkeys(names, 0)
    for _ in range(KILLS):
        for name in rng.sample(names, 2):
            wanted = rng.randint(0, 6)
            autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=wanted)
            acknowledged[name] = wanted
        # The kill falls anywhere in the middle of launches and terminations.
        time.sleep(rng.uniform(0, 0.25))
        server.kill()
        server.start()
        autoscaling, ec2 = server.client("autoscaling"), server.client("ec2")
        groups = describe(autoscaling)
        assert {n: groups[n]["DesiredCapacity"] for n in names} == acknowledged, f"lost a write, seed {SEED}"
        for name in names:
            alive = [m for m in groups[name]["Instances"] if not m["LifecycleState"].startswith("Terminat")]
            assert len(alive) <= 6, f"above the maximum, seed {SEED}"

    def converged():
        groups = describe(autoscaling)
        return all(
            len(groups[n]["Instances"]) == acknowledged[n]
            and all(m["LifecycleState"] == "InService" for m in groups[n]["Instances"]) for n in names)

    until(converged, f"all groups at their capacity, seed {SEED}", limit_s=60)
    members = {m["InstanceId"] for g in describe(autoscaling).values() for m in g["Instances"]}

    def alive_are_the_members():
        pages = ec2.get_paginator("describe_instances").paginate()
        every = [i for p in pages for r in p["Reservations"] for i in r["Instances"]]
        alive = [i for i in every if i["State"]["Name"] != "terminated"]
        addresses = {i["PrivateIpAddress"] for i in alive}
        return {i["InstanceId"] for i in alive} == members and len(addresses) == len(alive)

    until(alive_are_the_members, f"exactly the members alive, seed {SEED}")
    for name in names:
        activities = autoscaling.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]
        assert all(a["StatusCode"] in ("Successful", "Failed", "Cancelled") for a in activities), f"seed {SEED}"
