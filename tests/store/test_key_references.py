"""Keys that are kept elsewhere; AWS is moto, as a process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from store import key_references
from store.errors import KeyUnavailable
from tests.dispatch.cloudwatch import REGION, client, moto_server

KEY = "sk-live-1234567890"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with moto_server() as address:
        yield address


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    key_references._client.cache_clear()
    yield moto
    key_references._client.cache_clear()


def why(reference: str) -> str:
    with pytest.raises(KeyUnavailable) as raised:
        key_references.read(reference)
    said = str(raised.value)
    assert reference in said
    assert "\n" not in said
    return said


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f" {KEY}\n")
    assert key_references.read("env:SOME_KEY").reveal() == KEY
    monkeypatch.setenv("SOME_KEY", "")
    assert "empty" in why("env:SOME_KEY")
    monkeypatch.delenv("SOME_KEY")
    assert "not set" in why("env:SOME_KEY")


def test_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert "No such file" in why(f"file:{file}")
    file.write_text(f"{KEY}\nsomething else\n")
    assert key_references.read(f"file:{file}").reveal() == KEY
    file.write_bytes(b"\xff\xfe")
    assert "utf-8" in why(f"file:{file}")
    file.write_text("sk-proxy-1234")
    assert "proxy token" in why(f"file:{file}")


def test_secrets_manager(aws: str) -> None:
    secrets = client(aws, "secretsmanager")
    arn = secrets.create_secret(Name="prod/openai", SecretString=KEY)["ARN"]
    secrets.create_secret(Name="json", SecretString=json.dumps({"key": KEY, "other": 1}))
    assert key_references.read("aws-sm:prod/openai").reveal() == KEY
    assert key_references.read(f"aws-sm:{arn}").reveal() == KEY
    assert key_references.read("aws-sm:json#key").reveal() == KEY
    assert "no JSON object with a field 'missing'" in why("aws-sm:json#missing")
    assert "no JSON object" in why("aws-sm:prod/openai#key")
    assert "ResourceNotFoundException" in why("aws-sm:nothing")


def test_parameter_store(aws: str) -> None:
    client(aws, "ssm").put_parameter(Name="/prod/openai", Value=KEY, Type="SecureString")
    assert key_references.read("aws-ssm:/prod/openai").reveal() == KEY
    assert "ParameterNotFound" in why("aws-ssm:/nothing")


def test_aws_that_is_not_there(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    key_references._client.cache_clear()
    assert "Could not connect" in why("aws-sm:prod/openai")
