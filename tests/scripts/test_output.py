"""Lists are printed as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from scripts.output import show_all


def test_a_list_of_any_length_begins_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def rows() -> Iterator[Mapping[str, Any]]:
        yield {"id": 1}
        seen.append(capsys.readouterr().out)
        yield {"id": 2}

    show_all(rows(), ("id",), as_json=True, nothing="")
    assert seen == ['[\n{"id": 1}']
    assert json.loads(seen[0] + capsys.readouterr().out) == [{"id": 1}, {"id": 2}]


def test_an_empty_list_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    show_all([], ("id",), as_json=True, nothing="")
    assert capsys.readouterr().out == "[]\n"


def test_a_narrow_terminal_gets_fewer_columns_and_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    row = {"id": "1" * 20, "name": "n" * 15, "note": "x" * 30}
    show_all([row], tuple(row), as_json=False, nothing="", droppable=("note", "name"))
    said = capsys.readouterr()
    assert "n" * 15 in said.out
    assert "x" * 30 not in said.out
    assert max(map(len, said.out.splitlines())) <= 40
    assert said.err == "(left out for want of room: note;\n--json, or a pipe, has all)\n"
