"""Several proxies tell their figures as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from addons.recording import group
from store.spool.status_files import StatusFile

OWN: dict[str, Any] = {
    "calls": {"chat": {"ok": 3}},
    "cost_usd": {"acme": "0.1"},
    "recorded": 3,
    "open_calls": 1,
    "healthy": True,
}


def test_counts_are_summed_with_those_of_the_dead_and_what_is_under_way_is_not() -> None:
    other = {"calls": {"chat": {"ok": 1, "refused": 2}, "embeddings": {"ok": 1}}, "cost_usd": {"acme": "0.2"}}
    dead = {**other, "recorded": 4, "open_calls": 7, "healthy": False}
    found = group.summed(OWN, [({**dead, "open_calls": 5, "healthy": True}, True), (dead, False)])
    assert found["calls"] == {"chat": {"ok": 5, "refused": 4}, "embeddings": {"ok": 2}}
    assert found["cost_usd"] == {"acme": "0.5"}
    assert (found["recorded"], found["open_calls"], found["healthy"]) == (11, 6, True)
    assert OWN["calls"] == {"chat": {"ok": 3}}


def test_a_living_proxy_that_cannot_serve_makes_all_unhealthy() -> None:
    assert group.summed(OWN, [({"healthy": False}, True)])["healthy"] is False


def test_others_are_those_of_the_same_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(group.VARIABLE, "g1")
    files = [StatusFile(tmp_path, writer) for writer in ("own", "sibling", "dead", "stranger")]
    for file, name, its in zip(
        files, ("own", "sibling", "dead", "stranger"), ("g1", "g1", "g1", "g2"), strict=True
    ):
        file.write({"writer": name, "group": its})
    files[2].close()
    assert [(value["writer"], alive) for value, alive in group.others(tmp_path, "own")] == [
        ("dead", False),
        ("sibling", True),
    ]
    for file in files:
        file.close()


def test_times_are_summed_by_their_labels() -> None:
    def own(measure: str) -> list[group.Row]:
        return [(["chat", "gpt-4o"], [("1.0", 2), ("+Inf", 3)], 4.5)] if measure == "m" else []

    other = {
        "times": {
            "m": [[["chat", "gpt-4o"], [["1.0", 1], ["+Inf", 1]], 0.5], [["x", "y"], [["+Inf", 1]], 9.0]]
        }
    }
    assert group.times(own, [(other, False), ({}, True)])("m") == [
        (["chat", "gpt-4o"], [("1.0", 3), ("+Inf", 4)], 5.0),
        (["x", "y"], [("+Inf", 1)], 9.0),
    ]
