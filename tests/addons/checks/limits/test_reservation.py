"""What a call holds of its limits."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mitmproxy import http

from addons.checks.history import KEPT, LEAST, History
from addons.checks.limits import reservation
from addons.checks.limits.reservation import FIRST_NANO_USD, FIRST_OUTPUT
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.flow.hold import Hold
from addons.flow.request_body import RequestBody
from addons.openai.bounds.text_bounds import MARGIN
from addons.openai.endpoints import resolve
from addons.openai.pricing.pricing import BUNDLED
from addons.openai.request_reading import Question
from store.database.engines import engine_of
from store.keys.project_keys import StoredKey
from store.ledger import Finished
from store.tokens import limits
from store.tokens.limits import NONE, Limits
from store.tokens.models import Grant, Project, Token
from store.usage.rollups import FIGURES

BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello " * 20}]}
USD = {"budgets": {"usd": {"day": "5"}}}
STRICT = {**USD, "budget_mode": "strict"}


def call(
    path: str = "/v1/chat/completions",
    body: Any = BODY,
    project: Limits = NONE,
    **token: Any,
) -> Call:
    now = datetime.now(UTC)
    owner = Project("p", "acme", StoredKey("plain:sk-real-0123456789"), True, now, now, limits=project)
    grant = Grant(owner, Token("t", "sk-", "p", True, now, None, None, 0, None, {}, limits=limits.of(token)))
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = http.Request.make("POST", f"https://api.openai.com{path}", content)
    return Call(
        flow=cast(Any, SimpleNamespace(request=request)),
        method="POST",
        host="api.openai.com",
        url=path,
        headers=[],
        client_address=None,
        kind=resolve("POST", path),
        started_at=now,
        started=0.0,
        grant=grant,
    )


async def reserved(made: Call, history: History | None = None) -> Hold | Refusal:
    """What a call holds, once its body has been read."""
    assert made.grant
    exact = reservation.is_strict(made.grant)
    question = Question(made.method, made.url, made.provider, bounded=True, exact=exact)
    made.body = RequestBody(made.flow.request.raw_content or b"", "", question)
    assert await made.body.read() is None
    return reservation.of_request(made, BUNDLED, history or History())


async def hold(made: Call, history: History | None = None) -> Hold:
    found = await reserved(made, history)
    assert isinstance(found, Hold), found
    return found


def used(tokens: int, nano_usd: int | None = 1000, **changes: Any) -> Finished:
    figures = {"total_tokens": tokens, "nano_usd": nano_usd, **changes}
    return Finished("c", "t", "p", 0.0, "ok", "chat", **figures)


def test_history_is_what_95_in_100_do_not_exceed() -> None:
    history = History()
    key = ("t", "chat", "gpt-4o-mini")
    for number in range(LEAST - 1):
        history.add(used(number + 1), "gpt-4o-mini")
    assert history.usual(key) is None
    for number in range(KEPT):
        history.add(used(number + 1, 1000 * number), "gpt-4o-mini")
    assert history.usual(key) == (96, 95_000)
    assert history.usual(("t", "chat", "")) == (96, 95_000)
    assert history.usual(("other", "chat", "gpt-4o-mini")) is None


@pytest.mark.parametrize("unknown", [used(0), used(5, None), used(5, at_least=True)])
def test_history_has_only_what_is_known(unknown: Finished) -> None:
    history = History()
    for _ in range(LEAST * 2):
        history.add(unknown, "gpt-4o-mini")
    assert history.usual(("t", "chat", "gpt-4o-mini")) is None


def test_history_begins_with_twice_the_average_of_a_week(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "store.db")
    engine.prepare()
    hour = int(time.time()) // 3600
    key = {"project_id": "p", "token_id": "t", "user_id": "", "endpoint": "chat"}
    figures = dict.fromkeys(FIGURES, 0) | {"total_tokens": 5000, "nano_usd": 100_000}
    connection = engine.connect()
    connection.insert(
        "usage_hours",
        [
            {**key, "hour": hour, "model": "gpt-4o-mini-2024-07-18", **figures, "calls": 12, "refused": 2},
            {**key, "hour": hour - 1000, "model": "gpt-4o", **figures, "calls": 12},
            {**key, "hour": hour, "model": "o3", **figures, "calls": LEAST - 1},
        ],
    )
    connection.close()
    history = History()
    history.seed(engine)
    assert history.usual(("t", "chat", "gpt-4o-mini")) == (1000, 20_000)
    assert history.usual(("t", "chat", "gpt-4o")) is None, "too long ago"
    assert history.usual(("t", "chat", "o3")) is None, "too few"
    for _ in range(LEAST):
        history.add(used(70), "gpt-4o-mini")
    assert history.usual(("t", "chat", "gpt-4o-mini")) == (70, 1000), "what is known is better"


@pytest.mark.parametrize("limit", [{}, {"requests_per_minute": 5}, {"max_concurrent": 1}])
async def test_nothing_is_held_where_use_is_not_limited(limit: dict[str, Any]) -> None:
    assert await hold(call(**limit)) == Hold()


async def test_strict_holds_the_most() -> None:
    held = await hold(call(**STRICT))
    assert held.output_tokens == 16_384
    assert 20 + MARGIN < held.tokens - 16_384 < 200 + MARGIN
    assert held.nano_usd >= 16_384 * 600
    assert held.most is None, "it needs to hold no more later"
    short = await hold(call(body={**BODY, "max_tokens": 10}, **STRICT))
    assert short.output_tokens == 10


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the last genai-prices for it knows no tiers")
@pytest.mark.parametrize(("tier", "times"), [("auto", 1), ("standard_only", 1), ("flex", 1), ("priority", 2)])
async def test_strict_holds_the_dearer_of_the_tier_asked_for_and_the_standard(tier: str, times: int) -> None:
    body = {**BODY, "model": "gpt-5", "max_tokens": 1000}
    plain = await hold(call(body=body, **STRICT))
    asked = await hold(call(body={**body, "service_tier": tier}, **STRICT))
    assert asked.nano_usd == pytest.approx(times * plain.nano_usd, rel=0.05)


async def test_strict_wherever_it_is_said() -> None:
    held = await hold(call(project=limits.of({"budget_mode": "strict"}), **USD))
    assert held.output_tokens == 16_384


async def test_expected_begins_with_a_stated_number() -> None:
    held = await hold(call(**USD))
    assert held.output_tokens == FIRST_OUTPUT
    assert held.tokens == len(json.dumps(BODY)) // 4 + 1 + FIRST_OUTPUT
    assert FIRST_OUTPUT * 600 < held.nano_usd < FIRST_OUTPUT * 700
    assert held.most is not None
    short = await hold(call(body={**BODY, "max_tokens": 10}, **USD))
    assert short.output_tokens == 10, "never more than the most"


async def test_expected_goes_by_the_history() -> None:
    history = History()
    for _ in range(LEAST):
        history.add(used(3000, 2_000_000), "gpt-4o-mini")
    held = await hold(call(**USD), history)
    assert (held.tokens, held.nano_usd) == (3000, 2_000_000)
    other = await hold(call(body={**BODY, "model": "gpt-4o"}, **USD), history)
    assert other.tokens < 3000, "of another model nothing is known"
    short = await hold(call(body={**BODY, "max_tokens": 10}, **USD), history)
    assert short.tokens < 500
    assert short.nano_usd < 100_000


async def test_only_the_units_that_are_limited() -> None:
    assert (await hold(call(tokens_per_minute=5000))).nano_usd == 0
    assert (await hold(call(budgets={"tokens": {"day": 9999}}, budget_mode="strict"))).nano_usd == 0


async def test_a_strict_rate_of_tokens_holds_the_most() -> None:
    rate = {"tokens_per_minute": 10**6}
    strict, expected = await hold(call(budget_mode="strict", **rate)), await hold(call(**rate))
    assert strict.tokens == (await hold(call(**STRICT))).tokens > expected.tokens
    assert strict.nano_usd == 0


async def test_without_a_price() -> None:
    unknown = {**BODY, "model": "a-model-of-ours"}
    refused = await reserved(call(body=unknown, **STRICT))
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (403, "price_unknown")
    assert (await hold(call(body=unknown, **USD))).nano_usd == FIRST_NANO_USD
    tokens = await hold(call(body=unknown, budgets={"tokens": {"day": 10**9}}, budget_mode="strict"))
    assert tokens.tokens > 200_000


async def test_without_a_bound() -> None:
    body = {"model": "gpt-5", "input": "x", "tools": [{"type": "web_search"}]}
    made = call("/v1/responses", body, **STRICT)
    refused = await reserved(made)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code, refused.param) == (400, "use_unbounded", "max_tool_calls")
    held = await hold(call("/v1/responses", body, **USD))
    assert FIRST_OUTPUT < held.tokens < FIRST_OUTPUT + 50


@pytest.mark.parametrize(
    "path",
    [
        "/v1/moderations",
        "/v1/files",
        "/v1/responses/input_tokens",
        "/v1/vector_stores",
        "/v1/realtime/client_secrets",
    ],
)
async def test_what_bills_nothing_holds_nothing(path: str) -> None:
    held = await hold(call(path, {"input": "x" * 1000}, **STRICT))
    assert (held.tokens, held.nano_usd) == (0, 0)


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/videos", "/v1/unheard_of"])
async def test_what_bills_later_has_no_bound(path: str) -> None:
    made = call(path, {}, **STRICT)
    refused = await reserved(made)
    assert isinstance(refused, Refusal)
    assert refused.code == "use_unbounded"
    assert (await hold(call(path, {}, **USD))).nano_usd == FIRST_NANO_USD


async def test_an_unreadable_body_has_no_bound() -> None:
    made = call(body=b"not JSON", **STRICT)
    refused = await reserved(made)
    assert isinstance(refused, Refusal)
    assert refused.code == "use_unbounded"


async def test_pictures_hold_what_they_cost() -> None:
    body = {"model": "gpt-image-1", "prompt": "x", "quality": "low"}
    held = await hold(call("/v1/images/generations", body, **USD))
    assert held.output_tokens >= 408
