"""Fetch keys that are kept elsewhere: the store holds only where.

==================  ==================================================================================
``env:NAME``        a variable of the proxy's environment
``file:/PATH``      the first line of a file (a Docker or Kubernetes secret)
``aws-sm:ID``       a secret of AWS Secrets Manager, by name or ARN; ``ID#FIELD`` takes a field of JSON
``aws-ssm:NAME``    a parameter of AWS Systems Manager's Parameter Store, decrypted
==================  ==================================================================================
"""

from __future__ import annotations

import functools
import json
import os
import posixpath
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from store.core.errors import Invalid, KeyUnavailable
from store.core.secret import Secret
from store.tokens import validation

AWS_SECONDS = 5
"""It says how long AWS may take to connect, and to answer; there is one more try."""
LONGEST = 4096


def is_reference(text: str) -> bool:
    """Tell whether `text` names a source of keys."""
    return text.partition(":")[0] in SOURCES and ":" in text


def check(reference: str) -> str:
    """Give `reference`, where its form is right. Raises Invalid. What it leads to shows when it is read."""
    scheme, _, name = reference.partition(":")
    pattern, example = FORMS[scheme]
    if len(reference) > LONGEST or not re.fullmatch(pattern, name):
        raise Invalid(f"the reference {reference[:100]!r}: write {example}.")
    return reference


def fits(reference: str, globs: Iterable[str]) -> bool:
    """Return whether one of `globs` (``env:*_KEY``, ``file:/run/secrets/*``) covers `reference`."""
    scheme, _, name = reference.partition(":")
    if scheme == "file" and posixpath.normpath(name) != name:
        return False  # `..` would lead out of the folder that a glob names
    return any(fnmatchcase(reference, glob) for glob in globs)


def read(reference: str) -> Secret:
    """Give the key; takes as long as the source does. Raises KeyUnavailable that says why."""
    try:
        return Secret(validation.api_key(read_text(reference)))
    except Invalid as error:
        raise KeyUnavailable(f"{reference}: {error}") from error


def read_text(reference: str) -> str:
    """Return what is kept there, without blanks around it. Raises KeyUnavailable that says why."""
    scheme, _, name = reference.partition(":")
    return SOURCES[scheme](name).strip()


def _from_environment(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise KeyUnavailable(f"env:{name}: the variable is not set in the proxy's environment.") from None


def _from_file(name: str) -> str:
    try:
        with Path(name).open() as file:
            return file.readline(LONGEST)
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnavailable(f"file:{name}: {getattr(error, 'strerror', None) or error}") from error


def _from_secrets_manager(name: str) -> str:
    secret, _, field = name.partition("#")
    answer = _ask("secretsmanager", f"aws-sm:{name}", secret, lambda c: c.get_secret_value(SecretId=secret))
    text = str(answer.get("SecretString") or "")
    if not field:
        return text
    try:
        return str(json.loads(text)[field])
    except (ValueError, TypeError, KeyError) as error:
        raise KeyUnavailable(
            f"aws-sm:{name}: the secret is no JSON object with a field {field!r}."
        ) from error


def _from_parameter_store(name: str) -> str:
    answer = _ask("ssm", f"aws-ssm:{name}", name, lambda c: c.get_parameter(Name=name, WithDecryption=True))
    return str(answer["Parameter"]["Value"])


def _ask(service: str, reference: str, name: str, question: Callable[[Any], Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow, and seldom needed

    try:
        return question(_client(service, name.split(":")[3] if name.startswith("arn:") else None))
    except (BotoCoreError, ClientError) as error:
        raise KeyUnavailable(f"{reference}: {error}") from error


@functools.cache
def _client(service: str, region: str | None) -> Any:
    """Make a client.

    Credentials, region and endpoint are as AWS's tools find them; an ARN names its region itself.
    """
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=AWS_SECONDS,
        read_timeout=AWS_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 2},
    )
    # A session of its own: boto3's default one is not to be used by several threads while clients are made.
    return boto3.session.Session().client(service, region_name=region, config=config)  # type: ignore[call-overload]


SOURCES: dict[str, Callable[[str], str]] = {
    "env": _from_environment,
    "file": _from_file,
    "aws-sm": _from_secrets_manager,
    "aws-ssm": _from_parameter_store,
}
FORMS = {
    "env": (r"[A-Za-z_][A-Za-z0-9_]*", "env:NAME with the name of a variable"),
    "file": (r"/[^\x00-\x1f]+", "file:/PATH with an absolute path"),
    "aws-sm": (
        r"(arn:[\w-]+:secretsmanager:[\w-]+:\d*:secret:)?[\w/+=.@!-]+(#[^#\s]+)?",
        "aws-sm:NAME or aws-sm:ARN",
    ),
    "aws-ssm": (r"(arn:[\w-]+:ssm:[\w-]+:\d*:parameter)?[\w/.-]+", "aws-ssm:NAME or aws-ssm:ARN"),
}
