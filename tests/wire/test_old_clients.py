"""Clients of 2009 and 2018, unchanged, under the Pythons they run on.

boto 1.9b needs Python 2.7, boto 2.49 a Python 3 before 3.12. They are looked for on the PATH and among pyenv's; where there is
none, the test is skipped and says so.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest

from conftest import ROOT

HERE = pathlib.Path(__file__).resolve().parent
AMI = "ami-0123456789abcdef0"
INSTALL_S = 300
WALK_S = 200


def interpreter(*minors):
    """A Python of one of these versions that starts."""
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv")) / "versions"
    for minor in minors:
        found = [shutil.which(f"python{minor}"), *sorted(map(str, pyenv.glob(f"{minor}.*/bin/python{minor}")))]
        for path in filter(None, found):
            asked = subprocess.run([path, "-c", "import pip"], capture_output=True, check=False, timeout=60)
            if asked.returncode == 0:
                return path
    pytest.skip(f"SKIPPED: none of these Pythons is installed with pip: {', '.join(minors)}")


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
    return done.stdout


def walk(python, script, server, **variables):
    keys = server.environment
    where = keys["AWS_ENDPOINT_URL"].removeprefix("http://").split(":")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PYTHON", "BOTO"))}
    printed = run(
        python, HERE / "old_clients" / script, *where, keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], AMI,
        env={**clean, "BOTO_CONFIG": os.devnull, **variables}, timeout=WALK_S)
    return json.loads(printed)


@pytest.fixture(scope="module")
def boto_1_9b():
    python = interpreter("2.7")
    folder = ROOT / "target" / "old-clients"
    source = folder / "boto-1.9b"
    if not source.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        run(python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "boto==1.9b", cwd=folder,
            timeout=INSTALL_S)
        with tarfile.open(folder / "boto-1.9b.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return python, source


@pytest.fixture(scope="module")
def boto_2_49():
    python = interpreter("3.11", "3.10", "3.9", "3.8")
    venv = ROOT / "target" / "old-clients" / "boto-2.49"
    if not (venv / "ready").exists():
        run(python, "-m", "venv", "--clear", venv, timeout=INSTALL_S)
        run(venv / "bin/pip", "install", "--quiet", "boto==2.49.0", timeout=INSTALL_S)
        (venv / "ready").touch()
    return venv / "bin/python"


def test_boto_1_9b(server, boto_1_9b):
    python, source = boto_1_9b
    seen = walk(python, "boto_1_9b.py", server, PYTHONPATH=str(source))
    assert seen["create_launch_configuration"] and seen["create_group"]
    assert seen["configurations"] == [["walk-2009", AMI, "t2.micro"]]
    assert seen["group"] == ["walk-2009", "walk-2009", "1", "4", "1", "0", ["us-east-1a"]]
    assert seen["grown"][4] == "3" and seen["shrunk"][3:5] == ["2", "2"]
    assert seen["triggers"] == [
        ["cpu", "walk-2009", "CPUUtilization", "AWS/EC2", "NoData", "60", "120", "25%", "20.0"]]
    assert seen["triggers_left"] == 0
    assert seen["terminated"].startswith("Terminating EC2 instance: i-")
    assert any("explicitly set group desired capacity" in cause for _, cause in seen["activities"])
    assert seen["key_pairs"] and "us-east-1a" in seen["zones"]
    assert (seen["load_balancers"], seen["metrics"], seen["left"]) == (0, True, 0)
    assert seen["balancer_dns"].endswith(".us-east-1.elb.amazonaws.com")
    assert seen["check"] == ["HTTP:8080/up", 10, 4, 2, 3] and seen["registered"]
    assert seen["balancer"] == [
        "walk-2009", [[80, 8080, "HTTP"], [25, 2525, "TCP"]], ["us-east-1b"], True, "HTTP:8080/up"]
    assert [[own, state] for own, state, _ in seen["health"]] == [[True, "OutOfService"]]
    assert seen["fronted"] == ["walk-2009"]
    assert seen["wrong_secret"] == [403, "SignatureDoesNotMatch"] == seen["wrong_secret_v1"]
    assert seen["in_use"] == [400, "ResourceInUse"]


def test_boto_2_49(server, boto_2_49):
    seen = walk(boto_2_49, "boto_2_49.py", server)
    assert seen["group"] == ["walk-2", "walk-2", 1, 4, 1]
    assert seen["tags"] == [["team", "a b", True]]
    assert seen["policy"] == ["up", "ChangeInCapacity", 1]
    assert seen["alarms"] == [["walk-2-high", "CPUUtilization", 80.0, True]]
    assert seen["scheduled"] == [["later", "1"]]
    assert seen["suspended"] == ["AlarmNotification"]
    assert seen["metrics"] == [["Jobs", "Walk", {"Queue": ["a"]}]] and seen["statistics"] == [3.0]
    assert seen["activity"] == "Terminating EC2 instance"
    assert seen["instances"] == ["running", "running"] and seen["only"] and seen["zones"]
    assert seen["key"] and seen["limits"]
    assert seen["balancer_dns"].endswith(".us-east-1.elb.amazonaws.com")
    assert seen["balancer"] == [
        "walk-2", [[80, 8080, "HTTP"], [25, 2525, "TCP"]], ["us-east-1a"], True, "HTTP:8080/up", "sticky"]
    assert seen["health"] == ["OutOfService"] and seen["cross_zone"] is False
    assert seen["group_balancers"] == ["walk-2"] and seen["deleted"]
    assert seen["adjustments"] == ["ChangeInCapacity", "ExactCapacity", "PercentChangeInCapacity"]
    assert seen["wrong_secret"] == [403, "SignatureDoesNotMatch"]
    assert seen["wrong_secret_ec2"] == [401, "AuthFailure"]
