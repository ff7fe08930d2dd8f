"""Usage is asked for on behalf of clients that do not, and their streams are what they would have been."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.live.clients import CHAT_URL, HELLO, MODEL, authorised, chat, http, reverse_sdk, sdk
from tests.live.conftest import USAGE, Running, StartProxy, Tenant, delta
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Answer, Seen, Upstream, json_answer, stream_answer

UNASKED = [
    delta("one "),
    b": a comment\n\n",
    delta('two "usage":null '),
    delta(finish="stop"),
    b"data: [DONE]\n\n",
]
"""The stream of a call that did not ask for usage."""

ASKED = [
    *(event.replace(b"]}\n", b'], "usage": null}\n') for event in UNASKED[:-1]),
    b'data: {"id": "chatcmpl-1", "choices": [], "usage": %b}\n\n' % json.dumps(USAGE).encode(),
    UNASKED[-1],
]
"""The same of one that did, as OpenAI sends it: null in every chunk but the last."""

SAYS: dict[str, dict[str, Any]] = {
    "absent": {},
    "null": {"stream_options": None},
    "empty": {"stream_options": {}},
    "other": {"stream_options": {"include_obfuscation": False}},
    "true": {"stream_options": {"include_usage": True}},
    "false": {"stream_options": {"include_usage": False}},
}
OWN_WORD = ("true", "false")


def asks(seen: Seen) -> bool:
    return (seen.json.get("stream_options") or {}).get("include_usage") is True


def openai_like(seen: Seen) -> Answer:
    return stream_answer(ASKED if asks(seen) else UNASKED)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": MODEL, "messages": HELLO, "stream": True, **fields}).encode()


def raw(client: httpx.Client, url: str, token: str, content: bytes, **headers: str) -> bytes:
    """The body as it comes, undecoded."""
    headers = {"content-type": "application/json", **authorised(token), **headers}
    with client.stream("POST", url, content=content, headers=headers) as answer:
        return b"".join(answer.iter_raw())


@pytest.fixture(scope="module")
def shared(start_shared: Callable[..., Running]) -> Running:
    return start_shared()


@pytest.fixture
def running(shared: Running) -> Running:
    shared.upstream.handler = openai_like
    return shared


def clients(proxy: Proxy) -> Iterator[tuple[httpx.Client, str]]:
    """Each way through the proxy, with the URL to call."""
    for http2 in (False, True):
        with http(proxy, http2=http2) as client:
            yield client, CHAT_URL
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client, f"{proxy.reverse_url}/v1/chat/completions"


def test_streams_and_events(running: Running) -> None:
    """For every way and every wording: the client's bytes, what went upstream, and what was recorded."""
    for client, url in clients(running.proxy):
        for says, fields in SAYS.items():
            arrived = raw(client, url, running.token, body(**fields))
            assert arrived == b"".join(ASKED if says == "true" else UNASKED), says
            seen = running.upstream.requests[-1]
            assert asks(seen) is (says != "false")
            assert int(seen.header("content-length") or 0) == len(seen.body)
            call = running.events(1)[0]
            assert call["include_usage"] == (None if says in OWN_WORD else "added")
            assert call["request"]["body"] == json.loads(body(**fields))
            assert call["outcome"] == "ok"
            if says == "false":
                assert call["usage"]["source"] in ("tokenizer", "estimate")
            else:
                assert (call["usage"]["source"], call["usage"]["total_tokens"]) == ("api", 14)
            assert call["response"]["body"]["choices"][0]["message"]["content"] == 'one two "usage":null '


@pytest.mark.parametrize("client", [sdk, reverse_sdk])
def test_openai_sdk(client: Callable[[Proxy, str], openai.OpenAI], running: Running) -> None:
    """A loop that takes `choices[0]` of every chunk goes on working."""
    used = client(running.proxy, running.token)
    chunks = list(chat(used, stream=True))
    assert [piece.choices[0].delta.content for piece in chunks] == ["one ", 'two "usage":null ', None]
    assert all(piece.usage is None for piece in chunks)
    asked = list(chat(used, stream=True, stream_options={"include_usage": True}))
    assert asked[-1].choices == []
    assert asked[-1].usage.total_tokens == 14
    calls = running.events(2)
    assert [call["include_usage"] for call in calls] == ["added", None]
    assert [call["usage"]["total_tokens"] for call in calls] == [14, 14]


def test_every_split_of_the_usage_over_reads(running: Running) -> None:
    """From before the last chunk that has a null to behind the end."""
    head, tail = b"".join(ASKED[:3]), b"".join(ASKED[3:])
    with httpx.Client(trust_env=False, timeout=60) as client:
        for at in range(len(tail) + 1):
            pieces = [head + tail[:at], tail[at:]]
            running.upstream.handler = lambda seen, pieces=pieces: stream_answer(pieces)  # type: ignore[misc]
            arrived = raw(client, running.url, running.token, body())
            assert arrived == b"".join(UNASKED), at
    calls = running.events(len(tail) + 1)
    assert {call["usage"]["total_tokens"] for call in calls} == {14}


@pytest.mark.parametrize("way", [sdk, reverse_sdk])
def test_each_event_arrives_before_the_next_is_sent(
    way: Callable[[Proxy, str], openai.OpenAI], running: Running
) -> None:
    """The upstream sends an event only after the client has the one before: holding it back would hang."""
    words = ["one ", "two ", "three"]
    received = [threading.Event() for _ in words]
    pieces: list[Any] = []
    for word, event in zip(words, received, strict=True):
        pieces += [delta(word).replace(b"]}\n", b'], "usage": null}\n'), event]
    running.upstream.handler = lambda seen: stream_answer([*pieces, *ASKED[-2:]])
    seen = []
    with chat(way(running.proxy, running.token), stream=True, timeout=10) as stream:
        for piece in stream:
            received[len(seen)].set()
            seen.append(piece.choices[0].delta.content)
    assert seen == words
    assert running.events(1)[0]["usage"]["source"] == "api"


def gzipping(seen: Seen) -> Answer:
    """Codes its streams for clients that accept it, as a server behind a compressing edge does."""
    plain = openai_like(seen)
    if "gzip" not in (seen.header("accept-encoding") or ""):
        return plain
    headers = [*plain.headers, ("content-encoding", "gzip")]
    return Answer([gzip.compress(b"".join(plain.chunks), mtime=0)], headers=headers)


def test_coded_streams(running: Running) -> None:
    """Upstream is asked not to code what has to be cut, and only that; if it does all the same, it passes."""
    running.upstream.handler = gzipping
    with httpx.Client(trust_env=False, timeout=60) as client:

        def call(says: str) -> bytes:
            return raw(
                client, running.url, running.token, body(**SAYS[says]), **{"accept-encoding": "gzip, br"}
            )

        assert call("absent") == b"".join(UNASKED)
        assert running.upstream.requests[-1].header("accept-encoding") == "identity"
        assert gzip.decompress(call("false")) == b"".join(UNASKED)
        assert gzip.decompress(call("true")) == b"".join(ASKED)
        assert running.upstream.requests[-1].header("accept-encoding") == "gzip, br"
        always = [("content-type", "text/event-stream"), ("content-encoding", "gzip")]
        running.upstream.handler = lambda seen: Answer([gzip.compress(b"".join(ASKED))], headers=always)
        assert gzip.decompress(call("absent")) == b"".join(ASKED)
    assert [call["usage"]["source"] == "api" for call in running.events(4)] == [True, False, True, True]
    wait_for(lambda: "codes streams although asked not to" in running.proxy.output, "a word on it")


def test_answers_that_are_not_chunked(running: Running) -> None:
    """A length that the client was told would be wrong; the connection serves the next call all the same."""
    stream = [("content-type", "text/event-stream")]
    running.upstream.handler = lambda seen: Answer(ASKED, headers=stream, chunked=False)
    for client, url in clients(running.proxy):
        for _ in range(2):
            assert raw(client, url, running.token, body()) == b"".join(UNASKED)
    assert {call["usage"]["total_tokens"] for call in running.events(6)} == {14}


def test_requests_that_are_left_alone(running: Running) -> None:
    coded = gzip.compress(body())
    sent = [
        ("chat/completions", body()[:-1], {}),
        ("chat/completions", body(stream=False), {}),
        ("responses", body(), {}),
        ("embeddings", body(), {}),
    ]
    running.upstream.handler = lambda seen: json_answer({"error": {"message": "no"}}, 400)
    with httpx.Client(trust_env=False, timeout=60) as client:
        for path, content, headers in [*sent, ("chat/completions", coded, {"content-encoding": "gzip"})]:
            raw(client, f"{running.proxy.reverse_url}/v1/{path}", running.token, content, **headers)
            assert running.upstream.requests[-1].body == content
    assert [call["include_usage"] for call in running.events(5)] == [None] * 5


def test_body_that_comes_in_chunks(running: Running) -> None:
    with httpx.Client(trust_env=False, timeout=60) as client:
        headers = {"content-type": "application/json", **authorised(running.token)}
        content = iter([body()[:20], body()[20:]])
        with client.stream("POST", running.url, content=content, headers=headers) as answer:
            assert b"".join(answer.iter_raw()) == b"".join(UNASKED)
    assert asks(running.upstream.requests[-1])
    assert running.events(1)[0]["include_usage"] == "added"


def test_errors_pass(running: Running) -> None:
    """OpenAI knows the parameter: no error makes the proxy stop asking."""
    refusal = {"error": {"message": "Unknown parameter: 'stream_options'", "param": "stream_options"}}
    running.upstream.handler = lambda seen: json_answer(refusal, 400)
    with httpx.Client(trust_env=False, timeout=60) as client:
        for _ in range(2):
            assert json.loads(raw(client, running.url, running.token, body())) == refusal
            assert asks(running.upstream.requests[-1])
    assert [call["include_usage"] for call in running.events(2)] == ["added", "added"]


def test_off(start_proxy: StartProxy, tenant: Tenant, upstream: Upstream) -> None:
    upstream.handler = openai_like
    proxy = start_proxy("llm_include_usage=off")
    with http(proxy) as client:
        assert raw(client, CHAT_URL, tenant.token()[1], body()) == b"".join(UNASKED)
    assert upstream.requests[-1].body == body()
    assert proxy.wait_call()["include_usage"] is None


def test_a_further_host(start_proxy: StartProxy, tenant: Tenant, upstream: Upstream) -> None:
    """A server on this machine stands for the host that was named, which has to be known, or told."""
    url = "https://llm.example.com/v1/chat/completions"
    upstream.handler = openai_like
    proxy = start_proxy(
        "llm_hosts=api.openai.com,llm.example.com,deep.example.com", "llm_include_usage=auto,llm.example.com"
    )
    _, token = tenant.token()
    with http(proxy) as client:
        for host, asked in (("llm", True), ("deep", False)):
            assert raw(client, url.replace("llm", host), token, body()) == b"".join(UNASKED)
            assert asks(upstream.requests[-1]) is asked
        refusal = {"error": {"message": "Validation error at #/stream_options: Extra inputs"}}
        own = {"stream_options": {"include_something": True}}
        upstream.handler = lambda seen: json_answer(refusal, 400) if asks(seen) else openai_like(seen)
        assert json.loads(raw(client, url, token, body(**own))) == refusal, "by the client's own doing"
        assert json.loads(raw(client, url, token, body())) == refusal
        assert raw(client, url, token, body()) == b"".join(UNASKED), "not asked again"
    calls = proxy.wait_calls(5)
    assert [call["include_usage"] for call in calls] == ["added", None, "added", "added", None]
    assert calls[-1]["usage"]["source"] == "tokenizer"
