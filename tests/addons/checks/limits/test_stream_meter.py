"""Streams that go beyond what they hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from mitmproxy import http

from addons.checks.limits import limit_errors, stream_meter
from addons.flow.call import Call
from addons.flow.hold import Hold
from addons.mitm import internals as mitm
from addons.openai.bounds.usage_bound import UsageBound
from addons.openai.endpoints import resolve
from addons.openai.http.sse import parse
from addons.openai.pricing.pricing import BUNDLED
from store.core.errors import StoreUnavailable
from store.ledger import LimitExceeded
from tests.addons.checks.limits.test_reservation import call

HELD = Hold(1010, 600_000, 1000, UsageBound("gpt-4o-mini", 10, 16_384))
DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
HIT = LimitExceeded("usd/day", "token", 10**9, 10**9, 1, resets_at=1_767_225_600)


class FakeLedger:
    """In the place of the ledger: says what a test wants."""

    def __init__(self, *answers: LimitExceeded | Exception | None) -> None:
        self.answers, self.asked = list(answers), list[tuple[int, int]]()

    def extend(self, call_id: str, tokens: int, nano_usd: int) -> Future[LimitExceeded | None]:
        self.asked.append((tokens, nano_usd))
        answer: Future[LimitExceeded | None] = Future()
        said = self.answers.pop(0) if self.answers else None
        if isinstance(said, Exception):
            answer.set_exception(said)
        else:
            answer.set_result(said)
        return answer


def response(**headers: str) -> http.Response:
    return http.Response.make(200, b"", {"content-type": "text/event-stream", **headers})


def tapped(
    made: Call, ledger: FakeLedger, held: Hold = HELD, answer: http.Response | None = None
) -> stream_meter.Tap:
    made.hold = held
    return stream_meter.tap(made, answer or response(), lambda data: data, ledger, BUNDLED)  # type: ignore[arg-type]


async def feed(tap: stream_meter.Tap, pieces: Sequence[bytes]) -> bytes:
    passed = []
    for piece in pieces:
        said = tap(piece)
        given = [said] if isinstance(said, bytes) else list(said)
        assert not piece or b"" not in given, "an empty piece would end the client's stream"
        passed += given
        await asyncio.sleep(0)
    return b"".join(passed)


async def test_a_hold_grows_in_steps() -> None:
    made, ledger = call(budgets={"usd": {"day": "1"}}), FakeLedger()
    assert await feed(tapped(made, ledger), [DELTA] * 4000) == DELTA * 4000
    tokens = [asked[0] for asked in ledger.asked]
    assert tokens == sorted(tokens)
    assert 1500 <= tokens[0] <= 1600
    assert tokens[-1] > 4000
    assert len(tokens) < 6
    assert made.hold is not None
    assert made.hold.nano_usd == ledger.asked[-1][1] == pytest.approx(600_000 * tokens[-1] / 1000, rel=0.02)


async def test_no_further_than_the_longest_answer() -> None:
    made, ledger = call(budgets={"tokens": {"day": 9}}), FakeLedger()
    held = Hold(1010, 0, 1000, UsageBound("gpt-4o-mini", 10, 1200))
    await feed(tapped(made, ledger, held), [DELTA] * 3000)
    assert ledger.asked == [(1210, 0)]


async def test_a_stream_finishes_where_the_budget_has_ended() -> None:
    made, ledger = call(budgets={"usd": {"day": "1"}}), FakeLedger(HIT)
    assert await feed(tapped(made, ledger), [DELTA] * 4000) == DELTA * 4000
    assert len(ledger.asked) == 1
    assert made.cut is None


EVENT = DELTA.strip()
PARTED = [
    b"\n\n",
    b"\r\n\r\n",
    b"\r\r",
    b"\n\r\n",
    b"\r\n\n",
    b"\n",
    b"\r\n",
    b"\r",
    b"\nid: 7\n",
    b"\n: comment\n",
]


@pytest.mark.parametrize("parted", PARTED)
@pytest.mark.parametrize("step", [1, 7, 100, None, 1000])
async def test_a_stream_is_cut_between_two_events(
    step: int | None, parted: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[Any] = []
    monkeypatch.setattr(mitm, "end_answer", ended.append)
    made = call(budgets={"usd": {"day": "1"}}, on_budget_end="cut")
    data = (EVENT + parted) * 1200
    step = step or len(EVENT + parted)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    passed = await feed(tapped(made, FakeLedger(HIT)), [*pieces, b""])
    *events, last = [event.data for event in parse(passed)]
    assert 990 < len(events) < 1200
    assert set(events) == {EVENT.removeprefix(b"data: ").decode()}
    error = json.loads(last)["error"]
    assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
    assert (made.cut, ended) == ("insufficient_quota", [made.flow])
    # Also who knows only blank lines finds the error: what stands before it is complete.
    lines = passed.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert lines.endswith(b"\n\ndata: %b\n\n" % last.encode())


@pytest.mark.parametrize("step", [1, 9, 64])
async def test_no_event_of_several_lines_is_cut_in_two(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mitm, "end_answer", lambda flow: None)
    made = call(budgets={"usd": {"day": "1"}}, on_budget_end="cut")
    shape = b'event: x\ndata: {"choices":[\ndata: {"index":0,"delta":{"content":"a"}}\ndata: ]}\nid: 3\n\n'
    data = shape * 1200
    passed = await feed(
        tapped(made, FakeLedger(HIT)), [data[at : at + step] for at in range(0, len(data), step)]
    )
    end = passed.index(b'data: {"error"')
    assert passed[:end] == shape * (end // len(shape))


async def test_long_lines_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mitm, "end_answer", lambda flow: None)
    made = call(budgets={"usd": {"day": "1"}}, on_budget_end="cut")
    long = b'data: {"b64":"%b"}\n' % (b"x" * 3_000_000)
    pieces = [long[at : at + 100_000] for at in range(0, len(long), 100_000)]
    passed = await feed(tapped(made, FakeLedger(HIT)), [(EVENT + b"\n") * 1100, *pieces])
    assert passed.startswith((EVENT + b"\n") * 1100 + b'\ndata: {"error')
    passed = await feed(tapped(made, FakeLedger(HIT)), [(EVENT + b"\n") * 1100 + pieces[0], *pieces[1:]])
    assert passed.startswith((EVENT + b"\n") * 1100 + long + b'\ndata: {"error')


async def test_a_store_that_is_away_for_a_moment_is_asked_again() -> None:
    made, ledger = call(budgets={"usd": {"day": "1"}}), FakeLedger(StoreUnavailable("away"))
    await feed(tapped(made, ledger), [DELTA] * 1100)
    assert len(ledger.asked) == 2


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
    made, ledger = call(budgets={"usd": {"day": "1"}}), FakeLedger()
    await feed(tapped(made, ledger, held, answer), [DELTA] * 3000)
    assert ledger.asked == []


async def test_what_goes_wrong_costs_the_client_nothing() -> None:
    made = call(budgets={"usd": {"day": "1"}})
    ledger = FakeLedger()
    ledger.extend = None  # type: ignore[assignment,method-assign]
    assert await feed(tapped(made, ledger), [DELTA] * 1500) == DELTA * 1500


def test_the_error_as_the_api_puts_it() -> None:
    why = limit_errors.ended(HIT)
    assert stream_meter.error_event(resolve("POST", "/v1/chat/completions"), why, 3).startswith(
        b'data: {"error": {'
    )
    named = stream_meter.error_event(resolve("POST", "/v1/responses"), why, 3)
    assert named.startswith(b"event: error\ndata: ")
    said = json.loads(named.split(b"data: ")[1])
    assert (said["type"], said["sequence_number"], said["error"]["code"]) == (
        "error",
        3,
        "insufficient_quota",
    )
