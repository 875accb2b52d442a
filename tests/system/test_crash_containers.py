"""The server is killed again and again while containers come and go: then records and machine must agree to the last address."""

import os
import random
import threading
import time
import urllib.request

from conftest import until
from journal import Journal, is_refusal
from machine import Machine, busybox_image, need_containers

KILLS = 30
SEED = int(os.environ.get("PUFFER_TEST_SEED", random.randrange(1 << 32)))
ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]
GROUPS = ["g0", "g1"]
GROUP_MAX = 3
# Instances launched beside the groups that may live at a time.
LONE_MAX = 4


class Churn(threading.Thread):
    """A client that never rests: every call is journaled before it is made."""

    def __init__(self, server, journal, targets):
        super().__init__(daemon=True)
        self.rng = random.Random(SEED)
        self.journal, self.targets = journal, targets
        self.ec2, self.autoscaling, self.elbv2 = (server.client(s) for s in ("ec2", "autoscaling", "elbv2"))
        self.lone, self.n_launched = {}, 0
        self.turn, self.over, self.fault = threading.Lock(), threading.Event(), None

    def run(self):
        moves = [self.resize, self.resize, self.launch, self.launch, self.end, self.tag, self.register, self.register, self.power]
        while not self.over.is_set():
            with self.turn:
                try:
                    if self.rng.choice(moves)() is None:
                        # Dead at the moment, or nothing to do.
                        self.over.wait(0.02)
                except Exception as error:
                    if not is_refusal(error):
                        self.fault = error
                        return

    def resize(self):
        group, wanted = self.rng.choice(GROUPS), self.rng.randint(0, GROUP_MAX)
        return self.journal.write(("capacity", group), wanted, lambda: self.autoscaling.set_desired_capacity(
            AutoScalingGroupName=group, DesiredCapacity=wanted))

    def launch(self):
        if len(self.lone) >= LONE_MAX:
            return None
        self.n_launched += 1
        token = f"t{self.n_launched}"
        call = lambda: self.ec2.run_instances(
            LaunchTemplate={"LaunchTemplateName": "churn"}, MinCount=1, MaxCount=1, ClientToken=token,
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "token", "Value": token}]}])
        answer = self.journal.write(("alive", token), True, call)
        if answer is None:
            # The token makes it safe to ask again until there is an answer.
            answer = until(lambda: self.over.is_set() or self.journal.write(("alive", token), True, call), "a launch's answer")
            if answer is True:
                return None
        self.lone[token] = answer["Instances"][0]["InstanceId"]
        return answer

    def pick(self):
        return self.rng.choice(sorted(self.lone)) if self.lone else None

    def end(self):
        token = self.pick()
        if token is None:
            return None
        instance_id = self.lone.pop(token)
        done = self.journal.write(("alive", token), False, lambda: self.ec2.terminate_instances(InstanceIds=[instance_id]))
        for kind in ("target", "power", "tag"):
            self.journal.forget((kind, token))
        return done

    def tag(self):
        token, value = self.pick(), str(self.rng.random())
        return token and self.journal.write(("tag", token), value, lambda: self.ec2.create_tags(
            Resources=[self.lone[token]], Tags=[{"Key": "value", "Value": value}]))

    def register(self):
        token, wanted = self.pick(), self.rng.random() < 0.7
        call = self.elbv2.register_targets if wanted else self.elbv2.deregister_targets
        return token and self.journal.write(("target", token), wanted, lambda: call(
            TargetGroupArn=self.targets, Targets=[{"Id": self.lone[token]}]))

    def power(self):
        token, wanted = self.pick(), self.rng.random() < 0.5
        call = self.ec2.start_instances if wanted else self.ec2.stop_instances
        state = "running" if wanted else "stopped"
        return token and self.journal.write(("power", token), state, lambda: call(InstanceIds=[self.lone[token]]))


def every_instance(ec2):
    pages = ec2.get_paginator("describe_instances").paginate()
    return [i for p in pages for r in p["Reservations"] for i in r["Instances"]]


def tags(instance):
    return {t["Key"]: t["Value"] for t in instance.get("Tags", [])}


def check_journal(churn, when):
    """Holds at any moment: records only, nothing that needs time to converge."""
    groups = churn.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    churn.journal.check("capacity", {g["AutoScalingGroupName"]: g["DesiredCapacity"] for g in groups}, when)
    for group in groups:
        counted = [m for m in group["Instances"] if not m["LifecycleState"].startswith("Terminat")]
        assert len(counted) <= GROUP_MAX, f"above the maximum {when}: {counted}"
    instances = every_instance(churn.ec2)
    lone = {tags(i)["token"]: i for i in instances if "token" in tags(i)}
    gone = ("shutting-down", "terminated")
    churn.journal.check("alive", {t: i["State"]["Name"] not in gone for t, i in lone.items()} | {
        t: False for kind, t in list(churn.journal.may_be) if kind == "alive" and t not in lone}, when)
    churn.journal.check("tag", {t: tags(i).get("value") for t, i in lone.items()}, when)
    described = churn.elbv2.describe_target_health(TargetGroupArn=churn.targets)["TargetHealthDescriptions"]
    registered = {d["Target"]["Id"] for d in described if d["TargetHealth"]["State"] != "draining"}
    churn.journal.check("target", {t: i["InstanceId"] in registered for t, i in lone.items()}, when)
    alive = [i for i in instances if i["State"]["Name"] != "terminated"]
    addresses = [i["PrivateIpAddress"] for i in alive]
    assert len(set(addresses)) == len(addresses), f"two instances share an address {when}: {sorted(addresses)}"
    return lone


def settle(churn):
    """Waits until what was asked for is there; gives the instances that are alive."""
    def settled():
        groups = churn.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        states = [m["LifecycleState"] for g in groups for m in g["Instances"]]
        full = all(len(g["Instances"]) == g["DesiredCapacity"] for g in groups)
        instances = every_instance(churn.ec2)
        quiet = all(i["State"]["Name"] in ("running", "stopped", "terminated") for i in instances)
        return full and quiet and set(states) <= {"InService"} and (groups, instances)

    groups, instances = until(settled, f"everything at rest, seed {SEED}", limit_s=60)
    alive = {i["InstanceId"]: i for i in instances if i["State"]["Name"] != "terminated"}
    members = {m["InstanceId"] for g in groups for m in g["Instances"]}
    assert {i for i in alive if "token" not in tags(alive[i])} == members, f"members and instances differ, seed {SEED}"
    return alive


def check_machine(machine, alive, node_addresses):
    """The kernel's own account of what runs, against the records."""
    running = {i for i, record in alive.items() if record["State"]["Name"] == "running"}
    where = f"seed {SEED}"
    assert machine.directories() == set(alive), f"disks, {where}"
    assert machine.uid_ranges() == sorted(alive), f"uid ranges, {where}"
    assert machine.mounts() == [], f"mounts on the host, {where}"
    assert machine.unfinished() == [], f"half-made files, {where}"
    inits = machine.inits()
    assert set(inits) == running, f"running inits, {where}"
    groups, processes = machine.cgroups()[0], machine.processes()
    assert groups == running, f"cgroups, {where}"
    assert {group.split("/")[0] for group, _ in processes.values()} - {"shims"} == running, f"processes' groups, {where}"
    shims = [pid for pid, (group, _) in processes.items() if group == "shims"]
    assert len(shims) == len(running), f"one shim per running instance, {where}: {shims}"
    assert len(machine.namespaces()) == len(running), f"network namespaces, {where}"
    bridges, ends = machine.links()
    assert len(bridges) == len(ZONES), f"bridges, {where}: {bridges}"
    assert ends == {machine.interface(i) for i in running}, f"interfaces, {where}"
    for instance_id, pid in inits.items():
        assert machine.address_inside(pid) == [alive[instance_id]["PrivateIpAddress"]], f"{instance_id}, {where}"
    assert sorted(machine.tables()) == ["bridge", "ip"], f"packet filter, {where}"
    nodes = machine.node_addresses()
    assert sorted(nodes) == sorted(node_addresses), f"balancer's addresses, {where}"
    assert not set(nodes) & {i["PrivateIpAddress"] for i in alive.values()}, f"an address of two owners, {where}"
    # A program that the server is just about to start looks like the server for a moment.
    until(lambda: [c.split(" ")[1] for c in machine.commands()] == ["balancer", "serve"], f"one server, one data plane, {where}")


def get(address):
    with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
        return answer.status


def test_kills_during_churn_of_containers(new_server, tmp_path):
    need_containers()
    print(f"PUFFER_TEST_SEED={SEED}")
    rng = random.Random(SEED + 1)
    forwarding = open("/proc/sys/net/ipv4/ip_forward").read()
    server = new_server(compute="container")
    machine = Machine(server.data_dir)
    image = server.puffer("image", "import", "--name", "light", str(busybox_image(tmp_path / "rootfs"))).split()[-1]
    ec2, autoscaling, elbv2 = (server.client(s) for s in ("ec2", "autoscaling", "elbv2"))
    until(lambda: ec2.describe_images(Owners=["self"])["Images"], "the image")
    ec2.create_launch_template(LaunchTemplateName="churn", LaunchTemplateData={"ImageId": image, "InstanceType": "t2.nano"})
    [group] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    ec2.authorize_security_group_ingress(
        GroupId=group["GroupId"], IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0")
    subnets = [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]]
    balancer = elbv2.create_load_balancer(Name="churn", Subnets=subnets)["LoadBalancers"][0]
    checks = {"Protocol": "HTTP", "Port": 80, "VpcId": group["VpcId"], "HealthCheckIntervalSeconds": 5,
              "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2}
    arns = [elbv2.create_target_group(Name=n, **checks)["TargetGroups"][0]["TargetGroupArn"] for n in ("grouped", "lone")]
    for arn in arns:
        elbv2.modify_target_group_attributes(
            TargetGroupArn=arn, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}])
    forward = [[{"Type": "forward", "TargetGroupArn": arn}] for arn in arns]
    listener = elbv2.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=forward[0])["Listeners"][0]
    elbv2.create_rule(ListenerArn=listener["ListenerArn"], Priority=1, Actions=forward[1], Conditions=[
        {"Field": "path-pattern", "Values": ["/lone*"]}])
    for name in GROUPS:
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name, LaunchTemplate={"LaunchTemplateName": "churn"}, MinSize=0, MaxSize=GROUP_MAX,
            AvailabilityZones=ZONES, TargetGroupARNs=[arns[0]])

    churn = Churn(server, Journal(), arns[1])
    churn.start()
    for n in range(KILLS):
        # Anywhere in the middle of calls, launches, terminations and registrations.
        time.sleep(rng.uniform(0, 0.6))
        server.kill()
        server.start()
        with churn.turn:
            assert churn.fault is None, f"a call failed otherwise, seed {SEED}: {churn.fault!r}"
            check_journal(churn, f"after kill {n + 1}, seed {SEED}")
    churn.over.set()
    churn.join()
    assert churn.fault is None, f"a call failed otherwise, seed {SEED}: {churn.fault!r}"
    print(f"{churn.journal.acknowledged} acknowledged calls")
    # One of each at the end, whatever the dice left.
    for name in GROUPS:
        churn.journal.write(("capacity", name), 2, lambda n=name: autoscaling.set_desired_capacity(
            AutoScalingGroupName=n, DesiredCapacity=2))
    alive = settle(churn)
    lone = check_journal(churn, f"at the end, seed {SEED}")
    churn.journal.check("power", {t: i["State"]["Name"] for t, i in lone.items()}, f"seed {SEED}")
    [shown] = server.status()["load_balancers"]
    check_machine(machine, alive, shown["addresses"])
    described = elbv2.describe_target_health(TargetGroupArn=arns[0])["TargetHealthDescriptions"]
    members = {i for i, record in alive.items() if "token" not in tags(record)}
    assert {d["Target"]["Id"] for d in described} == members, f"the groups' targets, seed {SEED}"
    # The data plane that outlived all of it carries traffic to every member.
    until(lambda: all(d["TargetHealth"]["State"] == "healthy" for d in elbv2.describe_target_health(
        TargetGroupArn=arns[0])["TargetHealthDescriptions"]), f"healthy targets, seed {SEED}", limit_s=30)
    assert {get(address) for address in shown["addresses"]} == {200}
    for name in GROUPS:
        activities = autoscaling.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]
        assert all(a["StatusCode"] in ("Successful", "Failed", "Cancelled") for a in activities), f"seed {SEED}"

    server.stop()
    left = machine.everything()
    assert not left, f"left behind after teardown, seed {SEED}: {left}"
    assert open("/proc/sys/net/ipv4/ip_forward").read() == forwarding
