"""The rules of the cache, by a real proxy: requests in a row, and what the cache had for each.

On `asks` a request has to ask for it (the default); on `keeps` all answers are kept for a minute. What
``Cache-Status`` says is checked against what upstream was asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.live.cache_answer_cases import ANSWERS
from tests.live.cache_cases import ASKS, HELLO, MODELS, RESPONSES, Ask, Case
from tests.live.cache_request_cases import REQUESTS
from tests.live.clients import authorised
from tests.live.conftest import CHAT, Running, StartProxy, Tenant, chat_chunks, response_chunks
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Answer, Seen, Upstream

CASE = Case("", "")
NUMBERS = count()
SERVED = ("hit", "304", "not-cached")
"""What upstream is not asked for."""
OF_ONE_CALL = ("set-cookie", "x-request-id", "x-ratelimit-remaining-tokens")


@dataclass(frozen=True)
class Site:
    """A proxy, tokens of two projects, and a client that keeps its connection."""

    running: Running
    tokens: Sequence[str]
    client: httpx.Client

    @classmethod
    def of(cls, running: Running) -> Site:
        store = running.tenant.store
        other = store.create_project("other", "sk-other-0123456789abcdefghij")
        second, foreign = running.tenant.token()[1], store.create_token(other.id)[1].reveal()
        client = httpx.Client(base_url=running.proxy.reverse_url, trust_env=False, timeout=60)
        return cls(running, (running.token, second, foreign), client)

    def play(self, case: Case) -> list[tuple[str, httpx.Response]]:
        """Ask all of a case: a word for what the cache had, and the answer."""
        upstream, number = self.running.upstream, next(NUMBERS)
        upstream.handler = lambda seen: answer_of(case, seen)
        found = []
        for ask in case.asks:
            before = len(upstream.requests)
            answer = self.ask(case, ask, number)
            word = word_of(answer)
            assert len(upstream.requests) - before == (word not in SERVED), answer.headers
            found.append((word, answer))
        return found

    def ask(self, case: Case, ask: Ask, number: int) -> httpx.Response:
        headers = {**authorised(self.tokens[ask.token]), **ask.headers}
        if case.control is not None:
            headers.setdefault("cache-control", case.control)
        body = ask.body or case.body or HELLO
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        query = "&".join(filter(None, (ask.query, f"case={number}")))
        if case.path.startswith(MODELS):
            method, content = ask.method or "GET", b""
        else:
            method = "POST"
            headers.setdefault("content-type", "application/json")
        return self.client.request(method, f"{case.path}?{query}", headers=headers, content=content)


def answer_of(case: Case, seen: Seen) -> Answer:
    """Be upstream: confirm what a condition says, else answer as the case has it."""
    headers = {"content-type": "application/json", **case.answer, "x-request-id": "of-this-call"}
    for condition, validator in (("if-none-match", "etag"), ("if-modified-since", "last-modified")):
        if validator in headers and seen.header(condition) == headers[validator]:
            return Answer((), 304, list(headers.items()), chunked=False)
    value = case.value
    if value is None and seen.body[:1] == b"{" and json.loads(seen.body).get("stream"):
        headers["content-type"] = "text/event-stream"
        value = b"".join(response_chunks() if case.path == RESPONSES else chat_chunks())
    body = value if isinstance(value, bytes) else json.dumps(CHAT if value is None else value).encode()
    chunks = () if seen.method == "HEAD" else (body,)
    return Answer(chunks, case.status, list(headers.items()), chunked=False)


def word_of(answer: httpx.Response) -> str:
    if answer.status_code == 504 and answer.json()["error"]["code"] == "not_cached":
        return "not-cached"
    status = answer.headers.get("cache-status")
    if status is None:
        assert "x-proxy-cache" not in answer.headers
        return "none"
    words = ("hit", "fwd-status=304", "stored", "fwd=bypass")
    said = next((word for word in words if f"; {word}" in status), "miss")
    assert re.fullmatch(r'llm-proxy(; [a-z-]+(=("[0-9a-f]{64}"|[a-z0-9-]+))?)+', status), status
    if said == "hit":
        assert int(answer.headers["age"]) >= 0
        assert int(answer.headers["content-length"] if answer.status_code == 200 else 0) >= 0
        assert not [name for name in OF_ONE_CALL if name in answer.headers]
        assert len(answer.headers["x-llmproxy-request-id"]) == 36
        return "304" if answer.status_code == 304 else "hit"
    return {"fwd-status=304": "revalidated", "fwd=bypass": "bypass"}.get(said, said)


@pytest.fixture(scope="module")
def sites(start_shared: Callable[..., Running]) -> dict[str, Site]:
    keeps = start_shared(
        "llm_cache=memory",
        "llm_cache_for=all",
        "llm_cache_ttl=60",
        "llm_cors_origins=https://app.example.com",
    )
    return {"asks": Site.of(start_shared("llm_cache=memory")), "keeps": Site.of(keeps)}


@pytest.mark.parametrize("case", [*REQUESTS, *ANSWERS], ids=lambda case: f"{case.proxy}: {case.name}")
def test_what_the_cache_has(sites: dict[str, Site], case: Case) -> None:
    found = sites[case.proxy].play(case)
    assert " ".join(word for word, _ in found) == case.expected
    whole = [answer for _, answer in found if answer.status_code == 200 and answer.request.method != "HEAD"]
    kinds = {(answer.headers["content-type"], answer.content) for answer in whole}
    assert len(kinds) <= (2 if case.name == "a stream beside none" else 1), "given again as it came"


def test_equal_requests_at_the_same_moment_are_all_answered(sites: dict[str, Site]) -> None:
    """They are not joined: each goes upstream, and one of the answers is kept."""
    site, case, number = sites["asks"], Case("together", ""), next(NUMBERS)
    site.running.upstream.handler = lambda seen: answer_of(case, seen)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: site.ask(case, Ask(), number), range(24)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert word_of(site.ask(case, Ask(), number)) == "hit"


def test_a_hit_is_for_the_page_that_asks(sites: dict[str, Site]) -> None:
    """Who may read an answer in a browser is said anew each time, and is not kept."""
    site, number = sites["keeps"], next(NUMBERS)
    case = Case("browsers", "", control=None, answer={"access-control-allow-origin": "https://upstream"})
    site.running.upstream.handler = lambda seen: answer_of(case, seen)
    mine, other = (Ask({"origin": f"https://{name}.example.com"}) for name in ("app", "other"))
    site.ask(case, other, number)
    allowed, bare = site.ask(case, mine, number), site.ask(case, Ask(), number)
    assert (word_of(allowed), word_of(bare)) == ("hit", "hit")
    assert allowed.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "access-control-allow-origin" not in bare.headers


def test_events_and_counts_of_hits(sites: dict[str, Site]) -> None:
    site = sites["asks"]
    token, text = site.running.tenant.store.create_token(site.running.tenant.project.id, max_requests=3)
    counted = replace(site, tokens=(text.reveal(),))
    (first, _), (second, answer) = counted.play(Case("counted", ""))
    assert (first, second) == ("stored", "hit")
    call_id = answer.headers["x-llmproxy-request-id"]
    events = wait_for(
        lambda: [one for one in site.running.proxy.calls() if one["token_id"] == token.id][1:], "both events"
    )
    (hit,) = events
    assert (hit["request_id"], hit["cache"], hit["usage"], hit["cost"]["usd"]) == (call_id, "hit", None, "0")
    assert hit["saved"]["total_tokens"] == 14

    def uses() -> tuple[int, int]:
        now = site.running.tenant.store.get_token(token.id)
        return now.request_count, now.cache_hit_count

    wait_for(lambda: uses() == (2, 1), "the counts")


def test_what_is_kept_in_a_file_outlives_the_proxy(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.handler = lambda seen: answer_of(CASE, seen)
    option = f"llm_cache=sqlite:{tmp_path / 'cache.db'}"
    proxy = start_proxy(option)
    headers = {**authorised(tenant.token()[1]), "cache-control": ASKS}

    def ask(proxy: Proxy) -> str:
        url = f"{proxy.reverse_url}/v1/chat/completions"
        return word_of(httpx.post(url, json=HELLO, headers=headers, trust_env=False, timeout=60))

    assert ask(proxy) == "stored"
    proxy.stop()
    assert ask(start_proxy(option)) == "hit"
