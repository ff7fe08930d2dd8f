from __future__ import annotations

import socket
from typing import Any

import pytest

from dispatch.errors import Misconfigured
from dispatch.sinks.cloudwatch.streams import DEFAULT_STREAM, RUN, StreamNames, check_group

pytestmark = [pytest.mark.slow, pytest.mark.once]  # in sum

NOON = 1_767_268_800_000
"""2026-01-01T12:00:00Z, in milliseconds."""


def of(names: StreamNames, **record: Any) -> str:
    return names.of({"writer": "w", "seq": 1, **record}, NOON)


def test_placeholders() -> None:
    names = StreamNames("{host}/{date}/{project_id}", host="box:1*")
    assert of(names, project_id="p:q") == "box-1-/2026-01-01/p-q"
    assert of(names, project_id=None) == "box-1-/2026-01-01/none"
    assert of(StreamNames(DEFAULT_STREAM)) == f"llmproxy-{socket.gethostname()}".replace(":", "-")
    assert of(StreamNames("fixed{{}}")) == "fixed{}"
    assert len(of(StreamNames("{project_id}"), project_id="x" * 900)) == 512
    assert len(of(StreamNames("{project_id}", 32), project_id="x" * 900)) <= 512


@pytest.mark.parametrize("template", ["", "{user}", "{host!r}", "{date:%Y}", "{", "{}", "{0}"])
def test_bad_templates(template: str) -> None:
    with pytest.raises(Misconfigured, match="log stream"):
        StreamNames(template)


def test_runs_of_a_writer_go_to_the_streams_in_turn() -> None:
    names = StreamNames("s", 3)
    assert names.all_fixed() == ["s-1", "s-2", "s-3"]
    seen = [of(names, seq=number) for number in range(6 * RUN)]
    for start in range(0, 6 * RUN, RUN):
        assert len(set(seen[start : start + RUN])) == 1
    assert set(seen[: 3 * RUN]) == {"s-1", "s-2", "s-3"}
    assert seen == [of(names, seq=number) for number in range(6 * RUN)], "always the same"
    assert {of(names, writer=f"w{n}") for n in range(50)} == {"s-1", "s-2", "s-3"}


def test_a_closing_record_goes_behind_the_last_event() -> None:
    names = StreamNames("s", 3)
    last = of(names, seq=2 * RUN + 5)
    assert names.of({"writer": "w", "last_seq": 2 * RUN + 5}, NOON) == last
    for odd in ("x", None, 1.5):
        assert names.of({"writer": None, "seq": odd}, NOON) in names.all_fixed()


def test_names_that_depend_on_events_are_not_known_before() -> None:
    assert StreamNames("{date}").all_fixed() == []
    assert StreamNames("a").all_fixed() == ["a"]


@pytest.mark.parametrize("name", ["", "a b", "aws/x", "x" * 513, "a:b", "ü"])
def test_bad_groups(name: str) -> None:
    with pytest.raises(Misconfigured, match="log group"):
        check_group(name)
    assert check_group("/llm/usage_1.#-") == "/llm/usage_1.#-"
