"""What `llmproxy cloudwatch setup` makes: the template, the dashboard, queries and metric filters."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint

from dispatch.errors import Misconfigured
from dispatch.message import DERIVED, FLAT, message
from dispatch.sinks.cloudwatch import cloudformation, definition
from dispatch.sinks.cloudwatch.dashboard import body
from dispatch.sinks.cloudwatch.definition import Settings
from dispatch.sinks.cloudwatch.queries import QUERIES
from tests.dispatch.cloudwatch import REGION, check_dashboard

pytestmark = [pytest.mark.slow, pytest.mark.once]  # in sum

GOLDEN = Path(__file__).parent / "golden"


# -- what is made


@pytest.mark.parametrize("metrics", ["filters", "emf", "none"])
def test_the_template_is_valid_and_holds_the_same(metrics: Any) -> None:
    key = "arn:aws:kms:eu-central-1:123456789012:key/0197a3c0-0000-7000-8000-0000000000aa"
    topic = "arn:aws:sns:eu-central-1:123456789012:ops"
    settings = Settings(
        *("/llm/usage", REGION),
        kms_key=key,
        tags={"team": "search"},
        stream="proxy",
        streams=2,
        metrics=metrics,
        alarm_actions=[topic],
    )
    template = cloudformation.template(settings)
    assert lint(json.dumps(template), regions=[REGION]) == []
    found: dict[str, list[Any]] = {}
    for resource in template["Resources"].values():
        found.setdefault(resource["Type"].rpartition(":")[2], []).append(resource["Properties"])
    assert {made["Name"]: made["QueryString"] for made in found["QueryDefinition"]} == definition.queries(
        settings
    )
    assert {made["FilterName"] for made in found.get("MetricFilter", [])} == set(
        definition.metric_filters(settings)
    )
    assert {made["AlarmName"] for made in found["Alarm"]} == set(definition.alarms(settings))
    assert {made["LogStreamName"] for made in found["LogStream"]} == {"proxy-1", "proxy-2"}
    assert found["LogGroup"][0]["RetentionInDays"] == 90


def test_dashboard() -> None:
    check_dashboard(body("/llm/usage", REGION, "LLMProxy", metrics=True))
    without = body("/llm/usage", REGION, "LLMProxy", metrics=False)
    check_dashboard(without)
    assert {widget["type"] for widget in without["widgets"]} == {"log"}


WORDS = {
    *("filter", "stats", "by", "sort", "desc", "asc", "limit", "fields", "as", "dedup", "not", "in", "type"),
    *("sum", "count", "max", "min", "pct", "count_distinct", "bin", "ispresent"),
}


def test_queries_ask_for_what_messages_hold() -> None:
    """Every name in a query is a field of the message, or was named by the query itself."""
    event = json.loads((GOLDEN / "ok.json").read_text())["event"]
    known = set(paths(message(event))) | {*FLAT, *DERIVED, "last_seq", "cost.missing", "error.code"}
    for name, text in QUERIES.items():
        assert len(text) <= 10_000
        bare = re.sub(r'"[^"]*"', "", text)
        own = set(re.findall(r"\bas (\w+)", bare))
        used = set(re.findall(r"(?<![@\w.])[a-z_][\w.]*", bare)) - WORDS - own - {"d", "m"}
        assert used <= known, f"{name}: {used - known}"
        assert text.count("| stats") <= 2, "the most that a query may have"
    assert {
        "Spend by project",
        "Spend by user",
        "Spend by model",
        "Spend by day",
        "Errors",
        "Latency",
    } <= set(QUERIES)


def test_metric_filters_select_numbers_of_messages() -> None:
    event = json.loads((GOLDEN / "ok.json").read_text())["event"]
    shown = paths(message(event))
    for name, made in definition.metric_filters(Settings("g", REGION)).items():
        (transformation,) = made["metricTransformations"]
        selector = transformation["metricValue"].removeprefix("$.")
        assert selector == "1" or isinstance(shown[selector], int | float), name
        dimensions = transformation.get("dimensions", {})
        assert len(dimensions) <= 3
        assert not (dimensions and "defaultValue" in transformation)
        assert all(isinstance(shown[path.removeprefix("$.")], str) for path in dimensions.values())
        assert len(made["filterPattern"]) <= 1024


def paths(value: Any, before: str = "") -> dict[str, Any]:
    """Every path of member names, with dots, and what is there."""
    found = {}
    for name, item in value.items():
        found[before + name] = item
        if isinstance(item, dict):
            found |= paths(item, f"{before}{name}.")
    return found


def test_settings_are_checked() -> None:
    with pytest.raises(Misconfigured, match="50 tags"):
        Settings("g", REGION, tags={str(n): "" for n in range(50)})
    assert Settings("/a/b c".replace(" ", "."), REGION).name == "llmproxy-a-b-c"
