"""What an event says that is charged: what is known, what is unknown, and what is nothing."""

from __future__ import annotations

from typing import Any

import pytest

from store.core.event_fields import blank_event, read_call
from store.ledger.finished import finished_of
from tests.events import typed
from tests.store.usage.test_rollups import event


def of(**fields: Any) -> Any:
    read = read_call({**blank_event(), **event(), "event_id": "e", "status": 200, "seq": 3, **fields})
    assert read is not None
    return finished_of(read)


def test_a_call_that_was_answered() -> None:
    call = of(client={"ip": "10.0.0.7"})
    assert (call.call_id, call.seq, call.token_id, call.project_id) == ("e", 3, "t", "p")
    assert (call.user_id, call.address, call.model, call.endpoint) == (
        "ada",
        "10.0.0.7",
        "gpt-4o-mini",
        "chat",
    )
    assert (call.input_tokens, call.output_tokens) == (10, 5)
    assert (call.total_tokens, call.nano_usd, call.at_least, call.request) == (15, 11_100, False, True)
    assert call.at == 1_795_604_399.999
    assert call.line.figures["calls"] == 1
    assert finished_of(typed(event()), seq=9).seq == 9


NO_USAGE: dict[str, Any] = {"usage": None, "cost": None}


@pytest.mark.parametrize(
    ("fields", "tokens", "nano"),
    [
        ({**NO_USAGE, "outcome": "refused", "status": 429}, 0, 0),
        ({**NO_USAGE, "outcome": "http_error", "status": 500, "usage_missing_code": "failed"}, 0, 0),
        ({**NO_USAGE, "usage_missing_code": "unbilled"}, 0, 0),
        ({**NO_USAGE, "usage_missing_code": "undecodable"}, None, None),
        ({**NO_USAGE, "usage_missing_code": "no_usage"}, None, None),
        ({**NO_USAGE, "outcome": "upstream_aborted", "status": None}, None, None),
        ({"cost": {"usd": None, "reason": "model_unknown"}}, 15, None),
        ({"usage": {"images": 2, "source": "counted"}, "cost": {"usd": "0.08"}}, 0, 80_000_000),
        ({"usage": {"input_tokens": 7, "output_tokens": None, "total_tokens": None}}, 7, 11_100),
    ],
)
def test_what_is_billed(fields: dict[str, Any], tokens: int | None, nano: int | None) -> None:
    call = of(**fields)
    assert (call.total_tokens, call.nano_usd) == (tokens, nano)


def test_an_upstream_that_was_never_reached_costs_nothing() -> None:
    record = event(**NO_USAGE, outcome="upstream_aborted", status=None)
    call = finished_of(typed(record), sent=False)
    assert (call.total_tokens, call.nano_usd) == (0, 0)


def test_figures_that_are_not_whole_say_so() -> None:
    cut = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9, "complete": False}
    assert of(usage=cut, usage_missing_code="cut").at_least
    assert of(cost={"usd": "0.1", "reason": "lower_bound"}).at_least


def test_a_session_is_no_request_and_no_line() -> None:
    call = of(type="llm_proxy_session", usage=None, cost=None)
    assert (call.request, call.line, call.total_tokens, call.nano_usd) == (False, None, 0, 0)


@pytest.mark.parametrize("kind", ["llm_proxy_writer", "llm_proxy_dropped", "llm_proxy_repricing", None])
def test_other_records_are_nothing(kind: str | None) -> None:
    assert read_call({"type": kind}) is None
