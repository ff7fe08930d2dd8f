"""What a token and its project allow, both of which have to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from addons.checks import access
from addons.openai.endpoints import resolve
from store.keys.project_keys import StoredKey
from store.tokens import limits
from store.tokens.limits import NONE, Limits
from store.tokens.models import Grant, Project, Token

CHAT = resolve("POST", "/v1/chat/completions")


def grant(token: Limits = NONE, project: Limits = NONE) -> Grant:
    now = datetime.now(UTC)
    owner = Project("p", "acme", StoredKey("plain:sk-real-0123456789"), True, now, now, limits=project)
    return Grant(owner, Token("t", "sk-", "p", True, now, None, None, 0, None, {}, limits=token))


@pytest.mark.parametrize(
    ("client", "token", "project", "allowed"),
    [
        ("10.1.2.3", [], [], True),
        ("10.1.2.3", ["10.0.0.0/8"], [], True),
        ("10.1.2.3", ["10.0.0.0/8"], ["10.1.0.0/16", "192.0.2.7"], True),
        ("10.2.2.3", ["10.0.0.0/8"], ["10.1.0.0/16"], False),
        ("11.1.2.3", ["10.0.0.0/8"], [], False),
        ("11.1.2.3", [], ["10.0.0.0/8"], False),
        ("::ffff:10.1.2.3", ["10.0.0.0/8"], [], True),
        ("2001:db8::1", ["2001:db8::/32"], [], True),
        ("fe80::1%eth0", ["fe80::/10"], [], True),
        ("2001:db8::1", ["0.0.0.0/0"], [], False),
        (None, ["0.0.0.0/0"], [], False),
        ("no address", ["0.0.0.0/0"], [], False),
    ],
)
def test_networks(client: str | None, token: list[str], project: list[str], allowed: bool) -> None:
    given = grant(limits.of({"networks": token}), limits.of({"networks": project}))
    refused = access.judge(given, CHAT, client)
    assert (refused is None) is allowed
    assert refused is None or (refused.status, refused.code) == (403, "network_not_allowed")


@pytest.mark.parametrize(
    ("token", "project", "allowed"),
    [
        ((), (), True),
        (("chat",), (), True),
        (("inference",), ("chat", "embeddings"), True),
        (("embeddings",), ("chat",), False),
        (("chat",), ("embeddings",), False),
        (("listing",), (), False),
    ],
)
def test_endpoints(token: tuple[str, ...], project: tuple[str, ...], allowed: bool) -> None:
    refused = access.judge(grant(Limits(endpoints=token), Limits(endpoints=project)), CHAT, "10.0.0.1")
    assert (refused is None) is allowed
    assert refused is None or (refused.status, refused.code) == (403, "endpoint_not_allowed")


def test_the_network_is_looked_at_first() -> None:
    refused = access.judge(grant(Limits(endpoints=("files",), networks=("10.0.0.0/8",))), CHAT, "1.2.3.4")
    assert refused is not None
    assert refused.code == "network_not_allowed"


def test_a_refusal_says_whose_limit_it_is() -> None:
    of_project = access.judge(grant(project=Limits(networks=("10.0.0.0/8",))), CHAT, "1.2.3.4")
    assert of_project is not None
    assert "1.2.3.4" in of_project.message
    assert "its project allows only 10.0.0.0/8" in of_project.message
    of_token = access.judge(grant(Limits(endpoints=("files", "listing"))), CHAT, "1.2.3.4")
    assert of_token is not None
    assert "the proxy token allows files, listing" in of_token.message


def test_lists_of_models() -> None:
    given = grant(Limits(models=("gpt-4o*",)), Limits(models=("gpt-*", "o1")))
    assert [each.globs for each in access.models(given, ("*",))] == [("gpt-4o*",), ("gpt-*", "o1")]
    assert [each.whose for each in access.models(given, ("o1",))] == [
        "option llm_models",
        "models of the proxy token",
        "models of its project",
    ]
    assert access.models(grant(), ("*",)) == ()
    assert access.models(grant(Limits(models=("gpt-4o", "*"))), ("*",)) == ()
