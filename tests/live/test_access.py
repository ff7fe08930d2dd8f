"""What tokens and projects may call, from where, and how much they may ask for, through a real proxy."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from store.tokens import limits
from tests.live.clients import HELLO, MODEL, authorised, chat, reverse_sdk
from tests.live.conftest import Running
from tests.live.harness import wait_for

StartShared = Callable[..., Running]


@pytest.fixture(scope="module")
def running(start_shared: StartShared) -> Running:
    return start_shared("llm_models=gpt-4o*,o3-mini,text-embedding-*")


@pytest.fixture(autouse=True)
def no_limits_of_the_project(running: Running) -> None:
    running.tenant.store.update_project(running.tenant.project.id, limits=limits.NONE)


def token(running: Running, **of_token: Any) -> tuple[str, str]:
    return running.tenant.token(limits=limits.of(of_token))


def client(running: Running, **of_token: Any) -> openai.OpenAI:
    return reverse_sdk(running.proxy, token(running, **of_token)[1])


def of_project(running: Running, **changes: Any) -> None:
    running.tenant.store.update_project(running.tenant.project.id, limits=limits.of(changes))


def test_networks(running: Running) -> None:
    """The reverse listener is at 127.0.0.2, and its clients come from 127.0.0.1."""
    assert chat(client(running, networks=["127.0.0.0/8"])).choices
    with pytest.raises(openai.PermissionDeniedError) as caught:
        chat(client(running, networks=["10.0.0.0/8"]))
    assert caught.value.code == "network_not_allowed"
    assert "127.0.0.1" in caught.value.message
    of_project(running, networks=["192.0.2.0/24"])
    with pytest.raises(openai.PermissionDeniedError, match=r"project allows only 192\.0\.2\.0/24"):
        chat(client(running))


def test_endpoints(running: Running) -> None:
    only_chat = client(running, endpoints=["chat"])
    assert chat(only_chat).choices
    with pytest.raises(openai.PermissionDeniedError) as caught:
        only_chat.embeddings.create(model="text-embedding-3-small", input="x")
    assert caught.value.code == "endpoint_not_allowed"
    of_project(running, endpoints=["listing"])
    with pytest.raises(openai.PermissionDeniedError, match="project allows listing"):
        chat(only_chat)


def test_models_have_to_be_allowed_by_all(running: Running) -> None:
    of_project(running, models=["gpt-*", "text-*"])
    mine = client(running, models=["*-mini", "o1", "text-embedding-3-small"])
    assert chat(mine).choices
    assert mine.embeddings.create(model="text-embedding-3-small", input="x").data
    for model, whose in (
        ("gpt-4o", "models of the proxy token"),
        ("o3-mini", "models of its project"),
        ("o1", "option llm_models"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            mine.chat.completions.create(model=model, messages=HELLO)  # type: ignore[arg-type]
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        assert whose in caught.value.message


def test_an_answer_that_may_be_too_long(running: Running) -> None:
    mine = client(running, max_output_tokens=100)
    seen = len(running.upstream.requests)
    with pytest.raises(openai.BadRequestError) as caught:
        chat(mine, max_tokens=101)
    assert (caught.value.code, caught.value.param) == ("max_output_tokens_exceeded", "max_tokens")
    with pytest.raises(openai.BadRequestError):
        chat(mine, n=2, max_completion_tokens=51)
    with pytest.raises(openai.BadRequestError):
        mine.responses.create(model=MODEL, input="x", max_output_tokens=101)
    assert len(running.upstream.requests) == seen
    assert chat(mine, max_tokens=100).choices
    of_project(running, max_output_tokens=99)
    with pytest.raises(openai.BadRequestError, match="at most 99"):
        chat(mine, max_tokens=100)


def test_a_limit_is_written_where_there_is_none(running: Running) -> None:
    mine = client(running, max_output_tokens=100)
    chat(mine)
    mine.chat.completions.create(model="o3-mini", messages=HELLO)  # type: ignore[arg-type]
    mine.responses.create(model=MODEL, input="x")
    mine.embeddings.create(model="text-embedding-3-small", input="x")
    sent = [seen.json for seen in running.upstream.requests[-4:]]
    fields = [{name: value for name, value in body.items() if "max" in name} for body in sent]
    assert fields == [{"max_tokens": 100}, {"max_completion_tokens": 100}, {"max_output_tokens": 100}, {}]


def test_the_event_has_the_request_of_the_client(running: Running) -> None:
    """Also where it was coded, and where usage is asked for beside the limit."""
    token_id, text = token(running, max_output_tokens=100)
    body = {"model": MODEL, "messages": HELLO, "stream": True}
    added = {"max_tokens": 100, "stream_options": {"include_usage": True}}
    with httpx.Client(trust_env=False, timeout=60) as plain:
        for coding, content in (("gzip", gzip.compress(json.dumps(body).encode())), ("", json.dumps(body))):
            headers = {**authorised(text), "content-type": "application/json"}
            headers |= {"content-encoding": coding} if coding else {}
            answered = plain.post(running.url, headers=headers, content=content)
            assert answered.status_code == 200
    for seen in running.upstream.requests[-2:]:
        assert seen.header("content-encoding") is None
        assert seen.json == {**body, **added}

    def events() -> list[Any]:
        return [call for call in running.proxy.calls() if call["token_id"] == token_id]

    wait_for(lambda: len(events()) == 2, "both events")
    assert [call["request"]["body"] for call in events()] == [body, body]


def test_a_body_that_cannot_be_read(running: Running) -> None:
    _, text = token(running, max_output_tokens=100)
    with httpx.Client(trust_env=False, timeout=60) as plain:
        for content in (b"not JSON", b"[]", b'{"model": "gpt-4o"'):
            headers = {**authorised(text), "content-type": "application/json"}
            assert plain.post(running.url, headers=headers, content=content).status_code in (400, 404)
