"""Usage by the largest groups, over time and beside the time before, on each engine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from store.core.errors import Invalid
from store.database.engine import Connection
from store.tokens.store import TokenStore
from store.usage.breakdown import Question, break_down
from store.usage.periods import name_of, next_of, start_of
from store.usage.reports import Usage
from store.usage.rollups import DAYS, FIGURES, KEY, TABLE, Line, RollUps, line_of
from tests.events import typed

START = datetime(2026, 11, 2, tzinfo=UTC)  # a Monday
NOW = START + timedelta(days=10)


def add(connection: Connection, hours: int, usd: int, calls: int = 1, **key: str) -> None:
    """Usage in the hour that begins so many hours after START."""
    place = dict.fromkeys(KEY, "") | key | {"hour": str(int(START.timestamp()) // 3600 + hours)}
    amounts = dict.fromkeys(FIGURES, 0) | {"calls": calls, "nano_usd": usd * 10**9}
    hour, *names = (place[name] for name in KEY)
    with connection.transaction():
        RollUps().add(connection, [Line((int(hour), *names), amounts)])  # type: ignore[arg-type]


def rows(answer: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in answer["data"]]


def ask(connection: Connection, by: Sequence[str], top: int = 10, **more: Any) -> dict[str, Any]:
    compare = more.pop("compare", False)
    return break_down(connection, Question(Usage(by, **more), top, compare), NOW)


def test_the_largest_groups_and_the_rest_come_to_the_total(store: TokenStore) -> None:
    db = store.connection
    for number, model in enumerate(("a", "b", "c", "d")):
        add(db, 0, usd=number, calls=10 - number, model=model)
    add(db, 5, usd=5, model="a")
    answer = ask(db, ["model"], top=2)
    assert rows(answer, "model", "rest", "usd", "calls") == [
        ("a", False, "5", 11),
        ("d", False, "3", 7),
        (None, True, "3", 17),
    ]
    assert (answer["total"]["usd"], answer["total"]["calls"]) == ("11", 35)
    assert (answer["since"], answer["before"]) == ("2026-11-02T00:00:00.000Z", None)
    assert rows(ask(db, [], top=1), "usd", "rest") == [("11", False)]
    assert ask(db, ["model"], projects=["none"])["data"] == []


def test_over_time_each_period_comes_to_its_total(store: TokenStore) -> None:
    db = store.connection
    add(db, 1, usd=1, model="a")
    add(db, 2, usd=2, model="b")
    add(db, 30, usd=7, model="c")
    add(db, 24 * 7, usd=1, model="c", calls=3)
    found = ask(db, ["day", "model"], top=1)
    assert rows(found, "day", "model", "rest", "usd") == [
        ("2026-11-02", None, True, "3"),
        ("2026-11-03", "c", False, "7"),
        ("2026-11-09", "c", False, "1"),
    ]
    assert rows(ask(db, ["week"]), "week", "usd") == [("2026-W45", "10"), ("2026-W46", "1")]
    assert rows(ask(db, ["month", "day"]), "month", "day", "calls")[0] == ("2026-11", "2026-11-02", 2)
    hours = ask(db, ["hour"], since=START + timedelta(hours=2), until=START + timedelta(hours=30))
    assert rows(hours, "hour", "usd") == [("2026-11-02T02:00Z", "2")]


def test_days_are_those_of_the_time_zone(store: TokenStore) -> None:
    db, zone = store.connection, ZoneInfo("America/New_York")
    add(db, 4, usd=1)  # 23:00 on Sunday
    add(db, 5, usd=2)
    answer = ask(db, ["day"], zone=zone)
    assert rows(answer, "day", "usd") == [("2026-11-01", "1"), ("2026-11-02", "2")]
    assert rows(ask(db, ["hour"], zone=zone), "hour") == [
        ("2026-11-01T23:00-05:00",),
        ("2026-11-02T00:00-05:00",),
    ]
    assert rows(ask(db, ["week"], zone=zone), "week", "usd") == [("2026-W44", "1"), ("2026-W45", "2")]


def test_compared_with_the_time_before(store: TokenStore) -> None:
    db = store.connection
    add(db, 0, usd=1, model="a")
    add(db, 24, usd=4, model="a")
    add(db, 25, usd=2, model="new")
    since = START + timedelta(days=1)
    answer = ask(db, ["model"], since=since, until=since + timedelta(days=1), compare=True)
    assert rows(answer, "model", "usd") == [("a", "4"), ("new", "2")]
    assert [row["before"]["usd"] for row in answer["data"]] == ["1", "0"]
    assert (answer["before"]["since"], answer["before"]["total"]["usd"]) == ("2026-11-02T00:00:00.000Z", "1")
    with pytest.raises(Invalid, match="since when"):
        ask(db, ["model"], compare=True)


def test_by_label_of_tokens_and_their_projects(store: TokenStore) -> None:
    db = store.connection
    project = store.create_project("acme", "sk-real-12345678", metadata={"team": "all"})
    a, b, c = (
        store.create_token(project.id, metadata=metadata)[0].id
        for metadata in ({"team": "a"}, {"team": "a"}, {"other": "x"})
    )
    for usd, token_id in ((1, a), (2, b), (1, c), (7, "")):
        add(db, 0, usd=usd, token_id=token_id, project_id=project.id if token_id else "")
    answer = ask(db, ["label:team"])
    assert rows(answer, "label:team", "usd") == [(None, "7"), ("a", "3"), ("all", "1")]
    both = ask(db, ["day", "label:team", "project"], top=2)
    assert rows(both, "day", "label:team", "project_name", "rest", "usd") == [
        ("2026-11-02", None, None, False, "7"),
        ("2026-11-02", "a", "acme", False, "3"),
        ("2026-11-02", None, None, True, "1"),
    ]


def test_by_label_of_headers(store: TokenStore) -> None:
    """What a header says counts where the token says nothing, and each call once."""
    db = store.connection
    project = store.create_project("acme", "sk-real-12345678")
    facts, claims = (store.create_token(project.id, metadata=said)[0].id for said in ({"team": "a"}, {}))
    for hours, token_id, said, usd in (
        (0, facts, {"team": "b"}, 1),
        (0, claims, {"team": "b"}, 2),
        (1, claims, {"team": "b", "app": "x"}, 4),
        (25, claims, {"team": "c"}, 8),
        (25, claims, {}, 16),
    ):
        call = {
            "type": "llm_proxy_usage",
            "timestamp": (START + timedelta(hours=hours)).isoformat(),
            "outcome": "ok",
            "endpoint": "chat",
            "project_id": project.id,
            "token_id": token_id,
            "model": "m",
            "token_metadata": {"team": "a"} if token_id == facts else {},
            "request_metadata": said,
            "cost": {"usd": str(usd)},
        }
        with db.transaction():
            RollUps().add(db, [line_of(typed(call))])
    answer = ask(db, ["label:team"])
    assert rows(answer, "label:team", "usd", "calls") == [
        (None, "16", 1),
        ("c", "8", 1),
        ("b", "6", 2),
        ("a", "1", 1),
    ]
    assert (answer["total"]["usd"], answer["total"]["calls"]) == ("31", 5)
    assert rows(ask(db, ["label:app"]), "label:app", "usd") == [(None, "27"), ("x", "4")]
    by_day = ask(db, ["day", "label:team", "model"], top=3)
    assert rows(by_day, "day", "label:team", "model", "rest", "usd") == [
        ("2026-11-02", "b", "m", False, "6"),
        ("2026-11-02", None, None, True, "1"),
        ("2026-11-03", None, "m", False, "16"),
        ("2026-11-03", "c", "m", False, "8"),
    ]
    by_hour = ask(db, ["hour", "label:team"], top=4)
    assert [row["usd"] for row in by_hour["data"] if row["label:team"] == "b"] == ["2", "4"]
    assert rows(ask(db, ["label:team"], token_id=facts), "label:team", "usd") == [("a", "1")]
    store.update_token(claims, metadata={"team": "now"})
    later = rows(ask(db, ["label:team"]), "label:team", "usd")
    assert later == [("now", "16"), ("c", "8"), ("b", "6"), ("a", "1")]


def test_an_answer_has_an_end(store: TokenStore) -> None:
    for number in range(10):
        add(store.connection, 0, usd=1, model=f"m{number}")
    with pytest.raises(Invalid, match="20,000 are the most"):
        ask(store.connection, ["hour", "model"], since=NOW - timedelta(days=365))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia"])
@pytest.mark.parametrize("way", ["hour", "day", "week", "month"])
def test_periods_follow_each_other_without_a_gap(way: str, zone: str) -> None:
    """Over a whole year, with both changes of the clock."""
    place = ZoneInfo(zone)
    first = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) // 3600
    start = start_of(way, first, place)
    while start < first + 366 * 24:
        end = next_of(way, start, place)
        assert start < end
        assert len({name_of(way, hour, place) for hour in range(start, end)}) == 1
        assert {start_of(way, hour, place) for hour in (start, end - 1)} == {start}
        assert name_of(way, end, place) != name_of(way, start, place) or way == "hour"
        start = end


@pytest.mark.parametrize("hours", [(0, 240), (5, 49), (23, 25), (1, 20), (24, 48)])
def test_days_and_hours_come_to_the_same(store: TokenStore, hours: tuple[int, int]) -> None:
    """Long times are read from the sums by day, and the hours at their ends from those by hour."""
    db = store.connection
    for hour in range(0, 240, 7):
        add(db, hour, usd=hour, model=f"m{hour % 3}", user_id=f"u{hour}", token_id="t")
    since, until = (START + timedelta(hours=hour) for hour in hours)
    asked: dict[str, Any] = {"since": since, "until": until}
    by_day = ask(db, ["model"], **asked)
    with_hours = ask(db, ["hour", "model"], **asked)
    assert by_day["total"] == with_hours["total"]
    assert by_day["total"]["calls"] == len(range(-(-hours[0] // 7) * 7, hours[1], 7))
    assert sum(row["calls"] for row in by_day["data"]) == by_day["total"]["calls"]
    (rows_by_day,) = db.rows(f"SELECT COUNT(*) AS number FROM {DAYS}")
    (rows_by_hour,) = db.rows(f"SELECT COUNT(*) AS number FROM {TABLE}")
    assert rows_by_day["number"] <= rows_by_hour["number"]


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata", "Pacific/Apia"]
)
@pytest.mark.parametrize("by", ["model", "token", "project,model"])
def test_days_of_any_time_zone_come_to_what_their_hours_do(store: TokenStore, zone: str, by: str) -> None:
    """They are read as days of UTC, less their first hours and with the first of the next."""
    db, place = store.connection, ZoneInfo(zone)
    for hour in range(0, 240, 5):
        add(db, hour, usd=1 + hour % 11, model=f"m{hour % 3}", token_id=f"t{hour % 2}", user_id=f"u{hour}")
    ways = by.split(",")
    for since, until in ((0, 240), (3, 100), (13, 26), (20, 53)):
        times: dict[str, Any] = {
            "zone": place,
            "since": START + timedelta(hours=since),
            "until": START + timedelta(hours=until),
        }
        expected: dict[tuple[Any, ...], list[int]] = {}
        for row in ask(db, ["hour", *ways], **times)["data"]:
            hour = datetime.fromisoformat(row["hour"].replace(" ", "T"))
            day = hour.astimezone(place).date().isoformat()
            sums = expected.setdefault((day, *(row[way] for way in ways)), [0, 0])
            sums[0] += row["calls"]
            sums[1] += row["nano_usd"]
        found = {
            (row["day"], *(row[way] for way in ways)): [row["calls"], row["nano_usd"]]
            for row in ask(db, ["day", *ways], **times)["data"]
        }
        assert found == expected
