"""Who may call: signatures are verified, and each service says no in its own words."""

import datetime
import urllib.error
import urllib.request

import boto3
import botocore.config
import pytest
from botocore.exceptions import ClientError

from conftest import until


def refusal(call):
    with pytest.raises(ClientError) as error:
        call()
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_identity(sts):
    identity = sts.get_caller_identity()
    assert identity["Account"] == "123456789012"
    assert identity["Arn"] == "arn:aws:iam::123456789012:root"


@pytest.mark.parametrize(
    "service, call, unknown_key, wrong_secret",
    [
        ("sts", lambda c: c.get_caller_identity(), "InvalidClientTokenId", "SignatureDoesNotMatch"),
        ("autoscaling", lambda c: c.describe_auto_scaling_groups(), "InvalidClientTokenId", "SignatureDoesNotMatch"),
        ("ec2", lambda c: c.describe_instances(), "AuthFailure", "AuthFailure"),
        ("ssm", lambda c: c.get_parameter(Name="x"), "UnrecognizedClientException", "InvalidSignatureException"),
    ],
)
def test_wrong_keys_are_refused(server, service, call, unknown_key, wrong_secret):
    assert refusal(lambda: call(server.client(service, access_key="AKIAAAAAAAAAAAAAAAAA")))[0] == unknown_key
    assert refusal(lambda: call(server.client(service, secret_key="wrong")))[0] == wrong_secret


@pytest.mark.parametrize(
    "service, call, refused",
    [
        ("autoscaling", lambda c: c.describe_auto_scaling_groups(), ("SignatureDoesNotMatch", 403)),
        ("ec2", lambda c: c.describe_instances(), ("RequestExpired", 400)),
        ("ssm", lambda c: c.get_parameter(Name="x"), ("InvalidSignatureException", 400)),
    ],
)
@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_signature_of_another_time_is_refused(server, monkeypatch, service, call, refused, minutes):
    import botocore.auth

    now = botocore.auth.get_current_datetime
    shifted = lambda *args, **more: now(*args, **more) + datetime.timedelta(minutes=minutes)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", shifted)
    assert refusal(lambda: call(server.client(service))) == refused


def test_an_unsigned_request_is_refused(server):
    url = server.environment["AWS_ENDPOINT_URL"] + "/?Action=DescribeAutoScalingGroups&Version=2011-01-01"
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(url, timeout=10)
    assert error.value.code == 403
    assert b"<Code>MissingAuthenticationToken</Code>" in error.value.read()


def test_no_auth_serves_unsigned_requests_on_loopback(new_server):
    server = new_server("--no-auth", "--any-image")
    url = server.environment["AWS_ENDPOINT_URL"] + "/?Action=DescribeAutoScalingGroups&Version=2011-01-01"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.status == 200
    assert "--no-auth" in server.log()


def test_a_second_server_is_refused(new_server):
    import subprocess
    from conftest import PUFFER

    server = new_server("--any-image")
    second = subprocess.run(
        [PUFFER, "serve", "--data-dir", server.data_dir, "--listen", "127.0.0.1:0", "--compute", "simulated"],
        capture_output=True, text=True, timeout=20, check=False,
    )
    assert second.returncode != 0
    assert f"pid {server.process.pid}" in second.stderr


def test_keys_survive_a_restart(new_server):
    server = new_server("--any-image")
    before = server.environment["AWS_SECRET_ACCESS_KEY"]
    server.kill()
    server.start()
    assert server.environment["AWS_SECRET_ACCESS_KEY"] == before
    assert until(lambda: server.client("sts").get_caller_identity()["Account"], "an answer") == "123456789012"
