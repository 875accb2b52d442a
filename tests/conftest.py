"""A private Puffer server for the tests, driven by unchanged boto3 and the AWS CLI."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import boto3
import botocore.config
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PUFFER = os.environ.get("PUFFER", str(ROOT / "target/debug/puffer"))
START_S = 20
STOP_S = 30

for name in [n for n in os.environ if n.startswith("AWS_")]:
    del os.environ[name]
os.environ["AWS_CONFIG_FILE"] = os.devnull
os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


# Files whose tests take a minute or more each, with programs that keep a processor busy.
LONG = ("test_ansible", "test_terraform")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Several workers share the files, each with a server of its own. The long tests begin, so that none is left at the end."""
    items.sort(key=lambda item: item.path.stem not in LONG)
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group(item.name if item.path.stem in LONG else item.path.stem))


def until(probe, what, limit_s=30, pause_s=0.1):
    """Waits until probe() is true and returns its value; fails with what was last seen."""
    end = time.monotonic() + limit_s
    while True:
        seen = probe()
        if seen:
            return seen
        assert time.monotonic() < end, f"{what}: not within {limit_s} s (last seen: {seen!r})"
        time.sleep(pause_s)


class Server:
    """`puffer serve` on a data directory; start, kill and start again."""

    def __init__(self, data_dir, *options, compute="simulated"):
        self.data_dir = pathlib.Path(data_dir)
        self.options = list(options)
        self.compute = compute
        self.process = None
        self.port = 0

    def start(self):
        log = open(self.data_dir.parent / f"{self.data_dir.name}.log", "ab")
        command = [PUFFER, "serve", "--data-dir", self.data_dir, "--listen", f"127.0.0.1:{self.port}"]
        command += ["--compute", self.compute, *self.options]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        until(self._listening, "the server's start", START_S)
        self.port = int(self.environment["server"]["endpoint"].rsplit(":", 1)[1])
        return self

    def _listening(self):
        assert self.process.poll() is None, f"the server ended: {self.log()[-2000:]}"
        asked = subprocess.run([PUFFER, "env", "--json", "--data-dir", self.data_dir], capture_output=True, check=False)
        if asked.returncode != 0:
            return False
        self.environment = json.loads(asked.stdout)
        return self.environment["server"]["pid"] == self.process.pid

    def log(self):
        return (self.data_dir.parent / f"{self.data_dir.name}.log").read_text(errors="replace")

    def kill(self):
        """SIGKILL: the process has no chance to tidy up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Ends everything the server runs and the server."""
        if self.process.poll() is None:
            subprocess.run([PUFFER, "teardown", "--yes", "--data-dir", self.data_dir], check=True, timeout=60)
            self.process.wait(STOP_S)

    def puffer(self, command, *arguments):
        """A command of the program on this server's data directory; what it printed."""
        done = subprocess.run(
            [PUFFER, command, *arguments], env={**os.environ, "PUFFER_DATA_DIR": str(self.data_dir)},
            capture_output=True, text=True, timeout=120, check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self):
        printed = subprocess.run([PUFFER, "status", "--json", "--data-dir", self.data_dir], capture_output=True, check=True)
        return json.loads(printed.stdout)

    def client(self, service, **config):
        keys = self.environment
        return boto3.client(
            service,
            endpoint_url=keys["AWS_ENDPOINT_URL"],
            region_name=keys["AWS_REGION"],
            aws_access_key_id=config.pop("access_key", keys["AWS_ACCESS_KEY_ID"]),
            aws_secret_access_key=config.pop("secret_key", keys["AWS_SECRET_ACCESS_KEY"]),
            config=botocore.config.Config(retries={"max_attempts": 1}, read_timeout=30, **config),
        )

    def aws(self, *arguments, check=True):
        """One call of the AWS CLI; its JSON output."""
        variables = {k: v for k, v in self.environment.items() if k.startswith("AWS_")}
        cli = shutil.which("aws", path=os.path.dirname(sys.executable)) or shutil.which("aws")
        done = subprocess.run(
            [cli, *arguments, "--output", "json"],
            env={**os.environ, **variables, "AWS_PAGER": ""}, capture_output=True, text=True, timeout=120, check=False,
        )
        if not check:
            return done
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server with simulated instances for all tests of a run, or of one of its workers."""
    server = Server(tmp_path_factory.mktemp("puffer") / "data", "--any-image", "--boot-time", "50")
    server.data_dir.mkdir()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def new_server(tmp_path):
    """Starts servers of a test's own; ends them after it."""
    servers = []

    def start(*options, compute="simulated"):
        data_dir = tmp_path / f"data{len(servers)}"
        data_dir.mkdir()
        servers.append(Server(data_dir, *options, compute=compute))
        return servers[-1].start()

    yield start
    for server in servers:
        if server.process.poll() is not None:
            # What a killed server leaves running is ended by its successor.
            server.start()
        server.stop()


def _client(service):
    @pytest.fixture(scope="session", name=service.replace("-", "_"))
    def fixture(server):
        return server.client(service)

    return fixture


ec2 = _client("ec2")
autoscaling = _client("autoscaling")
elb = _client("elb")
elbv2 = _client("elbv2")
cloudwatch = _client("cloudwatch")
sts = _client("sts")
ssm = _client("ssm")
sns = _client("sns")
sqs = _client("sqs")
