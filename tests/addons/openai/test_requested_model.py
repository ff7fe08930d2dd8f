"""The model of a request, wherever it stands and however it is hidden."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.endpoints import resolve
from addons.openai.http.form import is_form, read_form
from addons.openai.http.messages import Request
from addons.openai.providers import parse_deployments, provider_of
from addons.openai.request_reading import Question, RequestReading
from addons.openai.requested_model import Allowed, Asked, is_allowed, is_allowed_answer, model_in, refusing
from tests.addons.openai.http.test_form import TYPE, UPLOAD, body, part

CHAT = "/v1/chat/completions"
JSON = [("content-type", "application/json")]


def asked(
    path: str,
    data: bytes | dict[str, Any] = b"",
    *,
    headers: Any = JSON,
    host: str = "",
    method: str = "POST",
) -> Asked:
    data = json.dumps(data).encode() if isinstance(data, dict) else data
    plain, kind = path.partition("?")[0], headers[0][1]
    there = provider_of(host, plain)
    if not is_form(kind):
        return RequestReading(data, Question(method, path, there)).asked
    content = read_form(data, kind, strict=True)
    return model_in(Request(method, path, provider=there), resolve(method, plain), content)


def form(*parts: bytes, path: str = "/v1/audio/transcriptions") -> Asked:
    return asked(path, body(*parts), headers=[("content-type", TYPE)])


@pytest.mark.parametrize(
    ("path", "data", "model"),
    [
        (CHAT, {"model": "gpt-4o"}, "gpt-4o"),
        (CHAT, b'\xef\xbb\xbf \r\n\t{"model": "gpt-4o"}\n', "gpt-4o"),
        (CHAT, b'{"model": "a", "messages": [{"model": "x"}], "model": "b"}', "b"),
        (CHAT, b'{"m\\u006fdel": "gpt\\u002d4o"}', "gpt-4o"),
        (CHAT, {"messages": []}, None),
        (CHAT, {"model": None}, None),
        (CHAT, {"model": ""}, None),
        ("/v1/embeddings", {"model": "text-embedding-3-small"}, "text-embedding-3-small"),
        ("/v1/responses", {"prompt": {"id": "pmpt_1"}}, None),
        ("/v1/moderations", {"input": "x"}, None),
        ("/v1/images/edits", {"model": "gpt-image-1"}, "gpt-image-1"),
        ("/v1/engines/davinci/completions", {"model": "x"}, "davinci"),
        ("/v1/realtime?model=gpt-realtime", b"", "gpt-realtime"),
        ("/v1/realtime/client_secrets", {"session": {"model": "gpt-realtime"}}, "gpt-realtime"),
        ("/v1/realtime/sessions", {"model": "gpt-realtime"}, "gpt-realtime"),
        ("/v1/new/thing", {"model": "gpt-9"}, "gpt-9"),
        ("/openai/deployments/prod/chat/completions", {"model": "ignored"}, "prod"),
        ("/openai/v1/responses", {"model": "prod"}, "prod"),
    ],
)
def test_where_the_model_is(path: str, data: Any, model: str | None) -> None:
    method = "GET" if path.startswith("/v1/realtime?") else "POST"
    assert asked(path, data, method=method) == Asked(model)


@pytest.mark.parametrize(
    ("path", "data", "headers"),
    [
        (CHAT, b'{"model": "gpt-4o"', JSON),
        (CHAT, b"model=gpt-4o", [("content-type", "application/x-www-form-urlencoded")]),
        (CHAT, b'["gpt-4o"]', JSON),
        (CHAT, b'{"model": ["gpt-4o"]}', JSON),
        (CHAT, b'{"model": "gpt-4o", "Model": "o1-pro"}', JSON),
        (CHAT, b'{"model": "gpt-4o", "models": ["o1-pro"]}', JSON),
        (CHAT, b'{"model": "gpt-4o\xff"}', JSON),
        (CHAT, '{"model": "gpt-4o"}'.encode("utf-16"), JSON),
        (CHAT, b'{"model": "gpt-4o"}', [("content-type", TYPE)]),
        (CHAT, b"[" * 100_000, JSON),
        (f"{CHAT}?model=o1-pro", b'{"model": "gpt-4o"}', JSON),
        ("/v1//chat/completions", b'{"model": "gpt-4o"}', JSON),
        ("/v1/batches", b'{"input_file_id": "file-1"}', JSON),
        ("/v1/threads/t/runs/r/submit_tool_outputs", b"{}", JSON),
        ("/v1/audio/transcriptions", b'{"model": "whisper-1"', JSON),
        ("/v1/realtime/client_secrets", b'{"model": "a", "session": {"model": "b"}}', JSON),
        ("//openai/deployments/prod/chat/completions", b"{}", JSON),
    ],
)
def test_what_may_be_read_in_two_ways_is_unknown(path: str, data: bytes, headers: Any) -> None:
    assert asked(path, data, headers=headers).unknown


def test_forms() -> None:
    assert asked("/v1/audio/transcriptions", UPLOAD, headers=[("content-type", TYPE)]) == Asked("whisper-1")
    assert form(part("model", b"a"), part("model", b"a")) == Asked("a")
    assert form(part("prompt", b"a")) == Asked()
    assert form(part("model", b"a"), part("model", b"b")).unknown
    assert form(part("model", b"a"), part("Model", b"b")).unknown
    assert form(part("model", b"a", filename="a")).unknown
    assert form(part("model", b"a"), path="/v1/audio/transcriptions?model=b").unknown
    session = part("session", b'{"model": "gpt-realtime"}', kind="application/json")
    assert form(part("sdp", b"v=0"), session, path="/v1/realtime/calls") == Asked("gpt-realtime")
    assert form(part("session", b"{"), path="/v1/realtime/calls").unknown


def test_calls_without_a_model() -> None:
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/files"), ("GET", "/v1/responses/resp_1")):
        assert asked(path, b'{"model": "x"}', method=method) == Asked()


NOISE = st.dictionaries(
    st.text(max_size=8), st.none() | st.text(max_size=8) | st.lists(st.integers()), max_size=4
)


@given(NOISE, st.text(min_size=1, max_size=20), st.sampled_from(["utf-8", "ascii"]))
def test_the_model_is_what_json_says(noise: dict[str, Any], model: str, form: str) -> None:
    keys = {key: value for key, value in noise.items() if key.strip().lower() not in ("model", "models")}
    data = json.dumps({**keys, "model": model}, ensure_ascii=form == "ascii")
    if data.isascii() or form == "utf-8":
        try:
            encoded = data.encode()
        except UnicodeEncodeError:
            return
        assert asked(CHAT, encoded) == Asked(model)


@given(st.binary(max_size=200))
def test_any_bytes(junk: bytes) -> None:
    for headers in (JSON, [("content-type", TYPE)]):
        assert isinstance(asked(CHAT, junk, headers=headers), Asked)


@pytest.mark.parametrize(
    ("model", "globs", "allowed"),
    [
        ("gpt-4o", ["gpt-4o"], True),
        (" GPT-4o ", ["gpt-4o"], True),
        ("gpt-4o-mini", ["gpt-4o"], False),
        ("gpt-4o-mini", ["gpt-4o*"], True),
        ("ft:gpt-4o:acme::1", ["gpt-4o*"], False),
        ("gpt-4o\n", ["gpt-4o"], True),
        ("gpt-4o\x00", ["gpt-4o"], False),
        ("o1-pro", ["gpt-*", "o1"], False),
    ],
)
def test_allow_lists(model: str, globs: list[str], allowed: bool) -> None:
    assert is_allowed(model, globs) is allowed


def test_an_answer_is_a_dated_version_of_what_was_asked_for() -> None:
    of_option, of_token = Allowed(("gpt-4o", "gpt-3.5-turbo"), "option"), Allowed(("gpt-4o*",), "token")
    assert is_allowed_answer("gpt-4o-2024-08-06", [of_option, of_token])
    assert is_allowed_answer("gpt-3.5-turbo-0125", [of_option])
    assert not is_allowed_answer("gpt-3.5-turbo-0125", [of_option, of_token])
    assert not is_allowed_answer("gpt-4o-mini-2024-07-18", [of_option, of_token])
    assert is_allowed_answer("anything", [])


def test_every_list_has_to_have_it() -> None:
    of_option, of_token = Allowed(("gpt-*",), "option"), Allowed(("*-mini",), "token")
    assert refusing("gpt-4o-mini", [of_option, of_token]) is None
    assert refusing("gpt-4o", [of_option, of_token]) is of_token
    assert refusing("o4-mini", [of_token, of_option]) is of_option


def test_deployments_of_the_configuration() -> None:
    assert parse_deployments(["prod = gpt-4o", "embed=ada"]) == {"prod": "gpt-4o", "embed": "ada"}
    for wrong in (["prod"], ["=gpt-4o"], ["prod="], ["a=b", "a=c"]):
        with pytest.raises(ValueError, match=wrong[0][:1]):
            parse_deployments(wrong)
