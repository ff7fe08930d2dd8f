"""Recorded exchanges through a real proxy: bytes unchanged, usage as recorded, in every content coding."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import corpus
from tests.codings import CODINGS
from tests.live.clients import authorised
from tests.live.conftest import StartProxy, Tenant
from tests.live.upstream import Answer, Seen, Upstream

PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
}
CONNECTION_HEADERS = {"content-length", "transfer-encoding", "content-encoding", "connection"}


def cases() -> list[dict[str, Any]]:
    return [exchange for exchange in corpus.load() if exchange["endpoint"] in PATHS]


def pieces(body: bytes, rng: random.Random) -> Iterator[bytes]:
    """Cut as the network might: anywhere, also within a character or an event."""
    while body:
        size = rng.choice((1, 7, 100, 1400, 16384))
        yield body[:size]
        body = body[size:]


class Replay:
    """An upstream that serves the recorded exchange that the request's header names."""

    def __init__(self, exchanges: list[dict[str, Any]], coding: str) -> None:
        self.by_id = {exchange["id"]: exchange for exchange in exchanges}
        self.header, self.encode = CODINGS[coding]
        self.rng = random.Random(coding)

    def __call__(self, seen: Seen) -> Answer:
        exchange = self.by_id[seen.header("x-client-request-id")]
        recorded = exchange.get("response_headers") or {}
        pairs = recorded.items() if isinstance(recorded, dict) else recorded
        headers = [(k, str(v)) for k, v in pairs if k.lower() not in CONNECTION_HEADERS]
        if self.header:
            headers.append(("content-encoding", self.header))
        body = self.encode(corpus.response_body(exchange))
        return Answer(list(pieces(body, self.rng)), exchange["status"], headers)


def send(client: httpx.Client, base: str, token: str, exchange: dict[str, Any]) -> bytes:
    """The raw body that arrives, still content-coded."""
    body = corpus.request_body(exchange)
    headers = authorised(token) | {
        "x-client-request-id": exchange["id"],
        "content-type": "application/json",
    }
    url = base + PATHS[exchange["endpoint"]]
    with client.stream("POST", url, headers=headers, content=body) as answer:
        return b"".join(answer.iter_raw())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("coding", CODINGS)
def test_recorded_exchanges(
    coding: str,
    start_proxy: StartProxy,
    tenant: Tenant,
    upstream: Upstream,
    record_property: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Whole once; of the other codings each takes another third, so that together they take all of it twice.
    number = [*CODINGS].index(coding)
    exchanges = cases()[number % 3 :: 3] if number else cases()
    replay = Replay(exchanges, coding)
    upstream.handler = replay
    # The recorded answers don't depend on what is asked, as a server's do.
    proxy = start_proxy("flow_detail=0", "llm_include_usage=off", "llm_ownership=off")
    _, token = tenant.token()
    changed: list[str] = []

    def work(part: list[dict[str, Any]]) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            for exchange in part:
                arrived = send(client, proxy.reverse_url, token, exchange)
                if arrived != replay.encode(corpus.response_body(exchange)):
                    changed.append(exchange["id"])

    threads = [threading.Thread(target=work, args=(exchanges[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    calls = {
        call["request"]["headers"]["x-client-request-id"]: call
        for call in proxy.wait_calls(len(exchanges), 300)
    }
    score, wrong = Counter[str](), []
    for exchange in exchanges:
        wanted = corpus.reported_usage(exchange)
        if wanted is None:
            continue
        call = calls[exchange["id"]]
        if call["usage_missing_code"] == "counted":
            score["counted elsewhere"] += 1  # a look at what another call had made
            continue
        usage = call["usage"] or {}
        found = usage.get("input_tokens"), usage.get("output_tokens") or 0
        score["reported"] += 1
        if found == wanted and usage["source"] == "api":
            score["equal"] += 1
        else:
            wrong.append(f"{exchange['id']} {exchange['endpoint']}: recorded {wanted}, event {usage}")
    said = f"{coding}: {score['equal']} of {score['reported']} usages equal, {len(exchanges)} bodies compared"
    record_property("score", said)
    with capsys.disabled():
        print(f"\n{said}")
    assert changed == []
    assert wrong == []
    assert score["reported"] > (150 if number else 500)
