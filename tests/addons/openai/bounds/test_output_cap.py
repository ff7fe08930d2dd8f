"""A cap on the output: larger wishes are refused, and where there is none it is written in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.bounds.output_cap import Capped, cap_bytes, cap_event, is_capped
from addons.openai.endpoints import resolve

CHAT = resolve("POST", "/v1/chat/completions")
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "assistants": "/v1/threads/runs",
}

RESPONSES = resolve("GET", "/v1/responses", upgrade=True)
REALTIME = resolve("GET", "/v1/realtime", upgrade=True)


@pytest.mark.parametrize(
    ("name", "model", "field"),
    [
        ("chat", "gpt-4o", "max_tokens"),
        ("chat", "o3-mini", "max_completion_tokens"),
        ("chat", "gpt-5-mini", "max_completion_tokens"),
        ("chat", "gpt-6-sol", "max_completion_tokens"),
        ("chat", "my-deployment", "max_tokens"),
        ("responses", "gpt-4o", "max_output_tokens"),
        ("assistants", "gpt-4o", "max_completion_tokens"),
    ],
)
@pytest.mark.parametrize(
    "body", [b'{"model": "x"}', b"{}", b' {"user": "\xc3\xa9"} ', b'{"max_tokens":null}']
)
def test_written_where_there_is_none(name: str, model: str, field: str, body: bytes) -> None:
    capped = cap_bytes(body, resolve("POST", PATHS[name]), model, 100)
    assert capped.body is not None
    assert json.loads(capped.body) == {**json.loads(body), field: 100}
    assert capped.body.startswith(body.rstrip()[:-1])


@pytest.mark.parametrize("name", ["chat", "responses", "completions", "assistants"])
@pytest.mark.parametrize(("asked", "passes"), [(99, True), (100, True), (101, False)])
def test_what_is_asked_for(name: str, asked: int, passes: bool) -> None:
    field = {"responses": "max_output_tokens", "assistants": "max_completion_tokens"}.get(name, "max_tokens")
    capped = cap_bytes(json.dumps({field: asked}).encode(), resolve("POST", PATHS[name]), "gpt-4o", 100)
    assert capped == (Capped() if passes else capped)
    assert capped.param == (None if passes else field)


@pytest.mark.parametrize(
    "body",
    [
        b'{"max_tokens": 999, "max_tokens": 1}',
        b'{"max_tokens": 1, "max_tokens": 999}',
        b'{"max_tokens": 1, "max_completion_tokens": 999}',
        b'{"max_tokens": 1, "Max_Tokens": 999}',
        b'{"max_\\u0074okens": 999}',
        b'{"max_tokens": 1e3}',
        b'{"max_tokens": "999"}',
        b'{"max_tokens": true}',
    ],
)
def test_no_way_round(body: bytes) -> None:
    assert cap_bytes(body, CHAT, "gpt-4o", 100).param in ("max_tokens", "max_completion_tokens")


def test_choices_share_the_cap() -> None:
    assert cap_bytes(b'{"n": 4}', CHAT, "gpt-4o", 100).body == b'{"n": 4,"max_tokens":25}'
    assert cap_bytes(b'{"n": 4, "max_tokens": 26}', CHAT, "gpt-4o", 100).param == "max_tokens"
    assert cap_bytes(b'{"n": 101}', CHAT, "gpt-4o", 100).param == "n"
    prompts = b'{"prompt": ["a", "b"], "best_of": 5, "max_tokens": 11}'
    assert cap_bytes(prompts, resolve("POST", "/v1/completions"), "davinci-002", 100).param == "max_tokens"


def test_a_legacy_completion_keeps_its_own_default() -> None:
    """Sixteen tokens; a larger cap in its place would make it longer."""
    completions = resolve("POST", "/v1/completions")
    assert cap_bytes(b'{"prompt": "a"}', completions, "davinci-002", 100) == Capped()
    assert (
        cap_bytes(b'{"prompt": "a"}', completions, "davinci-002", 10).body
        == b'{"prompt": "a","max_tokens":10}'
    )


@pytest.mark.parametrize("body", [b"", b"[]", b"text", b"\xff", b'{"a": 1', b'{"a": NaN}', b"[" * 100_000])
def test_what_cannot_be_read_may_not_pass(body: bytes) -> None:
    assert cap_bytes(body, CHAT, "gpt-4o", 100).problem


@pytest.mark.parametrize(
    ("path", "capped"),
    [
        ("/v1/chat/completions", True),
        ("/v1/threads/thread_1/runs", True),
        ("/v1/responses", True),
        ("/v1/responses/compact", False),
        ("/v1/responses/input_tokens", False),
        ("/v1/threads/thread_1/runs/run_1/submit_tool_outputs", False),
        ("/v1/embeddings", False),
        ("/v1/audio/speech", False),
    ],
)
def test_where_there_is_a_field(path: str, capped: bool) -> None:
    assert is_capped(resolve("POST", path)) is capped


def test_a_handshake_names_no_length() -> None:
    """Its body is empty; each event on the socket is held against the cap by itself."""
    assert not is_capped(resolve("GET", "/v1/responses", upgrade=True))
    assert cap_event(b'{"type":"response.create"}', 50, RESPONSES).body == (
        b'{"type":"response.create","max_output_tokens":50}'
    )


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text()), st.integers(1, 500))
def test_all_else_stays(body: dict[str, Any], most: int) -> None:
    body = {key: value for key, value in body.items() if "max" not in key and key not in ("n", "prompt")}
    text = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    capped = cap_bytes(text, CHAT, "gpt-5", most)
    assert capped.body is not None
    assert json.loads(capped.body) == {**json.loads(text), "max_completion_tokens": most}


@pytest.mark.parametrize(
    ("event", "written"),
    [
        ({"type": "response.create"}, {"max_output_tokens": 50}),
        ({"type": "response.create", "response": {"a": "é"}}, {"a": "é", "max_output_tokens": 50}),
        ({"type": "response.create", "response": {"max_output_tokens": 7}}, None),
        ({"type": "session.update", "session": {"max_output_tokens": 50}}, None),
        ({"type": "conversation.item.create", "item": {"max_output_tokens": 999}}, None),
    ],
)
def test_an_event_of_realtime(event: dict[str, Any], written: dict[str, Any] | None) -> None:
    capped = cap_event(json.dumps(event).encode(), 50, REALTIME)
    assert capped.problem is None
    assert (capped.body and json.loads(capped.body)) == (written and {**event, "response": written})


@pytest.mark.parametrize("said", ["inf", 51, True, 1.5])
@pytest.mark.parametrize("kind", ["response", "session"])
def test_an_event_of_realtime_that_asks_for_more(said: Any, kind: str) -> None:
    event = {"type": "response.create", kind: {"max_output_tokens": said}}
    assert cap_event(json.dumps(event).encode(), 50, REALTIME).param == f"{kind}.max_output_tokens"


def test_an_event_of_responses() -> None:
    assert cap_event(b'{"type":"response.create"}', 50, RESPONSES).body == (
        b'{"type":"response.create","max_output_tokens":50}'
    )
    assert cap_event(b'{"type":"response.create","max_output_tokens":51}', 50, RESPONSES).param
    assert cap_event(b'{"type":"response.steer"}', 50, RESPONSES) == Capped()


@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"response.create","response":{"max_output_tokens":99},"response":{"max_output_tokens":9}}',
        b'{"type":"response.create"',
        b"[]",
    ],
)
def test_an_event_that_may_be_read_in_two_ways(event: bytes) -> None:
    assert cap_event(event, 50, REALTIME).problem
