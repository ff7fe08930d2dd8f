"""Who is told what is wrong: each alert once, whoever looks, and none is lost. On each engine."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from store.core.event import AlertRecord
from store.database.engine import Connection, Engine
from store.upkeep.alerts import (
    DISPATCHER_FAILING,
    ONCE_SECONDS,
    SPEND_RATE,
    TELL_SECONDS,
    Condition,
    EntriesInMemory,
    Entry,
    StoredEntries,
    advance,
    mark_told,
)

NOW = 1_800_000_000
FAILING = Condition(
    DISPATCHER_FAILING,
    "sink_failing",
    "cloudwatch",
    "cloudwatch fails",
    "host:/spool",
    "what the backend said",
    key="cloudwatch",
)
FAST = Condition(
    SPEND_RATE,
    "faster_than_week_before",
    "",
    "p is fast",
    project=("p", "acme"),
    spend=(6, 30.5, 2.0),
    key="p",
)


class Looker:
    """Looks as one dispatcher does."""

    def __init__(self, entries: StoredEntries | EntriesInMemory, *, dies: bool = False) -> None:
        self.entries, self.dies = entries, dies
        self.told: list[tuple[str | None, str | None]] = []
        self.ids: list[str | None] = []

    def look(
        self, seconds: float, *found: Condition, seen: bool = True
    ) -> list[tuple[str | None, str | None]]:
        """Look so many seconds after the first time; what is told of now."""
        conditions = {condition.id: condition for condition in found}
        told: list[Entry] = list(advance(self.entries, conditions, NOW + int(seconds), 60, lambda _: seen))
        for entry in told:
            self.ids.append(entry.record().event_id)
            if not self.dies:
                mark_told(self.entries, entry)
        return [(entry.record().alert, entry.record().state) for entry in told]


@pytest.fixture
def looker(connection: Connection) -> Looker:
    return Looker(StoredEntries(connection))


BEGUN, OVER = (DISPATCHER_FAILING, "firing"), (DISPATCHER_FAILING, "resolved")


def rounds(looker: Looker, times: Sequence[int], *found: Condition) -> list[tuple[str | None, str | None]]:
    return [told for seconds in times for told in looker.look(seconds, *found)]


def test_once_when_it_has_held_and_once_when_it_is_over(looker: Looker) -> None:
    assert rounds(looker, (0, 15, 30, 45), FAILING) == []
    assert looker.look(60, FAILING) == [BEGUN]
    assert rounds(looker, (75, 90, 4000), FAILING) == []
    assert rounds(looker, (4015, 4060)) == []
    assert looker.look(4061) == [OVER]
    assert rounds(looker, (4076, 9000)) == []
    assert looker.entries.all() == {}
    assert rounds(looker, (9015, 9075), FAILING) == [BEGUN], "a new one"
    assert len(set(looker.ids)) == 3


def test_what_passes_at_once_is_not_told(looker: Looker) -> None:
    assert rounds(looker, (0, 15), FAILING) == []
    assert rounds(looker, (30, 45, 60, 76)) == []
    assert looker.entries.all() == {}


def test_what_flickers_is_one_alert(looker: Looker) -> None:
    told = []
    for seconds in range(0, 600, 30):
        told += looker.look(seconds, *([FAILING] if seconds % 60 == 0 else []))
    assert told == [BEGUN]


def test_what_a_record_says(looker: Looker) -> None:
    looker.look(0, FAILING)
    (entry,) = advance(looker.entries, {FAILING.id: FAILING}, NOW + 60, 60)
    record = entry.record()
    assert (record.reason, record.subject, record.place) == ("sink_failing", "cloudwatch", "host:/spool")
    assert (record.since, record.timestamp) == ("2027-01-15T08:00:00.000Z", "2027-01-15T08:01:00.000Z")
    assert record.summary == "cloudwatch fails"
    assert record.error is not None
    assert record.error.message == "what the backend said"
    mark_told(looker.entries, entry)
    (gone,) = advance(looker.entries, {}, NOW + 200, 60)
    assert (gone.record().summary, gone.record().error) == ("It is over: cloudwatch fails", None)
    assert gone.record().since == record.since


def test_of_several_one_tells(engine: Engine, looker: Looker) -> None:
    connection = engine.connect()
    try:
        other = Looker(StoredEntries(connection))
        told = []
        for seconds in (0, 15, 30, 45, 60, 75):
            told += looker.look(seconds, FAILING) + other.look(seconds, FAILING)
        assert told == [BEGUN]
        for seconds in (90, 140, 160, 180):
            told += other.look(seconds) + looker.look(seconds)
        assert told == [BEGUN, OVER]
    finally:
        connection.close()


def test_two_at_the_same_moment(engine: Engine, looker: Looker) -> None:
    """Both have read the rows before either has changed one."""
    connection = engine.connect()
    try:
        other = StoredEntries(connection)
        looker.look(0, FAILING)
        entry = looker.entries.all()[FAILING.id]
        assert other.change(entry, entry.with_record(AlertRecord(event_id="x"), "firing", NOW))
        assert not looker.entries.change(entry, entry.with_record(AlertRecord(event_id="x"), "firing", NOW))
        assert not looker.entries.change(None, entry)
        assert not looker.entries.change(entry, None)
    finally:
        connection.close()


def test_what_a_dead_process_did_not_tell_is_told_with_the_same_id(connection: Connection) -> None:
    died, other = Looker(StoredEntries(connection), dies=True), Looker(StoredEntries(connection))
    assert rounds(died, (0, 60), FAILING) == [BEGUN]
    assert rounds(other, (75, 60 + TELL_SECONDS - 1), FAILING) == []
    assert other.look(60 + TELL_SECONDS, FAILING) == [BEGUN]
    assert other.ids == died.ids
    assert rounds(other, (200, 400), FAILING) == []


def test_a_fast_spender_is_told_at_once_and_once_a_day(looker: Looker) -> None:
    assert looker.look(0, FAST) == [(SPEND_RATE, "firing")]
    assert rounds(looker, (300, 600), FAST) == []
    assert rounds(looker, (3600, 7200)) == [], "never resolved"
    assert looker.look(7500, FAST) == []
    assert rounds(looker, (ONCE_SECONDS, ONCE_SECONDS + 15), FAST) == [(SPEND_RATE, "firing")]


def test_who_cannot_see_it_does_not_say_that_it_is_over(looker: Looker) -> None:
    rounds(looker, (0, 60), FAILING)
    assert looker.look(1000, seen=False) == []
    assert looker.look(1015, seen=True) == [OVER]


def test_a_store_that_is_away_is_brought_up_to_date_afterwards(
    looker: Looker, connection: Connection
) -> None:
    rounds(looker, (0, 15), FAILING)
    memory = EntriesInMemory()
    memory.entries = looker.entries.all()
    away = Looker(memory)
    assert rounds(away, (30, 60, 75), FAILING) == [BEGUN]
    memory.save(StoredEntries(connection))
    assert rounds(looker, (90, 105), FAILING) == [], "it is told already"
    assert rounds(looker, (120, 180)) == [OVER]
