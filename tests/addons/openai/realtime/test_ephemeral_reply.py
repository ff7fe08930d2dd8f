"""Answers with a new secret: each known form is rewritten, and nothing of another form passes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from addons.openai.realtime.ephemeral_reply import Found, NotUnderstood, rewrite

SECRET = "ek_68af296e8e408191a1120ab6383263c2"
SESSION = {"type": "realtime", "object": "realtime.session", "id": "sess_C9CiUVUzUzYIssh3ELY1d"}

CLIENT_SECRET = {"value": SECRET, "expires_at": 1756310470, "session": {**SESSION, "model": "gpt-realtime"}}
"""As the API reference shows them."""
BETA = {
    **SESSION,
    "model": "gpt-4o-realtime-preview",
    "client_secret": {"value": SECRET, "expires_at": 1756310470},
    "max_response_output_tokens": "inf",
    "tools": [{"type": "mcp", "server_label": "x", "authorization": "a long third party secret"}],
}
CHATKIT = {
    "id": "cksess_123",
    "object": "chatkit.session",
    "client_secret": SECRET,
    "expires_at": 1756310470,
    "workflow": {"id": "workflow_alpha", "version": "2024-10-01"},
}
BOTH = {**CLIENT_SECRET, "session": {**BETA, "client_secret": {"value": SECRET, "expires_at": 9}}}


@pytest.mark.parametrize(
    ("answer", "model"),
    [
        (CLIENT_SECRET, "gpt-realtime"),
        (BETA, "gpt-4o-realtime-preview"),
        (CHATKIT, None),
        (BOTH, "gpt-4o-realtime-preview"),
    ],
)
def test_known_forms(answer: dict[str, Any], model: str | None) -> None:
    made: list[Found] = []

    def seal(found: Found) -> str:
        made.append(found)
        return "ours"

    text = rewrite(json.dumps(answer).encode(), seal).decode()
    assert SECRET not in text
    assert json.loads(text.replace("ours", SECRET)) == answer
    assert (made[0].secret, made[0].expires_at, made[0].model) == (SECRET, 1756310470, model)


def test_a_secret_that_is_repeated_elsewhere_is_replaced_there_too() -> None:
    answer = {**CLIENT_SECRET, "link": f"https://api.openai.com/x?key={SECRET}&y=1"}
    assert SECRET not in rewrite(json.dumps(answer).encode(), lambda _: "ours").decode()


@pytest.mark.parametrize(
    "answer",
    [
        [CLIENT_SECRET],
        {"session": SESSION},
        {**CLIENT_SECRET, "value": None},
        {**CLIENT_SECRET, "value": {"secret": SECRET}},
        {**CLIENT_SECRET, "refresh": f"use ek_{'1' * 20}"},
        {**CLIENT_SECRET, "session": {**SESSION, "nested": [{"api_key": "0123456789abcdef0123"}]}},
        {**CHATKIT, "refresh_token": "0123456789abcdef0123"},
        "ek_123",
        None,
    ],
)
def test_anything_else_is_not_understood(answer: Any) -> None:
    with pytest.raises(NotUnderstood) as caught:
        rewrite(json.dumps(answer).encode(), lambda _: "ours")
    assert SECRET not in str(caught.value)


def test_a_broken_answer_is_not_understood() -> None:
    for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000, json.dumps(CLIENT_SECRET).encode()[:-1]):
        with pytest.raises(NotUnderstood):
            rewrite(body, lambda _: "ours")
