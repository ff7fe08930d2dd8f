"""Hourly sums: what an event adds, exactly once, and how many names there may be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.database.engine import Connection
from store.database.engines import engine_of
from store.tokens.store import TokenStore
from store.usage import rollups
from store.usage.reports import Usage, usage
from store.usage.rollups import OTHER, TABLE, RollUps, line_of, nano_usd
from tests.events import typed

AT = "2026-11-25T10:59:59.999Z"
HOUR = 498_778
"""Hours since 1970 at that time."""


def event(**fields: Any) -> dict[str, Any]:
    return {
        "type": "llm_proxy_usage",
        "timestamp": AT,
        "outcome": "ok",
        "project_id": "p",
        "token_id": "t",
        "user": {"id": "ada"},
        "model": "gpt-4o-mini",
        "endpoint": "chat",
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 15,
        },
        "usage_missing_code": None,
        "cost": {"usd": "0.0000111"},
        **fields,
    }


@pytest.fixture
def connection(store: TokenStore) -> Iterator[Connection]:
    connection = engine_of(store.location).connect()
    yield connection
    connection.close()


def add(connection: Connection, *events: dict[str, Any], sums: RollUps | None = None) -> None:
    with connection.transaction():
        (sums or RollUps()).add(connection, [line_of(typed(each)) for each in events])


def table(connection: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.rows("SELECT * FROM usage_hours ORDER BY hour, user_id")]


def test_what_a_call_adds(connection: Connection) -> None:
    add(connection, event(), event())
    add(connection, event())
    (row,) = table(connection)
    assert row == {
        **{"hour": HOUR, "project_id": "p", "token_id": "t", "user_id": "ada"},
        **{"model": "gpt-4o-mini", "endpoint": "chat"},
        **{"calls": 3, "refused": 0, "failed": 0, "unreported": 0, "unpriced": 0},
        **{"lower_bound": 0, "approximate": 0},
        **{"input_tokens": 30, "cached_tokens": 12, "output_tokens": 15, "reasoning_tokens": 6},
        **{"total_tokens": 45, "milliseconds": 0, "nano_usd": 33_300},
        **{"cache_hits": 0, "saved_tokens": 0, "saved_nano_usd": 0},
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"outcome": "refused", "usage": None, "cost": None}, {"refused": 1, "failed": 0, "unreported": 0}),
        ({"outcome": "http_error", "usage_missing_code": "failed"}, {"failed": 1, "unreported": 0}),
        ({"outcome": "proxy_died", "usage_missing_code": "proxy_died"}, {"failed": 1, "unreported": 1}),
        ({"outcome": "client_aborted", "usage_missing_code": "cut"}, {"failed": 1, "unreported": 1}),
        ({"usage_missing_code": "unbilled", "usage": None, "cost": None}, {"unreported": 0, "unpriced": 0}),
        ({"cost": {"usd": None, "reason": "model_unknown"}}, {"unpriced": 1, "nano_usd": 0}),
        ({"usage": {"seconds": 1.2345}}, {"milliseconds": 1234, "input_tokens": 0}),
        ({"cost": {"usd": "0.0000000001"}}, {"nano_usd": 1, "unpriced": 0}),
        ({"cost": {"usd": "0.1", "reason": "lower_bound"}}, {"lower_bound": 1, "unpriced": 0}),
        ({"usage": {"input_tokens": 1, "complete": False}}, {"lower_bound": 1, "approximate": 0}),
        ({"usage": {"input_tokens": 1, "approximate": ["audio"]}}, {"lower_bound": 0, "approximate": 1}),
        ({"cost": {"usd": "0.1", "approximate": ["service_tier"]}}, {"approximate": 1}),
    ],
)
def test_kinds_of_calls(fields: dict[str, Any], expected: dict[str, int]) -> None:
    line = line_of(typed(event(**fields)))
    assert {name: line.figures[name] for name in expected} == expected
    assert line.figures["calls"] == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
FIELDS = [name for name in event() if name != "type"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.dictionaries(st.sampled_from(["usd"]), JSON))
def test_any_event_gives_a_line_that_a_database_takes(fields: dict[str, Any], cost: dict[str, Any]) -> None:
    line = line_of(typed(event(**{"cost": cost, **fields})))
    assert all(isinstance(figure, int) and 0 <= figure < 2**63 for figure in line.figures.values())
    assert all(name.isprintable() and len(name) <= 200 for name in line.key[1:])


@pytest.mark.parametrize(
    ("usd", "nano"), [("0.1", 10**8), ("1e-10", 1), ("-1", None), ("NaN", None), ("1e30", None), (None, None)]
)
def test_dollars_are_rounded_up(usd: str | None, nano: int | None) -> None:
    assert nano_usd(usd) == nano


def test_names_that_are_too_long_stay_apart() -> None:
    first, second = (line_of(typed(event(user={"id": "x" * 300 + end}))) for end in "ab")
    assert first.key != second.key


@pytest.mark.parametrize(("column", "most"), [("user_id", 1000), ("model", 200)])
def test_of_endless_names_only_so_many_are_kept_an_hour(
    connection: Connection, column: str, most: int
) -> None:
    def named(name: str) -> dict[str, Any]:
        return event(**({"user": {"id": name}} if column == "user_id" else {"model": name}))

    sums, others = RollUps(), RollUps()  # of two processes
    add(connection, *(named(f"a{n}") for n in range(most - 10)), sums=sums)
    add(connection, *(named(f"b{n}") for n in range(30)), sums=others)
    add(connection, named("c"), named("a5"), named("b5"), named("b29"), sums=sums)
    add(connection, named("d") | {"timestamp": "2026-11-25T11:00:00Z"}, sums=sums)
    rows = connection.rows(
        f"SELECT {column} AS name, SUM(calls) AS calls FROM usage_hours WHERE hour = :hour GROUP BY {column}",
        hour=HOUR,
    )
    calls = {row["name"]: row["calls"] for row in rows}
    assert len(calls) == most + 1
    assert (calls[OTHER], calls["a5"], calls["b5"], calls["b9"]) == (22, 2, 2, 1)
    assert sum(calls.values()) == most - 10 + 30 + 4
    assert connection.rows("SELECT * FROM usage_hours WHERE hour = :hour", hour=HOUR + 1)[0][column] == "d"


def test_a_transaction_that_is_undone_adds_nothing(connection: Connection, monkeypatch: Any) -> None:
    monkeypatch.setitem(rollups.MOST, "user_id", 1)
    sums = RollUps()
    with pytest.raises(ZeroDivisionError), connection.transaction():  # noqa: PT012
        sums.add(connection, [line_of(typed(event()))])
        rollups.move_rolled(connection, "w", 1)
        raise ZeroDivisionError
    sums.forget()
    assert table(connection) == []
    assert rollups.last_rolled(connection, "w") == 0
    add(connection, event(user={"id": "grace"}), sums=sums)
    assert [row["user_id"] for row in table(connection)] == ["grace"]


def test_the_number_of_the_last_event(connection: Connection) -> None:
    for number in (3, 7):
        with connection.transaction():
            rollups.move_rolled(connection, "w", number)
    assert (rollups.last_rolled(connection, "w"), rollups.last_rolled(connection, "v")) == (7, 0)


def test_usage_by_anything_adds_up_to_the_same(store: TokenStore, connection: Connection) -> None:
    acme = store.create_project("acme", "sk-real-0123456789")
    token, _ = store.create_token(acme.id)
    times = ("2026-10-31T23:59:59Z", "2026-11-01T00:00:00Z", AT)
    for at, model, user in itertools.product(times, ("a", "b"), ("ada", None)):
        add(
            connection,
            event(
                timestamp=at,
                model=model,
                user=user and {"id": user},
                project_id=acme.id,
                token_id=token.id,
                cost={"usd": "1" if model == "a" else "0.5"},
            ),
            event(project_id=None, token_id=None, timestamp=at, outcome="refused", cost=None, usage=None),
        )
    for by in (
        ["project"],
        ["token"],
        ["user"],
        ["model"],
        ["endpoint"],
        ["hour"],
        ["day"],
        ["month", "user"],
    ):
        rows = list(usage(connection, Usage(by)))
        assert sum(row["calls"] for row in rows) == 24, by
        assert sum(row["nano_usd"] for row in rows) == 9 * 10**9, by
    projects = {row["project"]: row for row in usage(connection, Usage(["project"]))}
    assert projects[acme.id]["project_name"] == "acme"
    assert (projects[acme.id]["usd"], projects[None]["refused"]) == ("9", 12)
    (row,) = usage(connection, Usage(["token"], project_id=acme.id))
    assert row["token_prefix"] == token.prefix
    months = list(usage(connection, Usage(["month", "model"], project_id=acme.id)))
    assert [(row["month"], row["model"], row["usd"]) for row in months] == [
        ("2026-10", "a", "2"),
        ("2026-10", "b", "1"),
        ("2026-11", "a", "4"),
        ("2026-11", "b", "2"),
    ]


def test_a_range_is_of_whole_hours(connection: Connection) -> None:
    add(connection, *(event(timestamp=f"2026-11-25T{hour:02}:30:00Z") for hour in range(5)))
    at = [datetime(2026, 11, 25, hour, minute, tzinfo=UTC) for hour, minute in ((1, 45), (3, 0), (3, 1))]
    for until, expected in ((at[1], ["01", "02"]), (at[2], ["01", "02", "03"])):
        rows = list(usage(connection, Usage(["hour"], since=at[0], until=until)))
        assert [row["hour"][11:13] for row in rows] == expected


def test_a_report_by_time_reads_one_period_at_a_time(connection: Connection) -> None:
    """So its memory does not grow with the time that it is about."""
    add(connection, *(event(timestamp=f"2026-{month:02}-25T05:30:00Z") for month in (3, 7, 11)))
    for way, wanted in (("month", 3), ("day", 3), ("hour", 3)):
        rows = usage(connection, Usage([way, "user"]))
        assert next(rows)[way].startswith("2026-03")
        connection.run(f"DELETE FROM {TABLE} WHERE hour > :hour", hour=hour_of(2026, 8))
        assert [row[way][:7] for row in rows] == ["2026-07"], "what comes later was not read before"
        add(connection, event(timestamp="2026-11-25T05:30:00Z"))
        assert len(list(usage(connection, Usage([way])))) == wanted


def hour_of(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) // 3600


def test_what_headers_say_for_labels_is_summed_up(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(rollups.MOST, "value", 2)
    said = [{"team": f"t{number}", "user_id": "ada"} for number in (1, 1, 2, 3)]
    sums = RollUps()
    for one in said:
        add(connection, event(request_metadata=one, token_metadata={"user_id": "bob"}), sums=sums)
    add(connection, event(request_metadata={"app": "x" * 200}), sums=sums)
    rows = connection.rows("SELECT * FROM label_hours ORDER BY label, value")
    assert [(row["label"], row["value"][:10], row["calls"], row["total_tokens"]) for row in rows] == [
        ("app", "x" * 10, 1, 15),
        ("team", OTHER, 1, 15),
        ("team", "t1", 2, 30),
        ("team", "t2", 1, 15),
    ]
    assert len(rows[0]["value"]) == 128
    assert {row["token_id"] for row in rows} == {"t"}
    assert sum(row["calls"] for row in table(connection)) == 5
