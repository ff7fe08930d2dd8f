"""Streams that go beyond what they hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from mitmproxy import http

from addons import mitm
from addons.calls import Call
from addons.openai.most import Most
from addons.openai.pricing import BUNDLED
from addons.policy import running
from addons.policy.reservation import Hold
from store.errors import StoreUnavailable
from store.ledger import Hit
from tests.addons.policy.test_reservation import call

HELD = Hold(1010, 600_000, 1000, Most("gpt-4o-mini", 10, 16_384))
DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
HIT = Hit("usd/day", "token", 10**9, 10**9, 1, resets_at=1_767_225_600)


class Clerk:
    """In the place of the ledger: says what a test wants."""

    def __init__(self, *answers: Hit | Exception | None) -> None:
        self.answers, self.asked = list(answers), list[tuple[int, int]]()

    def extend(self, call_id: str, tokens: int, nano_usd: int) -> Future[Hit | None]:
        self.asked.append((tokens, nano_usd))
        answer: Future[Hit | None] = Future()
        said = self.answers.pop(0) if self.answers else None
        if isinstance(said, Exception):
            answer.set_exception(said)
        else:
            answer.set_result(said)
        return answer


def response(**headers: str) -> http.Response:
    return http.Response.make(200, b"", {"content-type": "text/event-stream", **headers})


def tapped(made: Call, clerk: Clerk, held: Hold = HELD, answer: http.Response | None = None) -> running.Tap:
    made.hold = held
    return running.tap(made, answer or response(), lambda data: data, clerk, BUNDLED)  # type: ignore[arg-type]


async def feed(tap: running.Tap, pieces: Sequence[bytes]) -> bytes:
    passed = []
    for piece in pieces:
        said = tap(piece)
        passed += [said] if isinstance(said, bytes) else said
        assert not piece or b"" not in passed, "an empty piece would end the client's stream"
        await asyncio.sleep(0)
    return b"".join(passed)


async def test_a_hold_grows_in_steps() -> None:
    made, clerk = call(budgets={"usd": {"day": "1"}}), Clerk()
    assert await feed(tapped(made, clerk), [DELTA] * 4000) == DELTA * 4000
    tokens = [asked[0] for asked in clerk.asked]
    assert tokens == sorted(tokens)
    assert 1500 <= tokens[0] <= 1600
    assert tokens[-1] > 4000
    assert len(tokens) < 6
    assert made.hold is not None
    assert made.hold.nano_usd == clerk.asked[-1][1] == pytest.approx(600_000 * tokens[-1] / 1000, rel=0.02)


async def test_no_further_than_the_longest_answer() -> None:
    made, clerk = call(budgets={"tokens": {"day": 9}}), Clerk()
    held = Hold(1010, 0, 1000, Most("gpt-4o-mini", 10, 1200))
    await feed(tapped(made, clerk, held), [DELTA] * 3000)
    assert clerk.asked == [(1210, 0)]


async def test_a_stream_finishes_where_the_budget_has_ended() -> None:
    made, clerk = call(budgets={"usd": {"day": "1"}}), Clerk(HIT)
    assert await feed(tapped(made, clerk), [DELTA] * 4000) == DELTA * 4000
    assert len(clerk.asked) == 1
    assert made.cut is None


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 7, 100, len(DELTA), 1000])
async def test_a_stream_is_cut_between_two_events(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Any] = []
    monkeypatch.setattr(mitm, "end_answer", ended.append)
    made = call(budgets={"usd": {"day": "1"}}, on_budget_end="cut")
    data = DELTA * 1200
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    passed = await feed(tapped(made, Clerk(HIT)), [*pieces, b""])
    *events, last = passed.removesuffix(b"\n\n").split(b"\n\n")
    assert 990 < len(events) < 1200
    assert set(events) == {DELTA.strip()}
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
    assert (made.cut, ended) == ("insufficient_quota", [made.flow])


async def test_a_store_that_is_away_for_a_moment_is_asked_again() -> None:
    made, clerk = call(budgets={"usd": {"day": "1"}}), Clerk(StoreUnavailable("away"))
    await feed(tapped(made, clerk), [DELTA] * 1100)
    assert len(clerk.asked) == 2


@pytest.mark.parametrize(
    ("held", "answer"),
    [
        (Hold(1, 1, 1, None), response()),
        (HELD, response(**{"content-encoding": "gzip"})),
        (HELD, http.Response.make(200, b"", {"content-type": "application/json"})),
        (HELD, http.Response.make(500, b"", {"content-type": "text/event-stream"})),
    ],
)
async def test_what_is_not_followed(held: Hold, answer: http.Response) -> None:
    made, clerk = call(budgets={"usd": {"day": "1"}}), Clerk()
    await feed(tapped(made, clerk, held, answer), [DELTA] * 3000)
    assert clerk.asked == []


async def test_what_goes_wrong_costs_the_client_nothing() -> None:
    made = call(budgets={"usd": {"day": "1"}})
    clerk = Clerk()
    clerk.extend = None  # type: ignore[assignment,method-assign]
    assert await feed(tapped(made, clerk), [DELTA] * 1500) == DELTA * 1500


def test_the_error_as_the_api_puts_it() -> None:
    why = running.refusals.ended(HIT)
    assert running.error_event("chat", why, 3).startswith(b'data: {"error": {')
    named = running.error_event("responses", why, 3)
    assert named.startswith(b"event: error\ndata: ")
    said = json.loads(named.split(b"data: ")[1])
    assert (said["type"], said["sequence_number"], said["error"]["code"]) == (
        "error",
        3,
        "insufficient_quota",
    )
