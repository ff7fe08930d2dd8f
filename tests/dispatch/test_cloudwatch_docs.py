"""docs/cloudwatch.md names what the code has, and its figures are right."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dispatch.message import CONTENT, DERIVED, DROPPED_IN_ORDER, FLAT, encode
from dispatch.redact import BUILT_IN
from dispatch.sinks.cloudwatch import OVERHEAD, definition
from dispatch.sinks.cloudwatch.definition import Settings
from dispatch.sinks.cloudwatch.emf import METRICS, EmbeddedMetrics
from dispatch.sinks.cloudwatch.queries import QUERIES
from scripts.commands.cloudwatch import setup

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cloudwatch.md").read_text()


def first_cells(heading: str) -> list[str]:
    section = PAGE.split(f"\n{heading}\n", 1)[1].split("\n## ", maxsplit=1)[0].split("\n### ", maxsplit=1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_names() -> None:
    assert tuple(first_cells("## The message")) == (*FLAT, *DERIVED)
    assert set(first_cells("### Queries")) == set(QUERIES)
    assert set(first_cells("### Metrics")) == {"filters", "emf", *METRICS}
    stays = PAGE.split("### What stays on the machine")[1]
    assert {
        name for name in re.findall(r"^\| `([a-z]+)` \|", stays, re.MULTILINE) if name in BUILT_IN
    } == set(BUILT_IN)
    order = PAGE.split("### Too large")[1]
    assert re.findall(r"`([a-z_.]+)`", order.split("until it fits:")[1].split("Each is")[0]) == [
        ".".join(path) for path in DROPPED_IN_ORDER
    ]
    assert all(f"`{name}.body`" in stays for name in CONTENT)


def test_every_option_of_setup_is_explained() -> None:
    known_elsewhere = {"--log-group", "--region", "--endpoint-url", "--json", "--help"}
    for parameter in setup.params:
        for option in parameter.opts:
            assert option in known_elsewhere or re.search(rf"{option}\b", PAGE), option


def test_the_arithmetic() -> None:
    kept = json.loads((Path(__file__).parent / "golden" / "ok.json").read_text())
    plain = len(encode(kept["message"]).encode())
    with_metrics = EmbeddedMetrics().add_to(kept["message"], kept["event"], 1_767_268_800_000)
    rich = len(encode(with_metrics).encode())
    assert f"has {plain:,} bytes" in PAGE
    assert f"With `--emf` it is {rich:,}" in PAGE
    gib = (plain + OVERHEAD) * 1e6 / 2**30
    assert f"x {plain + OVERHEAD:,} B = {gib:.2f} GiB, at 0.50 a GB | {gib * 0.5:.2f} |" in PAGE
    more = (rich + OVERHEAD) * 1e6 / 2**30
    assert f"x {rich + OVERHEAD:,} B = {more:.2f} GiB, at 0.50 | {more * 0.5:.2f} |" in PAGE
    assert f"({1_048_576 // (plain + OVERHEAD)} messages fill one)" in PAGE
    filters = definition.metric_filters(Settings("g", "r"))
    by_dimension = [name for name in filters if "-by-" in name]
    assert len(filters) - len(by_dimension) == len(METRICS) + 1 == 9
    assert len(by_dimension) == 2 * 5
