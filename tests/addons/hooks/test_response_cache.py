"""What is answered from the cache, and what is not, asked hook by hook (see also tests/live)."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mitmproxy import http

from addons.openai.http import parsed_events
from store.cache.purge import Purge
from store.core.errors import Invalid
from store.usage.reports import Usage, budgets, usage
from tests.addons.hooks.cached import ANSWER, ASKS, JSON, Cached, Upstream, cached
from tests.addons.hooks.gated import CHAT, HELLO
from tests.live.conftest import RESPONSE, chat_chunks, chunk, response_chunks

STREAM = {"content-type": "text/event-stream; charset=utf-8"}
FAILED = b'data: {"error": {"message": "x"}}\n\n'
STREAMED = {**HELLO, "stream": True}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cached]:
    with cached(tmp_path_factory.mktemp("cached")) as made:
        yield made


@pytest.fixture
def proxy(shared: Cached) -> Iterator[Cached]:
    """A proxy whose cache is empty. Who reads its events has one of its own."""
    settings = shared.cache.settings
    shared.cache.purge(Purge(time.time()))
    shared.cache._purges = ()
    shared.seen.clear()
    yield shared
    shared.cache.use_settings(settings)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cached]:
    with cached(tmp_path) as made:
        yield made


@pytest.fixture
def eager(proxy: Cached) -> Cached:
    """Keeps the answers of all calls for a minute."""
    proxy.cache.use_settings(replace(proxy.cache.settings, policy="all", ttl=60))
    return proxy


def is_hit(answer: http.Response) -> bool:
    status = answer.headers.get("cache-status", "")
    assert ("; hit" in status) == (answer.headers.get("x-proxy-cache") in ("hit",))
    return "; hit" in status


def second_hits(proxy: Cached, upstream: Upstream | None = None, **how: Any) -> bool:
    """Whether the second of two equal calls is a hit."""
    proxy.ask(upstream, **how)
    return is_hit(proxy.ask(upstream, **how))


def test_an_equal_call_is_answered_as_the_first(proxy: Cached) -> None:
    first, second = proxy.ask(), proxy.ask()
    assert "stored" in first.headers["cache-status"]
    assert first.headers["x-proxy-cache"] == "stored"
    assert is_hit(second)
    assert second.content == json.dumps(ANSWER).encode()
    assert second.headers["age"] == "0"
    assert second.headers["content-length"] == str(len(second.content or b""))
    assert second.headers["cache-control"] == "public, max-age=60"
    assert first.headers["x-proxy-cache-key"] == second.headers["x-proxy-cache-key"]
    assert len(proxy.seen) == 1


@pytest.mark.parametrize(
    ("upstream", "body"),
    [
        (Upstream(), HELLO),
        (Upstream(), {**HELLO, "messages": [{"role": "user", "content": "hello " * 10_000}]}),
        (Upstream(pieces=tuple(chat_chunks()), headers=STREAM), STREAMED),
        (Upstream(pieces=tuple(one[:-1] for one in chat_chunks()), headers=STREAM), STREAMED),
    ],
    ids=["json", "large-request", "stream", "parted-by-one-line-end"],
)
def test_an_answer_that_is_kept_is_parsed_once(
    own: Cached, monkeypatch: pytest.MonkeyPatch, upstream: Upstream, body: Any
) -> None:
    parsed: Counter[str] = Counter()

    def counted(parse: Callable[..., Any]) -> Callable[..., Any]:
        def count(text: str | bytes, **how: Any) -> Any:
            parsed[text if isinstance(text, str) else text.decode()] += 1
            return parse(text, **how)

        return count

    monkeypatch.setattr(json, "loads", counted(json.loads))
    monkeypatch.setattr(msgspec.json, "decode", counted(msgspec.json.decode))
    monkeypatch.setattr(parsed_events, "_decode", counted(parsed_events._decode))
    answer = own.ask(upstream, body=body)
    own.world.runtime.close()
    monkeypatch.undo()
    (event,) = own.events()
    assert "stored" in answer.headers["cache-status"]
    assert event["cache"] == "miss"
    assert event["usage"]["output_tokens"] > 0
    assert [times for text, times in parsed.items() if "chatcmpl" in text and times != 1] == []
    assert sum("chatcmpl" in text for text in parsed) == (len(upstream.pieces) - 1 if upstream.pieces else 1)
    assert sum(times for text, times in parsed.items() if "messages" in text) <= 1


def test_cache_status_is_that_of_rfc_9211(proxy: Cached) -> None:
    first, second = proxy.ask(), proxy.ask()
    key = first.headers["x-proxy-cache-key"]
    assert first.headers["cache-status"] == f'llm-proxy; fwd=uri-miss; stored; ttl=60; key="{key}"'
    assert second.headers["cache-status"] in (
        f'llm-proxy; hit; ttl=60; key="{key}"',
        f'llm-proxy; hit; ttl=59; key="{key}"',
    )


def test_without_the_option_nothing_is_kept_or_said(tmp_path: Path) -> None:
    with cached(tmp_path, llm_cache="") as proxy:
        assert not second_hits(proxy)
        assert "cache-status" not in proxy.ask().headers
        assert all("cache" not in event for event in proxy.events())


@pytest.mark.parametrize(
    "control",
    [
        "",
        "public",
        "max-age=60",
        "public, max-age=0",
        "public, max-age=x",
        "no-store, public, max-age=60",
        "no-cache, public, max-age=60",
    ],
)
def test_a_post_has_to_ask_for_it(proxy: Cached, control: str) -> None:
    headers = {"cache-control": control} if control else {}
    assert not second_hits(proxy, headers=headers)
    assert len(proxy.seen) == 2


@pytest.mark.parametrize("control", ["public, max-age=60", "public, s-maxage=60", "s-maxage=9, public"])
def test_a_post_that_asks(proxy: Cached, control: str) -> None:
    assert second_hits(proxy, headers={"cache-control": control})


@pytest.mark.parametrize(
    ("changes", "hits"),
    [
        ({"body": {**HELLO, "temperature": 0}}, False),
        ({"path": f"{CHAT}?api-version=1"}, False),
        ({"headers": {**ASKS, "accept": "text/plain"}}, False),
        ({"headers": {**ASKS, "accept-language": "de"}}, False),
        ({"headers": {**ASKS, "openai-beta": "x"}}, False),
        ({"headers": {**ASKS, "x-llm-proxy-cache-namespace": "b"}}, False),
        ({"headers": {**ASKS, "user-agent": "another"}}, True),
        ({"headers": {**ASKS, "x-request-id": "another"}}, True),
        ({"headers": {"cache-control": "public, max-age=3600"}}, True),
    ],
)
def test_what_counts_in_the_key(proxy: Cached, changes: dict[str, Any], hits: bool) -> None:
    proxy.ask()
    assert is_hit(proxy.ask(**changes)) is hits


def test_the_order_of_parameters_does_not_count(proxy: Cached) -> None:
    proxy.ask(path=f"{CHAT}?a=1&b=2")
    assert is_hit(proxy.ask(path=f"{CHAT}?b=2&a=1"))


def test_a_coded_body_is_the_same_as_a_plain_one(proxy: Cached) -> None:
    proxy.ask()
    coded = gzip.compress(json.dumps(HELLO).encode())
    assert is_hit(proxy.ask(body=coded, headers={**ASKS, "content-encoding": "gzip"}))


def test_a_namespace_has_its_own_answers_and_does_not_go_upstream(proxy: Cached) -> None:
    headers = {**ASKS, "x-llm-proxy-cache-namespace": " team a! "}
    assert second_hits(proxy, headers=headers)
    assert is_hit(proxy.ask(headers={**ASKS, "x-llm-proxy-cache-namespace": "teama"}))
    assert not is_hit(proxy.ask())
    assert all("x-llm-proxy-cache-namespace" not in request.headers for request in proxy.seen)


def test_the_namespace_never_goes_upstream_without_a_cache(tmp_path: Path) -> None:
    with cached(tmp_path, llm_cache="") as proxy:
        proxy.ask(headers={"x-llm-proxy-cache-namespace": "a"})
        assert "x-llm-proxy-cache-namespace" not in proxy.seen[0].headers


def test_tokens_of_a_project_share_and_projects_do_not(proxy: Cached) -> None:
    proxy.ask()
    assert is_hit(proxy.ask(token=proxy.world.token()))
    other = proxy.world.store.create_project("other", "sk-other-0123456789abcdefghij")
    stranger = proxy.world.store.create_token(other.id)[1].reveal()
    assert not is_hit(proxy.ask(token=stranger))
    assert is_hit(proxy.ask(token=stranger))


def test_tokens_share_nothing_where_that_is_the_scope(tmp_path: Path) -> None:
    with cached(tmp_path, llm_cache_scope="token") as proxy:
        proxy.ask()
        assert not is_hit(proxy.ask(token=proxy.world.token()))
        assert is_hit(proxy.ask())


def test_nor_where_objects_belong_to_tokens(tmp_path: Path) -> None:
    with cached(tmp_path, llm_ownership="token") as proxy:
        proxy.ask()
        assert not is_hit(proxy.ask(token=proxy.world.token()))


def test_users_share_nothing_where_that_is_the_scope(tmp_path: Path) -> None:
    with cached(tmp_path, llm_cache_scope="user") as proxy:
        ada, ada_too = (proxy.world.token(metadata={"user_id": "ada"}) for _ in range(2))
        bob, nobody = proxy.world.token(metadata={"user_id": "bob"}), proxy.world.token()
        proxy.ask(token=ada)
        assert is_hit(proxy.ask(token=ada_too))
        assert not is_hit(proxy.ask(token=bob))
        assert not is_hit(proxy.ask(token=nobody))
        assert not is_hit(proxy.ask(token=proxy.world.token()))


def test_users_by_header_are_users(tmp_path: Path) -> None:
    with cached(tmp_path, llm_cache_scope="user") as proxy:
        token = proxy.world.token(header_metadata=["user_id"])
        headers = {**ASKS, "x-llmproxy-metadata-user_id": "ada"}
        proxy.ask(token=token, headers=headers)
        assert is_hit(proxy.ask(token=token, headers=headers))
        assert not is_hit(proxy.ask(token=token, headers={**ASKS, "x-llmproxy-metadata-user_id": "bob"}))
        assert not is_hit(proxy.ask(token=token))


def test_nobody_gets_anothers_answers_by_a_claim(tmp_path: Path) -> None:
    with cached(tmp_path, llm_cache_scope="user") as proxy:
        ada = proxy.world.token(metadata={"user_id": "ada"})
        headers = {**ASKS, "x-llmproxy-metadata-user_id": "ada"}
        claims, claims_too = (proxy.world.token(header_metadata=["user_id"]) for _ in range(2))
        proxy.ask(token=ada)
        assert not is_hit(proxy.ask(token=claims, headers=headers))
        assert not is_hit(proxy.ask(token=claims_too, headers=headers))
        bob = proxy.world.token(metadata={"user_id": "bob"}, header_metadata=["user_id"])
        assert not is_hit(proxy.ask(token=bob, headers=headers))


@pytest.mark.parametrize("status", [201, 204, 206, 301, 400, 404, 410, 429, 500])
def test_only_200_is_kept(eager: Cached, status: int) -> None:
    assert not second_hits(eager, Upstream(status=status, headers={**JSON, "cache-control": "max-age=60"}))


@pytest.mark.parametrize(
    ("control", "hits"),
    [
        ("no-store", False),
        ("private", False),
        ("private, max-age=60", False),
        ('private="x-name", max-age=60', False),
        ("no-cache", False),
        ("no-cache, must-revalidate", False),
        ("max-age=0", False),
        ("s-maxage=0, max-age=60", False),
        ("max-age=60", True),
        ("public, max-age=60", True),
        ("s-maxage=60, max-age=0", True),
        ("no-transform", True),
        ("", True),
    ],
)
@pytest.mark.parametrize("asks", [True, False])
def test_the_answer_decides(proxy: Cached, control: str, hits: bool, asks: bool) -> None:
    """Also against a client that asks, or an operator who keeps all."""
    if not asks:
        proxy.cache.use_settings(replace(proxy.cache.settings, policy="all", ttl=60))
    upstream = Upstream(headers={**JSON, **({"cache-control": control} if control else {})})
    assert second_hits(proxy, upstream, headers=ASKS if asks else {}) is hits


@pytest.mark.parametrize("directive", ["no-cache", "private"])
def test_the_operator_may_overrule_an_answer(tmp_path: Path, directive: str) -> None:
    with cached(tmp_path, llm_cache_ignore=[directive]) as proxy:
        assert second_hits(proxy, Upstream(headers={**JSON, "cache-control": directive}))
        assert not second_hits(
            proxy, Upstream(headers={**JSON, "cache-control": "no-store"}), body={**HELLO, "n": 1}
        )


def lifetime_of(answer: http.Response) -> int | None:
    found = [part for part in answer.headers["cache-status"].split("; ") if part.startswith("ttl=")]
    return int(found[0].removeprefix("ttl=")) if found else None


@pytest.mark.parametrize(
    ("headers", "lifetime"),
    [
        ({"cache-control": "s-maxage=7, max-age=9"}, 7),
        ({"cache-control": "max-age=9"}, 9),
        ({"cache-control": "max-age=9, max-age=4"}, 9),
        ({"cache-control": 'max-age="9"'}, 9),
        ({"cache-control": "max-age=9", "age": "4"}, 5),
        ({"cache-control": "max-age=9", "age": "9"}, None),
        ({"cache-control": "max-age=99999999"}, 31 * 86400),
        ({"expires": "Sun, 06 Nov 1994 08:49:47 GMT", "date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 10),
        ({"expires": "0"}, None),
        ({"expires": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
        ({"cache-control": "max-age=9", "expires": "0"}, 9),
        ({}, 60),
    ],
)
def test_for_how_long(proxy: Cached, headers: dict[str, str], lifetime: int | None) -> None:
    assert lifetime_of(proxy.ask(Upstream(headers={**JSON, **headers}))) == lifetime


def test_the_options_lifetime_goes_before_that_of_the_request(tmp_path: Path) -> None:
    with cached(tmp_path, llm_cache_ttl=30) as proxy:
        assert lifetime_of(proxy.ask()) == 30


def test_an_answer_is_given_until_it_is_too_old(proxy: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.ask()
    now = _clock(monkeypatch)
    now[0] += 59
    aged = proxy.ask()
    assert is_hit(aged)
    assert aged.headers["age"] in ("58", "59")
    now[0] += 2
    assert not is_hit(proxy.ask())


@pytest.mark.parametrize(
    ("control", "hits"),
    [
        ("max-age=10, public", False),
        ("max-age=40, public", True),
        ("public, max-age=60, min-fresh=20", True),
        ("public, max-age=60, min-fresh=50", False),
    ],
)
def test_a_request_may_want_a_younger_one(
    proxy: Cached, monkeypatch: pytest.MonkeyPatch, control: str, hits: bool
) -> None:
    proxy.ask()
    now = _clock(monkeypatch)
    now[0] += 30
    assert is_hit(proxy.ask(headers={"cache-control": control})) is hits


def _clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    real, now = time.time, [0.0]
    monkeypatch.setattr("time.time", lambda: real() + now[0])
    return now


@pytest.mark.parametrize("headers", [{"pragma": "no-cache"}, {"cache-control": "no-cache"}])
def test_who_wants_a_new_answer_gets_one_and_it_is_kept(eager: Cached, headers: dict[str, str]) -> None:
    eager.ask(headers={})
    assert not is_hit(eager.ask(Upstream(body=json.dumps({**ANSWER, "id": "new"}).encode()), headers=headers))
    again = eager.ask(headers={})
    assert is_hit(again)
    assert again.json()["id"] == "new"


def test_who_forbids_it_is_neither_given_nor_kept(eager: Cached) -> None:
    eager.ask(headers={})
    bypassed = eager.ask(headers={"cache-control": "no-store"})
    assert bypassed.headers["cache-status"] == "llm-proxy; fwd=bypass"
    assert bypassed.headers["x-proxy-cache"] == "bypass"
    assert len(eager.seen) == 2


def test_only_if_cached(eager: Cached) -> None:
    only = {"cache-control": "only-if-cached"}
    refused = eager.ask(headers=only)
    assert refused.status_code == 504
    assert refused.json()["error"]["code"] == "not_cached"
    eager.ask(headers={})
    assert is_hit(eager.ask(headers=only))
    assert len(eager.seen) == 1


def test_what_is_kept_for_those_who_ask_is_not_given_to_others(proxy: Cached) -> None:
    proxy.ask(path="/v1/models", method="GET")
    assert is_hit(proxy.ask(path="/v1/models", method="GET"))
    assert not is_hit(proxy.ask(path="/v1/models", method="GET", headers={}))


@pytest.mark.parametrize(
    ("vary", "first", "second", "hits"),
    [
        ("Accept-Encoding", {"accept-encoding": "gzip, br"}, {"accept-encoding": "br,gzip;q=1.0"}, True),
        ("Accept-Encoding", {"accept-encoding": "gzip"}, {"accept-encoding": "br"}, False),
        ("Origin", {"origin": "https://a"}, {"origin": "https://a"}, True),
        ("Origin", {"origin": "https://a"}, {"origin": "https://b"}, False),
        ("X-A, Origin", {"x-a": "1"}, {"x-a": "1"}, True),
        ("X-A, Origin", {"x-a": "1"}, {"x-a": "2"}, False),
        ("X-A", {}, {"x-a": "2"}, False),
        ("User-Agent", {"user-agent": "a"}, {"user-agent": "b"}, False),
    ],
)
def test_vary(proxy: Cached, vary: str, first: dict[str, str], second: dict[str, str], hits: bool) -> None:
    upstream = Upstream(headers={**JSON, "vary": vary})
    proxy.ask(upstream, headers={**ASKS, **first})
    assert is_hit(proxy.ask(upstream, headers={**ASKS, **second})) is hits
    assert is_hit(proxy.ask(upstream, headers={**ASKS, **first})), "both are kept"
    assert is_hit(proxy.ask(upstream, headers={**ASKS, **second}))


def test_an_answer_that_varies_with_the_credential_is_one_tokens(proxy: Cached) -> None:
    upstream = Upstream(headers={**JSON, "vary": "Authorization"})
    assert second_hits(proxy, upstream)
    assert not is_hit(proxy.ask(upstream, token=proxy.world.token()))


def test_vary_of_anything(proxy: Cached) -> None:
    upstream = Upstream(headers={**JSON, "vary": "*", "cache-control": "public, max-age=60"})
    assert not second_hits(proxy, upstream, path="/v1/models", method="GET", headers={})
    assert second_hits(proxy, upstream)


def test_a_coded_answer_stays_coded_for_those_who_read_it(proxy: Cached) -> None:
    coded = gzip.compress(json.dumps(ANSWER).encode())
    upstream = Upstream(body=coded, headers={**JSON, "content-encoding": "gzip"})
    reads = {**ASKS, "accept-encoding": "gzip"}
    proxy.ask(upstream, headers=reads)
    hit = proxy.ask(upstream, headers=reads)
    assert is_hit(hit)
    assert hit.raw_content == coded
    assert hit.headers["content-encoding"] == "gzip"
    assert hit.json() == ANSWER
    for accepts in ("", "identity", "br", "gzip;q=0", "*;q=0"):
        assert not is_hit(proxy.ask(upstream, headers={**ASKS, "accept-encoding": accepts}))


def test_a_plain_answer_is_not_for_those_who_forbid_it(proxy: Cached) -> None:
    proxy.ask()
    assert not is_hit(proxy.ask(headers={**ASKS, "accept-encoding": "gzip, identity;q=0"}))


@pytest.mark.parametrize(
    ("path", "body", "hits"),
    [
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "a"}, True),
        ("/v1/moderations", {"model": "omni-moderation-latest", "input": "a"}, True),
        ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "a"}, True),
        (CHAT, {**HELLO, "store": True}, False),
        (CHAT, {**HELLO, "store": False}, True),
        (CHAT, {**HELLO, "tools": [{"type": "function", "function": {"name": "f"}}]}, True),
        (CHAT, {**HELLO, "web_search_options": {"a": 1}}, False),
        (CHAT, {**HELLO, "modalities": ["text", "audio"], "audio": {"voice": "a", "format": "wav"}}, False),
        ("/v1/responses", {"model": "gpt-4o", "input": "a"}, False),
        ("/v1/responses", {"model": "gpt-4o", "input": "a", "store": True}, False),
        ("/v1/responses", {"model": "gpt-4o", "input": "a", "store": None}, False),
        ("/v1/responses", {"model": "gpt-4o", "input": "a", "store": False}, True),
        ("/v1/responses", {"model": "gpt-4o", "input": "a", "store": False, "background": True}, False),
        (
            "/v1/responses",
            {"model": "gpt-4o", "input": "a", "store": False, "tools": [{"type": "web_search"}]},
            False,
        ),
        (
            "/v1/responses",
            {"model": "gpt-4o", "input": "a", "store": False, "tools": [{"type": ["x"]}]},
            False,
        ),
        (
            "/v1/responses",
            {"model": "gpt-4o", "input": "a", "store": False, "prompt": {"id": "pmpt_1"}},
            False,
        ),
        ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a"}, False),
        ("/v1/audio/speech", {"model": "tts-1", "input": "a", "voice": "alloy"}, False),
        ("/v1/conversations", {}, False),
    ],
)
def test_which_requests_may_be_kept(proxy: Cached, path: str, body: dict[str, Any], hits: bool) -> None:
    answer = RESPONSE if "responses" in path else ANSWER
    upstream = Upstream(body=json.dumps(answer).encode())
    assert second_hits(proxy, upstream, path=path, body=body) is hits


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"model":"a","model":"b"}', b"\xff", b"not json"])
def test_a_body_that_cannot_be_read_in_one_way_only(proxy: Cached, body: bytes) -> None:
    proxy.ask(body=body)
    assert not is_hit(proxy.ask(body=body))


def test_a_body_of_many_kilobytes(proxy: Cached) -> None:
    body = {**HELLO, "messages": [{"role": "user", "content": "word " * 20_000}]}
    assert second_hits(proxy, body=body)
    assert not is_hit(proxy.ask(body={**body, "store": True}))


def test_a_body_of_more_than_a_megabyte_is_not_looked_for(proxy: Cached) -> None:
    body = {**HELLO, "messages": [{"role": "user", "content": "x" * 2**20}]}
    assert not second_hits(proxy, body=body)
    assert "cache-status" not in proxy.ask(body=body).headers


def test_a_long_stream_loses_the_usage_that_was_asked_for(proxy: Cached) -> None:
    pieces = [chunk(choices=[{"index": 0, "delta": {"content": "word "}}], usage=None) for _ in range(500)]
    upstream = Upstream(pieces=(*pieces, *chat_chunks()[3:]), headers=STREAM)
    first, second = proxy.ask(upstream, body=STREAMED), proxy.ask(upstream, body=STREAMED)
    assert is_hit(second)
    assert len(first.content or b"") > 64 * 1024
    assert b"usage" not in (first.content or b"")
    assert first.content == second.content


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "no", "type": "server_error"}}',
        b'{"object": "chat.completion", "choi',
        b"<html>busy</html>",
        b"",
    ],
)
def test_an_answer_that_is_none_is_not_kept(proxy: Cached, body: bytes) -> None:
    assert not second_hits(proxy, Upstream(body=body))


def test_an_answer_of_another_type_is_not_kept(proxy: Cached) -> None:
    assert not second_hits(proxy, Upstream(headers={"content-type": "text/html"}))


def test_a_response_that_is_not_finished_is_not_kept(proxy: Cached) -> None:
    body = json.dumps({**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "no"}})
    assert not second_hits(
        proxy,
        Upstream(body=body.encode()),
        path="/v1/responses",
        body={"model": "gpt-4o", "input": "a", "store": False},
    )


def test_a_stream_is_given_again_as_a_stream(proxy: Cached) -> None:
    upstream = Upstream(pieces=tuple(chat_chunks()), headers=STREAM)
    body = {**STREAMED, "stream_options": {"include_usage": True}}
    first, second = proxy.ask(upstream, body=body), proxy.ask(upstream, body=body)
    assert is_hit(second)
    assert second.headers["content-type"] == STREAM["content-type"]
    assert second.content == first.content == b"".join(chat_chunks())


def test_usage_that_the_proxy_asked_for_is_not_shown_later_either(own: Cached) -> None:
    proxy = own
    upstream = Upstream(pieces=tuple(chat_chunks()), headers=STREAM)
    first, second = proxy.ask(upstream, body=STREAMED), proxy.ask(upstream, body=STREAMED)
    assert is_hit(second)
    assert b"usage" not in (first.content or b"")
    assert first.content == second.content
    event = proxy.events()[-1]
    assert event["saved"]["total_tokens"] == 14


def test_a_stream_of_responses(proxy: Cached) -> None:
    upstream = Upstream(pieces=tuple(response_chunks()), headers=STREAM)
    how = {"path": "/v1/responses", "body": {"model": "gpt-4o", "input": "a", "store": False, "stream": True}}
    proxy.ask(upstream, **how)
    hit = proxy.ask(upstream, **how)
    assert is_hit(hit)
    assert hit.content == b"".join(response_chunks())


@pytest.mark.parametrize(
    "pieces", [chat_chunks()[:2], [*chat_chunks()[:2], b'data: {"error": {"message": "x"}}\n\n']]
)
def test_a_stream_that_ends_early_is_not_kept(proxy: Cached, pieces: list[bytes]) -> None:
    """In order, as far as HTTP can tell."""
    assert not second_hits(proxy, Upstream(pieces=tuple(pieces), headers=STREAM), body=STREAMED)


@pytest.mark.parametrize("pieces", [chat_chunks()[:2], chat_chunks()])
def test_an_answer_that_breaks_off_is_not_kept(proxy: Cached, pieces: list[bytes]) -> None:
    proxy.ask(Upstream(pieces=tuple(pieces), headers=STREAM, breaks=True), body=STREAMED)
    assert not is_hit(proxy.ask(Upstream(pieces=tuple(chat_chunks()), headers=STREAM), body=STREAMED))


def test_an_answer_that_is_too_long_is_not_kept(tmp_path: Path) -> None:
    with cached(tmp_path, llm_cache_answer_limit=100) as proxy:
        assert not second_hits(proxy)


def test_one_that_is_longer_than_what_is_captured_is_not_kept(tmp_path: Path) -> None:
    with cached(tmp_path, llm_capture_limit=64 * 1024) as proxy:
        long = {**ANSWER, "choices": [{"index": 0, "message": {"content": "word " * 20_000}}]}
        assert not second_hits(proxy, Upstream(body=json.dumps(long).encode()))


def test_the_cap_gives_up_what_was_used_longest_ago(tmp_path: Path) -> None:
    with cached(tmp_path, llm_cache_entries=2) as proxy:
        bodies = [{**HELLO, "n": 1, "seed": seed} for seed in range(3)]
        for body in bodies[:2]:
            proxy.ask(body=body)
        assert is_hit(proxy.ask(body=bodies[0]))
        proxy.ask(body=bodies[2])
        assert is_hit(proxy.ask(body=bodies[0]))
        assert not is_hit(proxy.ask(body=bodies[1]))
        assert proxy.cache.figures()["evicted"] == 2
        assert proxy.cache.figures()["entries"] == 2


def test_what_belongs_to_one_call_or_connection_is_not_given_again(proxy: Cached) -> None:
    own = {
        "set-cookie": "a=b",
        "x-request-id": "req_1",
        "openai-processing-ms": "12",
        "x-ratelimit-remaining-tokens": "5",
        "connection": "x-hop",
        "x-hop": "1",
        "access-control-allow-origin": "https://a",
    }
    upstream = Upstream(headers={**JSON, **own, "openai-version": "2020-10-01", "date": "d"})
    proxy.ask(upstream)
    hit = proxy.ask(upstream)
    assert is_hit(hit)
    assert not own.keys() & {name.lower() for name in hit.headers}
    assert hit.headers["openai-version"] == "2020-10-01"
    assert hit.headers["date"] == "d"


LIST = json.dumps(
    {"object": "list", "data": [{"id": "gpt-4o", "object": "model", "owned_by": "openai"}]}
).encode()


@pytest.mark.parametrize(
    ("control", "hits"),
    [("public, max-age=60", True), ("s-maxage=60", True), ("max-age=60", False), ("", False)],
)
def test_a_list_is_kept_where_it_is_public(proxy: Cached, control: str, hits: bool) -> None:
    """Every call shows a credential (RFC 9111 section 3.5)."""
    upstream = Upstream(body=LIST, headers={**JSON, **({"cache-control": control} if control else {})})
    assert second_hits(proxy, upstream, path="/v1/models", method="GET", headers={}) is hits


TAGGED = {**JSON, "cache-control": "public, max-age=60", "etag": '"v1"'}


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"if-none-match": '"v1"'}, 304),
        ({"if-none-match": '"v0", W/"v1"'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"v2"'}, 200),
    ],
)
def test_a_client_that_has_it_is_told_so(proxy: Cached, condition: dict[str, str], status: int) -> None:
    upstream = Upstream(body=LIST, headers=TAGGED)
    models = {"path": "/v1/models", "method": "GET"}
    proxy.ask(upstream, headers={}, **models)
    answer = proxy.ask(upstream, headers=condition, **models)
    assert answer.status_code == status
    assert "; hit" in answer.headers["cache-status"]
    assert answer.headers["x-proxy-cache"] == ("conditional-hit" if status == 304 else "hit")
    assert answer.headers["etag"] == '"v1"'
    assert bool(answer.content) == (status == 200)
    assert len(proxy.seen) == 1


def test_by_date(proxy: Cached) -> None:
    changed = "Sun, 06 Nov 1994 08:49:37 GMT"
    upstream = Upstream(body=LIST, headers={**JSON, "cache-control": "s-maxage=9", "last-modified": changed})
    models = {"path": "/v1/models", "method": "GET"}
    proxy.ask(upstream, headers={}, **models)
    assert proxy.ask(upstream, headers={"if-modified-since": changed}, **models).status_code == 304
    earlier = "Sun, 06 Nov 1994 08:49:36 GMT"
    assert proxy.ask(upstream, headers={"if-modified-since": earlier}, **models).status_code == 200


@pytest.mark.parametrize("why", ["request", "stale", "checked"])
def test_upstream_confirms_what_is_kept(proxy: Cached, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    models = {"path": "/v1/models", "method": "GET"}
    control = "public, no-cache, max-age=60" if why == "checked" else "public, max-age=60"
    proxy.ask(Upstream(body=LIST, headers={**TAGGED, "cache-control": control}), headers={}, **models)
    now = _clock(monkeypatch)
    now[0] += 100 if why == "stale" else 0
    wants = {"cache-control": "no-cache"} if why == "request" else {}
    confirms = Upstream(304, b"", {"etag": '"v1"', "cache-control": "public, max-age=50", "x-new": "1"})
    answer = proxy.ask(confirms, headers=wants, **models)
    assert proxy.seen[-1].headers["if-none-match"] == '"v1"'
    assert answer.status_code == 200
    assert answer.json() == json.loads(LIST)
    assert answer.headers["x-new"] == "1"
    assert "fwd-status=304" in answer.headers["cache-status"]
    assert answer.headers["content-type"] == "application/json"
    if why != "checked":
        assert is_hit(proxy.ask(confirms, headers={}, **models)), "it is fresh again"


def test_upstream_answers_anew_what_has_changed(proxy: Cached) -> None:
    models = {"path": "/v1/models", "method": "GET"}
    proxy.ask(Upstream(body=LIST, headers=TAGGED), headers={}, **models)
    newer = json.dumps({"object": "list", "data": []}).encode()
    asked = proxy.ask(
        Upstream(body=newer, headers={**TAGGED, "etag": '"v2"'}),
        headers={"cache-control": "no-cache"},
        **models,
    )
    assert asked.content == newer
    assert proxy.ask(Upstream(), headers={}, **models).content == newer


def test_a_hit_costs_nothing_and_says_what_it_saved(own: Cached) -> None:
    proxy = own
    proxy.ask()
    proxy.ask()
    missed, hit = proxy.events()
    assert missed["cache"] == "miss"
    assert "saved" not in missed
    assert missed["usage"]["total_tokens"] == 14
    assert hit["cache"] == "hit"
    assert hit["outcome"] == "ok"
    assert hit["status"] == 200
    assert hit["usage"] is None
    assert hit["usage_missing_code"] == "cached"
    assert hit["cost"] == {"usd": "0", "price_source": "cache"}
    assert hit["model"] == missed["model"]
    assert hit["saved"] == {
        "of": missed["event_id"],
        "input_tokens": 11,
        "output_tokens": 3,
        "total_tokens": 14,
        "usd": missed["cost"]["usd"],
    }


def test_a_hit_counts_as_a_request_and_uses_no_budget(tmp_path: Path) -> None:
    with cached(tmp_path) as proxy:
        token, text = proxy.world.new_token({"budgets": {"tokens": {"day": 2000}}})
        for _ in range(6):
            proxy.ask(token=text.reveal())
        assert len(proxy.seen) == 1
        assert len(proxy.events()) == 6
        used = proxy.world.store.get_token(token.id)
        assert (used.request_count, used.cache_hit_count) == (6, 5)
        (budget,) = budgets(proxy.world.store.connection, time.time())
        assert budget["used"] == 14


def test_a_hit_is_given_although_the_budget_is_used_up(proxy: Cached) -> None:
    token = proxy.world.token({"budgets": {"tokens": {"day": 0}}})
    assert proxy.ask(token=token).status_code == 429
    proxy.ask()
    assert is_hit(proxy.ask(token=token))


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({"models": ["gpt-4.1*"]}, 403),
        ({"endpoints": ["embeddings"]}, 403),
        ({"networks": ["10.0.0.0/8"]}, 403),
    ],
)
def test_what_a_token_may_not_ask_it_is_not_given(proxy: Cached, limits: dict[str, Any], status: int) -> None:
    proxy.ask()
    refused = proxy.ask(token=proxy.world.token(limits))
    assert refused.status_code in (403, 404)
    assert "cache-status" not in refused.headers


def test_nor_is_a_revoked_one(proxy: Cached) -> None:
    proxy.ask()
    token, text = proxy.world.new_token()
    assert is_hit(proxy.ask(token=text.reveal()))
    proxy.world.store.revoke_token(token.id)
    assert proxy.ask(token=text.reveal()).status_code == 401


def test_a_token_with_another_output_limit_has_its_own_answers(proxy: Cached) -> None:
    proxy.ask()
    short = proxy.world.token({"max_output_tokens": 5})
    assert not is_hit(proxy.ask(token=short))
    assert is_hit(proxy.ask(token=short))


@pytest.mark.parametrize(
    ("option", "project", "token", "headers", "hits"),
    [
        ("ask", None, None, ASKS, True),
        ("ask", None, None, {}, False),
        ("ask", "all", None, {}, True),
        ("ask", None, "all", {}, True),
        ("ask", "ask", "all", {}, False),
        ("all", "off", None, ASKS, False),
        ("all", "off", "all", ASKS, False),
        ("all", None, "off", {}, False),
        ("off", None, None, ASKS, False),
        ("off", "ask", None, ASKS, True),
        ("off", None, "all", {}, True),
    ],
)
def test_projects_and_tokens_decide(
    proxy: Cached,
    option: str,
    project: str | None,
    token: str | None,
    headers: dict[str, str],
    hits: bool,
) -> None:
    proxy.cache.use_settings(replace(proxy.cache.settings, policy=option, ttl=60))
    store = proxy.world.store
    made = store.create_project(
        f"{option} {project} {token} {hits}", "sk-0123456789abcdefghij", cache=project
    )
    text = store.create_token(made.id, cache=token)[1].reveal()
    assert second_hits(proxy, token=text, headers=headers) is hits


def test_what_a_token_says_holds_at_once(proxy: Cached) -> None:
    token, text = proxy.world.new_token()
    proxy.ask()
    assert is_hit(proxy.ask(token=text.reveal()))
    proxy.world.store.update_token(token.id, cache="off")
    assert not is_hit(proxy.ask(token=text.reveal()))
    with pytest.raises(Invalid, match="off, ask, all"):
        proxy.world.store.update_token(token.id, cache="yes")


def test_reports_show_what_was_saved(tmp_path: Path) -> None:
    with cached(tmp_path) as proxy:
        for _ in range(3):
            proxy.ask()
        missed, *_ = proxy.events()
        (row,) = usage(proxy.world.store.connection, Usage())
        assert (row["calls"], row["cache_hits"], row["saved_tokens"]) == (3, 2, 28)
        assert row["usd"] == missed["cost"]["usd"]
        assert Decimal(row["saved_usd"]) == 2 * Decimal(missed["cost"]["usd"])


@pytest.mark.parametrize("coded", [False, True])
def test_a_list_is_filtered_also_when_it_is_given_again(proxy: Cached, coded: bool) -> None:
    """Another project's model is in nobody's list, and the body is coded only where its header says so."""
    ours = {"id": "gpt-4o", "object": "model", "owned_by": "openai"}
    foreign = {"id": "ft:gpt-4o-mini:org::abc", "object": "model", "owned_by": "org-x"}
    body = json.dumps({"object": "list", "data": [ours, foreign]}).encode()
    headers = {
        **JSON,
        "cache-control": "public, max-age=60",
        **({"content-encoding": "gzip"} if coded else {}),
    }
    upstream = Upstream(body=gzip.compress(body) if coded else body, headers=headers)
    models = {"path": "/v1/models", "method": "GET"}
    reads = {"accept-encoding": "gzip"}
    first = proxy.ask(upstream, headers=reads, **models)
    second = proxy.ask(upstream, headers=reads, **models)
    assert is_hit(second)
    assert first.json()["data"] == second.json()["data"] == [ours]
    assert second.headers["content-length"] == str(len(second.raw_content or b""))


def test_what_a_call_has_changed_is_not_given_again(tmp_path: Path) -> None:
    """RFC 9111 section 4.4; another project's answers are its own."""
    endpoints = ["inference", "listing", "administration"]
    with cached(tmp_path, llm_endpoints=endpoints, llm_cache_for="all", llm_cache_ttl=60) as proxy:
        paths = ("/v1/models/mine", "/v1/models", "/v1/models/other")
        upstream = Upstream(body=LIST)

        def hits() -> list[bool]:
            return [is_hit(proxy.ask(upstream, path=path, method="GET", headers={})) for path in paths]

        assert (hits(), hits()) == ([False] * 3, [True] * 3)
        for status, changed in ((404, False), (200, True)):
            deleted = Upstream(status, b'{"id": "mine", "deleted": true}')
            token = proxy.world.token({"endpoints": ["administration"]})
            answer = proxy.ask(deleted, path=paths[0], method="DELETE", body=b"", headers={}, token=token)
            assert answer.status_code == status, answer.content
            assert hits() == [not changed, not changed, True]
