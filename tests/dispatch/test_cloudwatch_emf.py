"""Metrics within messages, held to the specification: its schema, and what a schema can't say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dispatch.errors import Misconfigured
from dispatch.message import message
from dispatch.sinks.cloudwatch.emf import DEFAULT_DIMENSIONS, DIMENSIONS, OTHER, UNKNOWN, EmbeddedMetrics
from scripts.benchmarks.strict_cloudwatch import StrictCloudWatch
from tests.dispatch.conftest import Run, to_cloudwatch, usage_event, write

SCHEMA = Draft202012Validator(json.loads((Path(__file__).parent / "emf.schema.json").read_text()))
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
NOW = 1_767_268_800_000


def with_metrics(event: dict[str, Any], metrics: EmbeddedMetrics | None = None) -> dict[str, Any]:
    return (metrics or EmbeddedMetrics()).add_to(message(event), event, NOW)


def check(shown: dict[str, Any]) -> dict[str, Any]:
    """Hold a message to the specification; returns its directive."""
    SCHEMA.validate(shown)
    (directive,) = shown["_aws"]["CloudWatchMetrics"]
    for name in {name for names in directive["Dimensions"] for name in names}:
        value = shown[name]
        assert isinstance(value, str)
        assert 1 <= len(value) <= 1024
        assert value.isascii()
        assert value.isprintable()
        assert value.strip() == value
        assert not value.startswith(":")
    for metric in directive["Metrics"]:
        value = shown[metric["Name"]]
        assert isinstance(value, int | float)
        assert not isinstance(value, bool)
        assert math.isfinite(value)
    json.dumps(shown, allow_nan=False)
    return directive


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_outcome_follows_the_specification(path: Path) -> None:
    event = json.loads(path.read_text())["event"]
    shown = with_metrics(event)
    if event["type"] != "llm_proxy_usage":
        assert "_aws" not in shown
        return
    directive = check(shown)
    assert shown["_aws"]["Timestamp"] == NOW
    assert directive["Dimensions"] == [[], ["Project"], ["Model"], ["Endpoint"], ["Outcome"]]
    assert message(event).items() <= shown.items(), "nothing of the message is changed"


def test_the_figures() -> None:
    event = json.loads((Path(__file__).parent / "golden" / "ok.json").read_text())["event"]
    shown = with_metrics(event)
    assert {metric["Name"]: shown[metric["Name"]] for metric in check(shown)["Metrics"]} == {
        "Calls": 1,
        "Failures": 0,
        "SpendUSD": 0.0001542,
        "InputTokens": 1200,
        "OutputTokens": 85,
        "CachedTokens": 1024,
        "Duration": 1830,
        "TimeToFirstToken": 430,
    }
    assert (shown["Project"], shown["Model"], shown["Endpoint"], shown["Outcome"]) == (
        *("search", "gpt-4o-mini-2024-07-18", "chat", "ok"),
    )


def test_what_is_not_known_is_no_metric() -> None:
    """A zero would be a lie, and a metric without its member spoils the whole document."""
    event = usage_event(1, usage=None, cost=None, model=None, time_to_first_token_ms=None)
    shown = with_metrics(event)
    assert [metric["Name"] for metric in check(shown)["Metrics"]] == ["Calls", "Failures", "Duration"]
    assert shown["Model"] == UNKNOWN


def test_dimensions_are_bounded() -> None:
    metrics = EmbeddedMetrics(["model"], max_values=3)
    seen = [with_metrics(usage_event(n, model=f"m{n}"), metrics)["Model"] for n in range(10)]
    assert seen == ["m0", "m1", "m2", *[OTHER] * 7]
    assert with_metrics(usage_event(0, model="m1"), metrics)["Model"] == "m1"


def test_no_user_and_no_request_unless_asked() -> None:
    assert not {"user", "token"} & set(DEFAULT_DIMENSIONS)
    assert not any("request" in name or "id" in name.split("_")[:-1] for name in DIMENSIONS)
    metrics = EmbeddedMetrics(["user", "project+model"])
    shown = with_metrics(usage_event(1, user={"id": "ada", "source": "user"}), metrics)
    assert check(shown)["Dimensions"] == [[], ["User"], ["Project", "Model"]]
    assert shown["User"] == "ada"
    for wrong in ("request_id", "", "model+", "team"):
        with pytest.raises(Misconfigured, match="not one of project, model"):
            EmbeddedMetrics([wrong])


texts = st.text(max_size=400) | st.none() | st.integers()
numbers = st.none() | st.integers() | st.floats() | st.booleans() | st.text(max_size=3)


@given(
    st.fixed_dictionaries(
        {
            "project_name": texts,
            "model": texts,
            "duration_ms": numbers,
            "time_to_first_token_ms": numbers,
            "usage": st.none() | st.dictionaries(st.sampled_from(["input_tokens", "output_tokens"]), numbers),
            "cost": st.none() | st.fixed_dictionaries({"usd": numbers}),
        }
    )
)
def test_whatever_an_event_holds_its_metrics_follow_the_specification(fields: dict[str, Any]) -> None:
    event = usage_event(1, **fields)
    directive = check(EmbeddedMetrics().add_to({"type": event["type"]}, event, NOW))
    assert directive["Dimensions"][0] == [], "the total is there, whatever else is"


def test_from_the_command_line(strict: StrictCloudWatch, group: str, spool: Path, dispatch: Run) -> None:
    write(spool, [usage_event(n, user={"id": "ada"}) for n in range(3)])
    options = ("--emf", "--emf-dimensions", "model,user", "--emf-namespace", "Test/LLM")
    done = dispatch(*to_cloudwatch(strict.url, group, *options))
    assert done.returncode == 0, done.stderr
    *events, closing = strict.messages(group)
    for shown in events:
        directive = check(shown)
        assert directive["Namespace"] == "Test/LLM"
        assert directive["Dimensions"] == [[], ["Model"], ["User"]]
    assert "_aws" not in closing
    wrong = dispatch(*to_cloudwatch(strict.url, group, "--emf", "--emf-dimensions", "request_id"))
    assert wrong.returncode == 2
    assert "request_id" in wrong.stderr
