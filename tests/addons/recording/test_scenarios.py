"""What becomes of scenarios in their events: outcomes, counted figures and costs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from addons.importing.exchange import Recorded, to_exchange
from tests.events import fields_of
from tests.scenarios import SCENARIOS, Scenario

WITH_EVENT = [name for name, scenario in SCENARIOS.items() if scenario.event]
MOMENT = datetime(2026, 11, 28, tzinfo=UTC)
"""The prices of that day hold."""

PRICED = sys.version_info >= (3, 12)


def event_of(scenario: Scenario) -> dict[str, Any]:
    request, response = scenario.request, scenario.response
    recorded = Recorded(
        request.method,
        scenario.url,
        request.headers,
        request.body,
        response.status,
        response.headers,
        response.body,
        started_at=MOMENT,
        outcome="ok" if response.complete else "client_aborted",
    )
    return fields_of(to_exchange(recorded))


def at(event: Mapping[str, Any], path: str) -> Any:
    found: Any = event
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def test_there_is_something_to_check() -> None:
    assert len(WITH_EVENT) > 20


@pytest.mark.parametrize("name", WITH_EVENT)
def test_event(name: str) -> None:
    scenario = SCENARIOS[name]
    event = event_of(scenario)
    # The last release of genai-prices for Python 3.11 knows fewer prices: there costs are not compared.
    paths = [path for path in scenario.event if PRICED or not path.startswith("cost")]
    assert {path: at(event, path) for path in paths} == {path: scenario.event[path] for path in paths}
