"""What the gate lets pass, and what it refuses, asked hook by hook (see also tests/live)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.addons.hooks.gated import HANDSHAKE, Gated, gated


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("gate")) as made:
        yield made


def test_a_call_with_a_token_passes(world: Gated) -> None:
    reply = world.ask(world.token())
    assert (reply.status, reply.code) == (0, None)


@pytest.mark.parametrize(
    ("method", "path", "changes"),
    [
        ("POST", "/v1/chat/completions", {}),
        ("POST", "/v1/responses", {}),
        ("GET", "/v1/responses", {"connection": ""}),
        ("GET", "/v1/responses", {"connection": "keep-alive"}),
        ("GET", "/v1/responses", {"sec-websocket-version": "8"}),
        ("GET", "/v1/responses", {"sec-websocket-version": ""}),
        ("GET", "/v1/responses", {"sec-websocket-key": ""}),
        ("GET", "/v1/responses", {"sec-websocket-key": "c2hvcnQ="}),
        ("GET", "/v1/responses", {"upgrade": "h2c"}),
        ("GET", "/v1/responses", {"upgrade": "websocket, h2c"}),
        ("GET", "/v1/responses", {"content-length": "5"}),
        ("GET", "/v1/responses", {"transfer-encoding": "chunked"}),
        ("POST", "/v1/chat/completions", {"connection": "", "sec-websocket-version": ""}),
    ],
)
def test_an_upgrade_is_a_websockets_handshake_or_refused(
    world: Gated, method: str, path: str, changes: dict[str, str]
) -> None:
    """Else it would pass for a session, whose answers are reserved one by one, and reserve nothing."""
    token = world.token(limits={"budgets": {"usd": {"total": "0.000001"}}, "budget_mode": "strict"})
    body = b"" if method == "GET" else {"model": "gpt-4o", "messages": [], "input": "x"}
    reply = world.ask(token, path, body, method=method, headers={**HANDSHAKE, **changes})
    assert (reply.status, reply.code) == (400, "websocket_only")


def test_without_the_option_nothing_is_a_handshake(world: Gated) -> None:
    world.context.options.update(websocket=False)
    try:
        reply = world.ask(world.token(), "/v1/responses", b"", method="GET", headers=HANDSHAKE)
        assert reply.code == "websocket_only"
    finally:
        world.context.options.update(websocket=True)


@pytest.mark.parametrize(
    ("path", "models", "code"),
    [
        ("/v1/responses", ["gpt-4o*"], None),  # each event names its own
        ("/v1/realtime?model=gpt-realtime", ["gpt-realtime"], None),
        ("/v1/realtime?model=gpt-realtime-mini", ["gpt-realtime"], "model_not_found"),
        ("/v1/realtime", ["gpt-realtime"], "model_not_found"),
    ],
)
def test_the_model_of_a_session(world: Gated, path: str, models: list[str], code: str | None) -> None:
    token = world.token({"models": models})
    assert world.ask(token, path, b"", method="GET", headers=HANDSHAKE).code == code


def test_a_handshake_passes(world: Gated) -> None:
    reply = world.ask(world.token(), "/v1/responses", b"", method="GET", headers=HANDSHAKE)
    assert reply.code is None
    assert reply.call is not None
    assert reply.call.websocket


HIDDEN = {"model": "gpt-4o-mini", "input": "x", "previous_response_id": "resp_of_another_0123456789"}
OUTPUT = {"max_output_tokens": 10}


@pytest.mark.parametrize(
    "content_type",
    [
        "application/sdp",
        "multipart/x",
        "multipart/mixed; boundary=b",
        "multipart/form-data; boundary=b",
        "text/plain",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/jsonx",
        "text/json+x",
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/responses", "/v1/chat/completions", "/v1/conversations", "/v1/batches"]
)
def test_a_type_that_the_endpoint_does_not_take_is_refused(
    world: Gated, path: str, content_type: str
) -> None:
    """Else it would hide objects, models and lengths from the checks that read JSON."""
    world.context.configure(world.runtime, llm_endpoints=["inference", "storage", "listing", "unmetered"])
    reply = world.ask(
        world.token(limits=OUTPUT),
        path,
        HIDDEN,
        headers={"content-type": content_type, "content-length": "9"},
    )
    assert (reply.status, reply.code) == (415, "unsupported_content_type")
    assert reply.error["type"] == "invalid_request_error"
    assert content_type in reply.error["message"]


def test_two_content_types_are_refused(world: Gated) -> None:
    flow = world.flow(world.token())
    flow.request.headers.add("content-type", "application/sdp")
    assert asyncio.run(world.pass_through(flow)).status == 400


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/v1/chat/completions", ""),
        ("/v1/chat/completions", "Application/JSON; Charset=UTF-8"),
        ("/v1/chat/completions", "application/vnd.acme+json"),
        ("/v1/files", "multipart/form-data; boundary=b"),
        ("/v1/images/edits", "multipart/form-data; boundary=b"),
        ("/v1/images/edits", "application/json"),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=b"),
    ],
)
def test_a_type_that_the_endpoint_takes_passes(world: Gated, path: str, content_type: str) -> None:
    form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    body = form if "boundary" in content_type else {"model": "gpt-4o-mini", "messages": []}
    assert world.ask(world.token(), path, body, headers={"content-type": content_type}).code is None


def test_a_type_without_a_body_says_nothing(world: Gated) -> None:
    headers = {"content-type": "text/plain"}
    assert world.ask(world.token(), "/v1/models", b"", method="GET", headers=headers).code is None
