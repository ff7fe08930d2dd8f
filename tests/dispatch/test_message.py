"""The messages that leave the machine, name by name.

`golden` holds an event and its message for every outcome: what dashboards rely on. After a wanted change of
the shape, run ``python -m tests.dispatch.test_message`` and read the difference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dispatch.message import ADDED, BUDGET_FIELDS, DERIVED, DROPPED_IN_ORDER, FLAT, encode, message, smaller
from dispatch.privacy import Privacy
from store.spool import Record
from tests.dispatch.conftest import usage_event

GOLDEN = Path(__file__).parent / "golden"
OUTCOMES = (
    *("ok", "http_error", "refused", "client_aborted", "upstream_aborted", "timeout", "shutdown"),
    "proxy_died",
)

REFERENCE = {
    "type": lambda event: "llm_proxy_usage",
    "timestamp": lambda event: event["timestamp"],
    "run_id": lambda event: event["event_id"],
    "event": lambda event: "finish",
    "request_id": lambda event: event["request_id"],
    "path": lambda event: event["path"],
    "model": lambda event: event["model"],
    "project_id": lambda event: event["project_id"],
    "token_id": lambda event: event["token_id"],
    "status": lambda event: event["status"],
    "duration_ms": lambda event: event["duration_ms"],
    "user": lambda event: event["user"],
    "usage": lambda event: event["usage"],
    "token_metadata": lambda event: event["token_metadata"],
}
"""Each flat name that existing dashboards may rely on, and where its value comes from."""


def sent(event: dict[str, Any]) -> dict[str, Any]:
    """The message that leaves when nothing is asked for."""
    return message(Privacy().of(Record(b"", event, "s", 0)).value)


def golden(outcome: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"{outcome}.json").read_text())
    return found


def test_the_flat_names_come_first_and_hold_what_they_stand_for() -> None:
    assert tuple(REFERENCE) == FLAT
    for outcome in OUTCOMES:
        event = golden(outcome)["event"]
        shown = sent(event)
        assert tuple(shown)[: len(FLAT)] == FLAT
        assert {name: shown[name] for name in FLAT} == {name: of(event) for name, of in REFERENCE.items()}
        assert set(shown) <= {*FLAT, *DERIVED, *ADDED}


def test_there_is_a_golden_file_for_every_outcome_and_no_other() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {*OUTCOMES, "writer"}
    for outcome in OUTCOMES:
        assert golden(outcome)["event"]["outcome"] == outcome


@pytest.mark.parametrize("name", [*OUTCOMES, "writer"])
def test_golden(name: str) -> None:
    kept = golden(name)
    assert json.loads(encode(sent(kept["event"]))) == kept["message"]
    assert list(sent(kept["event"])) == list(kept["message"]), "the order of the names is kept too"


def test_numbers_for_queries() -> None:
    shown = message(usage_event(1, cost={"usd": "0.0000111", "price_source": "x"}))
    assert (shown["cost_usd"], shown["failed"]) == (0.0000111, 0)
    assert message(usage_event(1, outcome="timeout"))["failed"] == 1
    for cost in (None, {"usd": None, "missing": "no price"}, {"usd": "?"}):
        assert "cost_usd" not in message(usage_event(1, cost=cost)), "unknown is not zero"


def test_usage_as_it_came_stays_in_the_spool() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "raw": {"prompt_tokens": 1}}
    assert message(usage_event(1, usage=usage))["usage"] == {"input_tokens": 1, "output_tokens": 2}
    assert message(usage_event(1, usage=usage), shape="full")["usage"] == usage


def test_no_content_unless_asked() -> None:
    event = usage_event(7, client=None, unknown_field="SECRET")
    assert "SECRET" not in encode(message(event))
    shown = message(event, include_content=True)
    assert (shown["request"], shown["response"]) == (event["request"], event["response"])
    assert shown["error"] == event["error"]
    assert "unknown_field" not in shown


def test_full_is_the_event_as_spooled_without_content() -> None:
    event = usage_event(7, client=None, unknown_field=[1], writer="w", seq=3)
    shown = message(event, shape="full")
    assert shown.keys() == event.keys() - {"request", "response"}
    assert "SECRET" not in encode(shown)
    same = set(shown) - {"error"}
    assert {name: shown[name] for name in same} == {name: event[name] for name in same}
    assert message(event, shape="full", include_content=True) == event
    assert event["request"]["body"] == {"messages": "SECRET prompt"}, "the record itself is not touched"


def test_smaller_and_smaller() -> None:
    event = usage_event(7, rate_limit={"limit_requests": 1})
    shown = message(event, include_content=True)
    steps = list(smaller(shown, 1234))
    paths = [".".join(path) for path in DROPPED_IN_ORDER]
    assert [step["truncated"][-1].partition(":")[0] for step in steps] == paths
    assert "1234 bytes" in steps[0]["truncated"][0]
    last = steps[-1]
    assert not {"request", "response", "rate_limit", "client"} & last.keys()
    assert last["error"] == {"type": "t", "code": "c"}
    assert {name: last[name] for name in FLAT} == {name: shown[name] for name in FLAT}
    assert "request" in shown, "what was passed in is not touched"
    assert len(list(smaller(message(usage_event(7, client=None)), 1))) == 0


def test_closing_record_of_a_writer() -> None:
    record = {"type": "llm_proxy_writer", "event_id": "e", "writer": "w", "last_seq": 3, "timestamp": "t"}
    assert message({**record, "other": "SECRET"}) == record
    assert message(record, shape="full") == record


def test_half_a_surrogate_pair() -> None:
    text = encode({"path": "/\ud800é"})
    assert text.encode()
    assert json.loads(text) == {"path": "/\ud800é"}


def test_the_mark_of_a_budget() -> None:
    mark = dict.fromkeys(BUDGET_FIELDS, 1) | {"type": "llm_proxy_budget", "timestamp": "t"}
    assert sent(mark | {"something_else": 1}) == mark


if __name__ == "__main__":
    for path in sorted(GOLDEN.glob("*.json")):
        event = json.loads(path.read_text())["event"]
        path.write_text(json.dumps({"event": event, "message": sent(event)}, indent=1) + "\n")
