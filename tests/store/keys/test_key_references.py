"""Keys that are kept elsewhere; AWS is moto, as a process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from store.core.errors import KeyUnavailable
from store.keys import key_references
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


class Aws:
    """Answers as a client of boto3 does, without AWS."""

    def __init__(self, secrets: dict[str, str]) -> None:
        self.secrets = secrets

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:
        return {"SecretString": self._of(SecretId, "GetSecretValue")}

    def get_parameter(self, *, Name: str, WithDecryption: bool) -> dict[str, dict[str, str]]:
        assert WithDecryption
        return {"Parameter": {"Value": self._of(Name, "GetParameter")}}

    def _of(self, name: str, operation: str) -> str:
        if name not in self.secrets:
            raise ClientError({"Error": {"Code": "NotFound", "Message": "no such thing"}}, operation)
        return self.secrets[name]


def test_what_aws_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ARN says itself where its secret is; anywhere else the region is the configuration's."""
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:openai-AbCdEf"
    asked: list[tuple[str, str | None]] = []

    def client_of(service: str, region: str | None) -> Aws:
        asked.append((service, region))
        return Aws(
            {"plain": KEY, arn: KEY, "json": json.dumps({"key": KEY}), "/prod/key": KEY, "list": "[1]"}
        )

    monkeypatch.setattr(key_references, "_client", client_of)
    for reference in ("aws-sm:plain", f"aws-sm:{arn}", "aws-sm:json#key", "aws-ssm:/prod/key"):
        assert key_references.read(reference).reveal() == KEY
    assert asked == [
        ("secretsmanager", None),
        ("secretsmanager", "eu-west-1"),
        ("secretsmanager", None),
        ("ssm", None),
    ]
    for reference in ("aws-sm:json#other", "aws-sm:plain#key", "aws-sm:list#key"):
        assert "no JSON object with a field" in why(reference)
    for reference in ("aws-sm:none", "aws-ssm:none"):
        assert "NotFound" in why(reference)


def test_aws_without_a_region_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    key_references._client.cache_clear()
    assert "You must specify a region" in why("aws-sm:prod/openai")
    assert "You must specify a region" in why("aws-ssm:/prod/openai")
