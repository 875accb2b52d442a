"""botocore's parsers read what our encoders write: a random answer of every operation, in every protocol."""

import base64
import datetime
import functools
import json
import random
import subprocess

import botocore.loaders
import botocore.model
import botocore.parsers
import pytest

from conftest import ROOT


@functools.cache
def model(service):
    return botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model(service, "service-2"), service)


def plain(value):
    if isinstance(value, datetime.datetime):
        return round(value.timestamp(), 3)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def known(value, shape):
    """Without what an older botocore does not know yet."""
    if shape.type_name == "structure":
        return {k: known(v, shape.members[k]) for k, v in value.items() if k in shape.members}
    if shape.type_name == "list":
        return [known(v, shape.member) for v in value]
    return value


@pytest.mark.parametrize("round_", range(3))
def test_random_answers(round_):
    seed = random.getrandbits(63)
    print("seed", seed)
    command = ["cargo", "run", "--quiet", "-p", "puffer-shapes", "--example", "random_answers", "--", str(seed)]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600).stdout.splitlines()
    assert len(lines) > 200
    for line in lines:
        answer = json.loads(line)
        if answer["service"].endswith("_2009"):
            # Today's clients have no models of that day; boto of that day reads these answers in test_old_clients.
            continue
        services = model(answer["service"])
        if answer["operation"] not in services.operation_names:
            continue
        operation = services.operation_model(answer["operation"])
        response = {"status_code": 200, "headers": {}, "body": bytes.fromhex(answer["body"])}
        parsed = botocore.parsers.create_parser(answer["protocol"]).parse(response, operation.output_shape)
        parsed.pop("ResponseMetadata", None)
        meaning = known(answer["meaning"], operation.output_shape) if operation.output_shape else {}
        assert plain(parsed) == meaning, (answer["operation"], answer["protocol"], response["body"])
