"""Rates, budgets and concurrency through a real proxy, with the openai SDK as the client."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import openai
import pytest

from store.tokens import limits
from tests.live.clients import HELLO, MODEL, authorised, chat, reverse_sdk, sdk
from tests.live.conftest import USAGE, Running, answer, chunk, delta
from tests.live.harness import wait_for
from tests.live.upstream import Answer, Seen, json_answer, stream_answer

HOUR = 3600


@pytest.fixture(scope="module")
def running(start_shared: Callable[..., Running]) -> Running:
    return start_shared("llm_endpoints=inference,storage,listing,unmetered")


@pytest.fixture(autouse=True)
def clean(running: Running) -> Iterator[None]:
    """Not across the border of an hour, where budgets begin anew; and with the usual upstream."""
    if HOUR - time.time() % HOUR < 40:
        time.sleep(40)
    running.tenant.store.update_project(running.tenant.project.id, limits=limits.NONE)
    yield
    running.upstream.handler = answer


def token(running: Running, max_requests: int | None = None, **of_token: Any) -> tuple[str, openai.OpenAI]:
    token_id, text = running.tenant.token(limits=limits.of(of_token), max_requests=max_requests)
    return token_id, reverse_sdk(running.proxy, text)


def rows(running: Running, sql: str, *values: Any) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(running.proxy.store, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute(sql, values).fetchall()
        connection.commit()
        return found


def spent(running: Running, subject: str) -> tuple[int, int]:
    """Tokens and nano-USD in all."""
    sql = "SELECT tokens, nano_usd FROM spend WHERE subject = ? AND period = 'total'"
    found = rows(running, sql, subject)
    return (found[0]["tokens"], found[0]["nano_usd"]) if found else (0, 0)


def held(running: Running, token_id: str) -> int:
    sql = "SELECT count(*) AS n FROM holds WHERE token_id = ? AND settled_at = 0"
    return int(rows(running, sql, token_id)[0]["n"])


def settled(running: Running, token_id: str, tokens: int) -> None:
    wait_for(lambda: held(running, token_id) == 0, "no hold is left")
    wait_for(lambda: spent(running, token_id)[0] == tokens, f"{tokens} tokens are settled")


def refused(client: openai.OpenAI, **settings: Any) -> openai.RateLimitError:
    with pytest.raises(openai.RateLimitError) as caught:
        chat(client, **settings)
    return caught.value


def seen(running: Running) -> int:
    return len(running.upstream.requests)


def test_requests_per_minute(running: Running) -> None:
    token_id, client = token(running, requests_per_minute=2)
    for left in ("1", "0"):
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO)  # type: ignore[arg-type]
        assert raw.headers["x-llmproxy-ratelimit-limit-requests"] == "2"
        assert raw.headers["x-llmproxy-ratelimit-remaining-requests"] == left
        assert raw.headers["x-ratelimit-remaining-tokens"] == "149984", "the API's own stay as they are"
    error = refused(client)
    headers = error.response.headers
    assert (error.code, error.type) == ("rate_limit_exceeded", "requests")
    assert "proxy token's limit of 2 requests per minute" in error.message
    assert headers["x-should-retry"] == "true"
    assert 0 < int(headers["retry-after"]) <= 61
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("2", "0")
    assert headers["x-ratelimit-reset-requests"].endswith("ms")
    # Fifty-eight seconds later the SDK has to wait for a moment, does, and succeeds.
    rows(running, "UPDATE rates SET second = second - 58 WHERE subject = ?", token_id)
    begun = seen(running)
    assert chat(client.with_options(max_retries=2)).choices
    assert seen(running) == begun + 1
    settled(running, token_id, 3 * USAGE["total_tokens"])


def test_tokens_per_minute(running: Running) -> None:
    token_id, client = token(running, tokens_per_minute=1500)
    assert chat(client, max_tokens=1000).choices
    settled(running, token_id, USAGE["total_tokens"])
    assert chat(client, max_tokens=1000).choices, "what was reserved and not used counts no more"
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "x" * 6000}], max_tokens=1000
        )
    error = caught.value
    assert (error.code, error.type) == ("rate_limit_exceeded", "tokens")
    assert error.response.headers["x-ratelimit-limit-tokens"] == "1500"
    assert error.response.headers["x-should-retry"] == "false", "it is larger than the limit ever allows"
    assert "never allowed" in error.message


def test_concurrent_calls(running: Running) -> None:
    token_id, client = token(running, max_concurrent=1)
    go = threading.Event()
    running.upstream.handler = lambda _: stream_answer([delta("one"), go, delta(finish="stop")])
    stream = chat(client, stream=True)
    next(iter(stream))
    error = refused(client)
    assert (error.code, error.response.headers["retry-after"]) == ("rate_limit_exceeded", "1")
    assert "1 calls at the same time" in error.message
    go.set()
    assert list(stream)
    running.upstream.handler = answer
    assert chat(client.with_options(max_retries=3)).choices
    wait_for(lambda: held(running, token_id) == 0, "no hold is left")


@pytest.mark.parametrize("whose", ["proxy token", "project"])
@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        ({"usd": {"day": "0.0001"}}, "budget of 0.0001 USD per day"),
        ({"tokens": {"month": 100}}, "budget of 100 tokens per month"),
        ({"tokens": {"total": 100}}, "budget of 100 tokens in all"),
    ],
)
def test_a_budget(running: Running, whose: str, budgets: dict[str, Any], words: str) -> None:
    """Used up, it is not worth another try, and the SDK makes none."""
    own = {"budgets": budgets, "budget_mode": "strict"}
    if whose == "project":
        running.tenant.store.update_project(running.tenant.project.id, limits=limits.of(own))
    _, client = token(running, **({} if whose == "project" else own))
    begun, calls = seen(running), len(running.proxy.calls())
    error = refused(client.with_options(max_retries=3))
    assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
    assert error.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.response.headers
    assert f"{whose}'s {words}" in error.message
    assert ("It resets at 2" in error.message) is ("total" not in budgets.get("tokens", {}))
    assert seen(running) == begun
    assert len(running.proxy.wait_calls(calls + 1)) == calls + 1, "no retries"


def test_the_number_of_requests(running: Running) -> None:
    token_id, client = token(running, max_requests=1)
    assert chat(client).choices
    error = refused(client.with_options(max_retries=3))
    assert (error.code, error.response.headers["x-should-retry"]) == ("insufficient_quota", "false")
    assert "1 requests are used up" in error.message
    assert running.tenant.store.get_token(token_id).request_count == 1


def test_what_is_settled_is_what_was_used(running: Running) -> None:
    token_id, client = token(running, budgets={"usd": {"day": "1"}, "tokens": {"day": 100_000}})
    assert chat(client).choices
    assert len(list(chat(client, stream=True))) > 2
    settled(running, token_id, 2 * USAGE["total_tokens"])
    usd = sum(float(call["cost"]["usd"]) for call in running.proxy.calls() if call["token_id"] == token_id)
    assert spent(running, token_id)[1] == pytest.approx(usd * 1e9, abs=2)


def test_what_fails_costs_nothing(running: Running) -> None:
    """An error of the API, a refusal after the body was read, an endpoint that bills nothing."""
    token_id, client = token(running, budgets={"tokens": {"day": 50_000}}, models=["gpt-4o-mini"])
    running.upstream.handler = lambda _: json_answer({"error": {"message": "no", "type": "x"}}, 500)
    with pytest.raises(openai.InternalServerError):
        chat(client)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="o1", messages=HELLO)  # type: ignore[arg-type]
    running.upstream.handler = answer
    assert client.models.list().object == "list"
    settled(running, token_id, 0)


def test_a_client_that_leaves_is_charged_with_what_was_held(running: Running) -> None:
    token_id, client = token(running, budgets={"tokens": {"day": 50_000}}, budget_mode="strict")
    never = threading.Event()
    running.upstream.handler = lambda _: stream_answer([delta("one"), never])
    stream = chat(client, stream=True, max_tokens=2000)
    next(iter(stream))
    stream.close()
    wait_for(lambda: held(running, token_id) == 0, "no hold is left")
    wait_for(lambda: spent(running, token_id)[0] > 0, "it is charged")
    assert 2000 < spent(running, token_id)[0] < 2500, "with what was held"
    never.set()


def test_strict_and_no_price(running: Running) -> None:
    _, client = token(running, budgets={"usd": {"day": "1"}}, budget_mode="strict")
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model="a-model-of-ours", messages=HELLO)  # type: ignore[arg-type]
    assert caught.value.code == "price_unknown"
    assert "llm_prices" in caught.value.message
    _, expected = token(running, budgets={"usd": {"day": "1"}})
    assert expected.chat.completions.create(model="a-model-of-ours", messages=HELLO).choices  # type: ignore[arg-type]


def test_strict_and_no_bound(running: Running) -> None:
    _, client = token(running, budgets={"tokens": {"day": 10_000_000}}, budget_mode="strict")
    search: Any = [{"type": "web_search"}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input="x", tools=search)
    assert (caught.value.code, caught.value.param) == ("use_unbounded", "max_tool_calls")
    assert client.responses.create(model=MODEL, input="x", tools=search, max_tool_calls=2).output


def test_a_form_is_reserved_before_it_goes_upstream(running: Running) -> None:
    _, client = token(running, budgets={"usd": {"day": "0.00001"}}, budget_mode="strict")
    begun = seen(running)
    with pytest.raises(openai.RateLimitError) as caught:
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"x" * 1000))
    assert caught.value.code == "insufficient_quota"
    assert seen(running) == begun
    token_id, client = token(running, budgets={"usd": {"day": "5"}}, budget_mode="strict")
    running.upstream.handler = lambda _: json_answer(
        {"text": "hi", "usage": {"type": "duration", "seconds": 60}}
    )
    assert client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"x" * 1000)).text == "hi"
    wait_for(lambda: spent(running, token_id)[1] == 6_000_000, "a minute is settled")


LONG = 6000
"""Tokens of a stream that nobody expected to be so long."""


def long_stream(seen: Seen, *before_the_end: Any) -> Answer:
    usage = {"prompt_tokens": 10, "completion_tokens": LONG, "total_tokens": LONG + 10}
    chunks: list[Any] = []
    for _ in range(LONG // 100):
        chunks += [delta("word ")] * 100 + [0.01]
    end = [delta(finish="stop"), chunk(usage=usage), b"data: [DONE]\n\n"]
    return stream_answer([*chunks, *before_the_end, *end])


def test_a_stream_may_finish(running: Running) -> None:
    token_id, client = token(running, budgets={"tokens": {"hour": 3000}})
    running.upstream.handler = long_stream
    assert len(list(chat(client, stream=True))) >= LONG
    settled(running, token_id, LONG + 10)
    assert refused(client).code == "insufficient_quota"


def test_a_hold_grows_with_its_stream(running: Running) -> None:
    token_id, client = token(running, budgets={"tokens": {"hour": 20_000}, "usd": {"hour": "1"}})
    go = threading.Event()
    running.upstream.handler = lambda seen: long_stream(seen, go)
    sql = "SELECT tokens, nano_usd FROM holds WHERE token_id = ? AND settled_at = 0"
    with chat(client, stream=True) as stream:
        first = rows(running, sql, token_id)[0]
        reading = threading.Thread(target=lambda: list(stream))
        reading.start()
        wait_for(lambda: rows(running, sql, token_id)[0]["tokens"] > LONG, "the hold has grown")
        last = rows(running, sql, token_id)[0]
        go.set()
        reading.join(30)
    assert first["tokens"] < 1100
    assert last["nano_usd"] > 4 * first["nano_usd"]
    settled(running, token_id, LONG + 10)


def test_a_stream_is_cut(running: Running) -> None:
    token_id, client = token(running, budgets={"tokens": {"hour": 3000}}, on_budget_end="cut")
    running.upstream.handler = long_stream
    got: list[Any] = []
    with pytest.raises(openai.APIError) as caught:
        got.extend(chat(client, stream=True))
    assert caught.value.code == "insufficient_quota"
    assert "3000 tokens per hour" in caught.value.message
    assert 1000 < len(got) < 5000
    wait_for(lambda: held(running, token_id) == 0, "no hold is left")
    event = wait_for(
        lambda: [call for call in running.proxy.calls() if call["token_id"] == token_id], "the event"
    )[0]
    assert (event["outcome"], event["error"]["code"]) == ("budget_ended", "insufficient_quota")
    assert event["usage"]["complete"] is False
    used = spent(running, token_id)[0]
    assert len(got) - 10 <= used < 5000, "what was made is settled, and no more is made"


def test_a_stream_over_http2_is_cut(running: Running) -> None:
    """Through CONNECT; the next call goes over the same connection."""
    cut = limits.of({"budgets": {"tokens": {"hour": 3000}}, "on_budget_end": "cut"})
    client = sdk(running.proxy, running.tenant.token(limits=cut)[1], http2=True)
    running.upstream.handler = long_stream
    with pytest.raises(openai.APIError) as caught:
        list(chat(client, stream=True))
    assert caught.value.code == "insufficient_quota"
    running.upstream.handler = answer
    assert client.models.list().object == "list"


def test_the_end_of_a_cut_stream_is_a_clean_one(running: Running) -> None:
    """Also over HTTP/1.1 kept alive: the next call goes over the same connection."""
    _, text = running.tenant.token(
        limits=limits.of({"budgets": {"tokens": {"hour": 3000}}, "on_budget_end": "cut"})
    )
    running.upstream.handler = long_stream
    with httpx.Client(trust_env=False, timeout=60) as client:
        body = {"model": MODEL, "messages": HELLO, "stream": True}
        said = client.post(running.url, headers=authorised(text), json=body).text
        assert (
            client.get(f"{running.proxy.reverse_url}/v1/models", headers=authorised(text)).status_code == 200
        )
    last = said.rstrip().rsplit("\n\n", 1)[-1]
    assert last.startswith('data: {"error": {"message": "The proxy token')
    assert said.endswith("\n\n")


def test_a_stream_of_responses_is_cut(running: Running) -> None:
    token_id, client = token(running, budgets={"tokens": {"hour": 3000}}, on_budget_end="cut")

    def long_response(seen: Seen) -> Answer:
        event = (
            b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a "}\n\n'
        )
        chunks: list[Any] = []
        for _ in range(60):
            chunks += [event] * 100 + [0.01]
        return stream_answer(chunks)

    running.upstream.handler = long_response
    with pytest.raises(openai.APIError) as caught:
        list(client.responses.create(model=MODEL, input="x", stream=True))
    assert caught.value.code == "insufficient_quota"
    wait_for(lambda: held(running, token_id) == 0, "no hold is left")


def test_a_proxy_that_ends_settles_what_is_held(start_shared: Callable[..., Running]) -> None:
    """The call that it breaks off is charged with what it held: what it has used nobody knows."""
    ending = start_shared()
    never = threading.Event()
    ending.upstream.handler = lambda _: stream_answer([delta("one"), never])
    token_id, client = token(ending, budgets={"tokens": {"day": 50_000}}, budget_mode="strict")
    stream = chat(client, stream=True, max_tokens=2000)
    next(iter(stream))
    assert held(ending, token_id) == 1
    ending.proxy.stop()
    never.set()
    assert held(ending, token_id) == 0
    assert 2000 < spent(ending, token_id)[0] < 2500
