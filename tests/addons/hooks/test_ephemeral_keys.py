"""Secrets that the API makes for clients: none reaches them, whatever its answer looks like."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http

from addons.flow import flow_metadata
from addons.flow.call import Call, open_calls
from addons.hooks.ephemeral_keys import LONGEST_SECONDS, EphemeralKeys
from store.keys.ephemeral_keys import EphemeralKey, EphemeralKeyMaker
from tests.addons.hooks.gated import Gated, gated

PATH = "/v1/realtime/client_secrets"
SECRET = "ek_68af296e8e408191a1120ab6383263c2"
ANSWER = {
    "value": SECRET,
    "expires_at": 1_756_310_470,
    "session": {"type": "realtime", "model": "gpt-realtime", "id": "sess_1"},
}


@contextmanager
def minting(folder: Path) -> Iterator[Gated]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LLMPROXY_MASTER_KEY", base64.b64encode(b"m" * 32).decode())
        with gated(folder, llm_endpoints=["inference", "key_minting"]) as made:
            yield made
    open_calls.clear()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with minting(tmp_path_factory.mktemp("minting")) as made:
        yield made


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Gated]:
    """A proxy that the test may break."""
    with minting(tmp_path) as made:
        yield made


def asked(world: Gated) -> tuple[http.HTTPFlow, Call]:
    """Give a call that may make a secret, as it goes upstream."""
    flow = world.flow(world.token(), PATH, {"session": {"type": "realtime", "model": "gpt-realtime"}})
    reply = asyncio.run(world.pass_through(flow))
    assert reply.code is None, reply.error
    assert reply.call is not None
    open_calls[flow.id] = reply.call
    return flow, reply.call


def answered(world: Gated, body: Any, *, status: int = 200, **headers: str) -> tuple[http.Response, Call]:
    """Give what the client gets of such an answer."""
    flow, call = asked(world)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    flow.response = http.Response.make(status, content, {"content-type": "application/json"})
    for name, value in headers.items():
        flow.response.headers[name.replace("_", "-")] = value
    flow.response.raw_content = content
    hook = EphemeralKeys(world.runtime)
    flow.response.stream = True
    hook.responseheaders(flow)
    assert flow.response.stream is False, "it is held whole, or its beginning would be gone already"
    asyncio.run(hook.response(flow))
    assert flow_metadata.MINTS not in flow.metadata, "the final guard lets it pass"
    return flow.response, call


def opened(world: Gated, text: str) -> EphemeralKey:
    found = EphemeralKeyMaker(world.folder / "store.db").open(text)
    assert found is not None
    return found


@pytest.mark.parametrize("coded", [False, True], ids=["plain", "gzip"])
def test_the_client_gets_a_key_of_ours(world: Gated, coded: bool) -> None:
    written = json.dumps({**ANSWER, "expires_at": int(time.time()) + 60}).encode()
    response, call = (
        answered(world, gzip.compress(written), content_encoding="gzip")
        if coded
        else answered(world, written)
    )
    assert response.status_code == 200
    assert "content-encoding" not in response.headers
    assert SECRET not in response.get_text()
    given = response.json()
    assert given["session"] == ANSWER["session"]
    ours = opened(world, given["value"])
    assert ours.secret.reveal() == SECRET
    assert (ours.fingerprint, ours.host, ours.opens) == (call.fingerprint, "api.openai.com", "realtime")
    assert ours.model == "gpt-realtime"
    assert {secret.reveal() for secret in call.secrets} >= {SECRET, given["value"]}


@pytest.mark.parametrize("expires_at", [2**40, None])
def test_it_holds_no_longer_than_the_apis_own_may(world: Gated, expires_at: int | None) -> None:
    response, _ = answered(world, {**ANSWER, "expires_at": expires_at})
    left = opened(world, response.json()["value"]).expires_at - time.time()
    assert LONGEST_SECONDS - 60 < left <= LONGEST_SECONDS


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"ek_68af296e8e408191a1120ab6383263c2", {}),
        ({"new_form": {"key": SECRET}}, {}),
        (gzip.compress(json.dumps(ANSWER).encode())[:-20], {"content_encoding": "gzip"}),
        (ANSWER, {"x_secret": SECRET}),
        (b"", {}),
    ],
    ids=["text", "unknown-form", "broken-gzip", "in-a-header", "empty"],
)
def test_what_is_not_understood_never_reaches_the_client(
    world: Gated, body: Any, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    response, _ = answered(world, body, **headers)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "secret_withheld"
    shown = response.get_text() + str(response.headers) + caplog.text
    assert SECRET not in shown
    assert "withheld" in caplog.text


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({**ANSWER, "note": f"use {SECRET}"}, {}),
        (ANSWER, {"content_encoding": "gzip"}),
        (ANSWER, {"content_encoding": "rot13"}),
    ],
    ids=["twice", "plain-under-gzip", "plain-under-an-unknown-coding"],
)
def test_what_is_odd_and_understood_holds_our_key_only(
    world: Gated, body: Any, headers: dict[str, str]
) -> None:
    response, _ = answered(world, body, **headers)
    assert response.status_code == 200
    assert SECRET not in response.get_text()
    assert opened(world, response.json()["value"]).secret.reveal() == SECRET


def test_an_error_of_the_api_passes(world: Gated) -> None:
    error = {"error": {"message": "no such model", "code": "model_not_found"}}
    response, call = answered(world, error, status=404)
    assert (response.status_code, response.json()) == (404, error)
    assert SECRET not in {secret.reveal() for secret in call.secrets}


def test_without_a_master_key_nothing_is_handed_out(own: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there when the call was checked, and is gone when the answer comes."""
    flow, _ = asked(own)
    monkeypatch.delenv("LLMPROXY_MASTER_KEY")
    assert own.runtime.services is not None
    own.runtime.services.mint = EphemeralKeyMaker(own.folder / "store.db")
    flow.response = http.Response.make(200, json.dumps(ANSWER))
    asyncio.run(EphemeralKeys(own.runtime).response(flow))
    assert flow.response.status_code == 503
    assert flow.response.json()["error"]["code"] == "key_unavailable"
    assert SECRET not in flow.response.get_text()


def test_nor_once_the_proxy_has_closed(own: Gated, caplog: pytest.LogCaptureFixture) -> None:
    flow, _ = asked(own)
    own.runtime.close()
    flow.response = http.Response.make(200, json.dumps(ANSWER))
    asyncio.run(EphemeralKeys(own.runtime).response(flow))
    assert flow.response.status_code == 502
    assert SECRET not in flow.response.get_text() + caplog.text


def test_other_answers_are_left_alone(world: Gated) -> None:
    flow = world.flow(world.token())
    reply = asyncio.run(world.pass_through(flow))
    assert reply.code is None
    flow.response = http.Response.make(200, json.dumps(ANSWER), {"content-type": "application/json"})
    flow.response.stream = True
    hook = EphemeralKeys(world.runtime)
    hook.responseheaders(flow)
    asyncio.run(hook.response(flow))
    assert flow.response.stream is True
    assert flow.response.json() == ANSWER
