"""Tables: whole lines, numbers on the right, columns left out where there is no room."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from rich.cells import cell_len

from scripts.cells import short_decimal
from scripts.table import PORTION, Table

ID = "01a214b1-4c16-725c-9701-cfddafaa758f"
ROWS = [
    {
        "id": ID,
        "name": "search",
        "calls": 5,
        "usd": "0.00001095",
        "metadata": {"team": "ranking", "env": "test"},
    },
    {"id": ID, "name": "a 名前", "calls": 12345, "usd": "49.5", "metadata": {}},
]
COLUMNS = ("id", "name", "calls", "usd", "metadata")


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (None, []),
        (130, []),
        (100, []),
        (80, []),
        (60, ["metadata", "usd"]),
        (10, ["metadata", "usd"]),
    ],
)
def test_ids_and_numbers_are_whole_at_every_width(width: int | None, left_out: list[str]) -> None:
    table = Table(COLUMNS, droppable=("metadata", "usd"), width=width)
    header, *lines = table.lines(ROWS)
    assert len(lines) == len(ROWS), "no row is folded"
    assert table.left_out == left_out
    assert header.split() == [name for name in COLUMNS if name not in left_out]
    for line in lines:
        assert ID in line
        assert width == 10 or width is None or cell_len(line) <= width
    assert table.shortened == (["metadata"] if width == 80 else [])
    assert "12345" in lines[1]


def test_numbers_stand_on_the_right() -> None:
    header, first, second = Table(("name", "calls"), width=None).lines(ROWS)
    assert (first.split()[-1], second.split()[-1]) == ("5", "12345")
    assert first.endswith("    5")
    assert header.index("calls") == first.index("    5")


def test_texts_are_shortened_and_what_says_nothing_goes_first() -> None:
    rows = [{"id": ID, "name": "名前" * 20, "failed": 0, "calls": 12345, "user": ID, "at": None}]
    columns = ("id", "name", "failed", "at", "calls", "user")
    table = Table(columns, droppable=("calls", "failed", "at"), width=100)
    header, line = table.lines(rows)
    assert table.left_out == ["failed", "at"]
    assert table.shortened == ["name"]
    assert header.split() == ["id", "name", "calls", "user"]
    assert line.split() == [ID, "名前名前名前名前…", "12345", ID]
    assert cell_len(line) <= 100


def test_later_rows_that_need_more_room_get_a_header_of_their_own() -> None:
    rows = [{"name": "a", "calls": 1, "id": number} for number in range(PORTION)]
    table = Table(("id", "calls", "name"), droppable=("calls",), width=30)
    lines = list(table.lines([*rows, {"name": "n" * 30, "calls": 10**9, "id": ID[:24]}]))
    assert lines[0].split() == ["id", "calls", "name"]
    assert lines[-2].split() == ["id", "name"]
    assert lines[-1].startswith(ID[:24])


def test_times_of_tables_have_whole_seconds() -> None:
    (_, line) = Table(("created_at",), width=None).lines([{"created_at": "2026-05-01T12:00:00.123Z"}])
    assert line == "2026-05-01T12:00:00Z"


def test_what_a_client_wrote_moves_no_cursor() -> None:
    (_, line) = Table(("name",), width=None).lines([{"name": "\x1b[2Jmodel\r\nforged"}])
    assert line == r"\x1b[2Jmodel\r\nforged"


def test_a_long_list_begins_at_once() -> None:
    def endless() -> Iterator[dict[str, int]]:
        for number in itertools.count():
            assert number < 10 * PORTION, "more was read than is shown"
            yield {"number": number}

    lines = Table(("number",), width=None).lines(endless())
    assert [line.strip() for line in itertools.islice(lines, 3)] == ["number", "0", "1"]


@pytest.mark.parametrize(
    ("exact", "short"),
    [
        ("49.99998905", "50"),
        ("1.23456789", "1.2346"),
        ("0.00001095", "0.000011"),
        ("0.5", "0.5"),
        ("2.50", "2.5"),
        (12345, 12345),
        ("none", "none"),
    ],
)
def test_dollars_have_the_digits_that_matter(exact: object, short: object) -> None:
    assert short_decimal(exact) == short
