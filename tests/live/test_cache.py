"""Answers from the cache, by the openai SDK and a real proxy (the rules are in tests/addons/hooks)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from scripts.cli import main
from tests.live.clients import authorised, chat, reverse_sdk, sdk
from tests.live.conftest import CHAT, Running, chat_chunks
from tests.live.harness import wait_for
from tests.live.test_management_api import TOKEN, client, ok
from tests.live.test_on_abort import Paused, begin, left
from tests.live.upstream import json_answer, stream_answer

ASKS = {"cache-control": "public, max-age=600"}


@pytest.fixture(scope="module")
def running(start_shared: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory) -> Running:
    file = tmp_path_factory.mktemp("cache") / "cache.db"
    return start_shared(
        f"llm_cache=sqlite:{file}",
        "llm_management=127.0.0.1:0",
        environment={"LLMPROXY_MANAGEMENT_TOKEN": TOKEN},
    )


def ask(sdk: openai.OpenAI, word: str, **settings: Any) -> Any:
    """One chat of its own, whose answer may be kept; the answer as the SDK has it, and its headers."""
    return chat(sdk.with_raw_response, user=word, extra_headers=ASKS, **settings)  # type: ignore[arg-type]


def test_an_answer_is_given_again(running: Running) -> None:
    calls = []
    running.upstream.handler = lambda seen: calls.append(seen) or json_answer(CHAT)
    first, second = (ask(reverse_sdk(running.proxy, running.token), "json") for _ in range(2))
    assert first.parse() == second.parse()
    assert second.parse().choices[0].message.content == "one two three"
    assert "; hit;" in second.headers["cache-status"]
    assert int(second.headers["age"]) >= 0
    assert len(calls) == 1
    missed, hit = running.events(2)
    assert (missed["cache"], hit["cache"]) == ("miss", "hit")
    assert hit["saved"]["usd"] == missed["cost"]["usd"]
    assert hit["saved"]["of"] == missed["event_id"]


@pytest.mark.parametrize("http2", [False, True])
def test_a_stream_is_given_again_with_its_events(running: Running, http2: bool) -> None:
    calls = []
    running.upstream.handler = lambda seen: calls.append(seen) or stream_answer(chat_chunks())
    texts = []
    for _ in range(2):
        answer = ask(sdk(running.proxy, running.token, http2=http2), f"stream {http2}", stream=True)
        chunks = list(answer.parse())
        assert all(chunk.usage is None for chunk in chunks), "it was not asked for"
        texts.append("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
        assert answer.headers["content-type"].startswith("text/event-stream")
    assert texts == ["one two three"] * 2
    assert "; hit;" in answer.headers["cache-status"]
    assert len(calls) == 1
    _, hit = running.events(2)
    assert hit["stream"] is True
    assert hit["saved"]["total_tokens"] == 14


def test_another_project_gets_its_own(running: Running) -> None:
    calls = []
    running.upstream.handler = lambda seen: calls.append(seen) or json_answer(CHAT)
    other = running.tenant.store.create_project("other", "sk-other-0123456789abcdefghij")
    _, text = running.tenant.store.create_token(other.id)
    for token in (running.token, text.reveal(), running.token):
        ask(reverse_sdk(running.proxy, token), "projects")
    assert [seen.header("authorization") for seen in calls][1] == "Bearer sk-other-0123456789abcdefghij"
    assert [event["cache"] for event in running.events(3)] == ["miss", "miss", "hit"]


def test_what_a_client_has_left_is_not_kept(running: Running) -> None:
    Paused(running.upstream)
    with left(running):
        begin(reverse_sdk(running.proxy, running.token), user="left", extra_headers=ASKS)
    running.upstream.handler = lambda seen: stream_answer(chat_chunks())
    answer = ask(reverse_sdk(running.proxy, running.token), "left", stream=True)
    assert "fwd=uri-miss" in answer.headers["cache-status"]
    list(answer.parse())
    assert [event["outcome"] for event in running.events(2)] == ["client_aborted", "ok"]


def test_a_purge_by_api_and_command(running: Running) -> None:
    running.upstream.handler = lambda seen: json_answer(CHAT)
    path = "/v1/chat/completions"
    url = f"{running.proxy.reverse_url}{path}"
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "purge"}]}

    def result() -> str:
        answer = httpx.post(url, json=body, headers={**authorised(running.token), **ASKS}, trust_env=False)
        return answer.headers["x-proxy-cache"]

    assert [result(), result()] == ["stored", "hit"]
    with client(running.proxy) as api:
        assert ok(api.post("/cache/purge", json={"method": "POST", "url": path})) == {"deleted": True}
    assert [result(), result()] == ["stored", "hit"]
    main(["--store", str(running.proxy.store), "cache", "purge", "--project", "acme"], standalone_mode=False)
    wait_for(lambda: result() == "stored", "the purge is carried out", 5)
