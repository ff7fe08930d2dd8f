"""Whatever is done to a chain is found, and the rows are named."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.audit.chain import MOST, PRUNE, Verdict, Verifier
from store.audit.record import GENESIS, VERSION, Head, Record, canonical, digest, of_export

ROWS = 12


def chain(rows: int = ROWS, start: Head = GENESIS, **fixed: Any) -> list[Record]:
    made: list[Record] = []
    head = start
    for number in range(start.seq + 1, start.seq + rows + 1):
        values = {
            "action": "token.create",
            "outcome": "success",
            "actor": "os:alice@build-7",
            "address": None if number % 2 else "192.0.2.7",
            "project_id": "p1",
            "token_id": f"t{number % 3}",
            "reason": None,
            "before": None if number % 3 else canonical({"active": True}),
            "after": canonical({"active": number % 2 == 0, "metadata": {"team": "süd"}}),
            "count": 1,
            **fixed,
        }
        bare = Record(
            seq=number,
            version=VERSION,
            at=1_764_000_000 + number,
            since=None,
            previous=head.hash,
            hash="",
            **values,
        )
        made.append(replace(bare, hash=digest(bare)))
        head = made[-1].head
    return made


def judged(rows: list[Record], head: Head | None, *noted: Head, partial: bool = False) -> Verdict:
    verifier = Verifier(noted)
    for row in sorted(rows, key=lambda row: row.seq):
        verifier.see(row)
    return verifier.end(head, partial=partial)


def named(verdict: Verdict) -> list[tuple[str, int, int]]:
    return [(fault.kind, fault.first, fault.last) for fault in verdict.faults]


CHAIN = chain()
HEAD = CHAIN[-1].head
TEXTS = [field.name for field in fields(Record) if "str" in str(field.type)]
NUMBERS = ["version", "at", "since", "count"]


def test_a_chain_that_nobody_touched_is_whole() -> None:
    verdict = judged(CHAIN, HEAD, CHAIN[3].head, HEAD)
    assert verdict.whole
    assert (verdict.rows, verdict.head, verdict.compared) == (ROWS, HEAD, 2)
    assert judged([], GENESIS).whole


def test_export_and_back() -> None:
    assert [of_export(row.as_dict()) for row in CHAIN] == CHAIN


@pytest.mark.parametrize("value", [None, [], {}, {"seq": 1}, {**CHAIN[0].as_dict(), "seq": "1"}])
def test_what_is_no_row_is_told(value: Any) -> None:
    with pytest.raises(ValueError, match="no row"):
        of_export(value)


# Not "hash" and "previous", which have tests of their own; those two are what must not be made to fit.
@given(at=st.integers(0, ROWS - 1), data=st.data())
def test_any_edit_is_found(at: int, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([*TEXTS, *NUMBERS]))
    old = getattr(CHAIN[at], name)
    values = st.one_of(st.none(), st.text(), st.just(f"{old} "), st.just(str(old).upper()))
    new = data.draw((st.integers() if name in NUMBERS else values).filter(lambda value: value != old))
    edited = [*CHAIN]
    edited[at] = replace(edited[at], **{name: new})
    assert named(judged(edited, HEAD)) == [("changed", at + 1, at + 1)]


@given(at=st.integers(0, ROWS - 1), actor=st.text())
def test_an_edit_whose_hash_was_made_to_fit_is_found(at: int, actor: str) -> None:
    edited = [*CHAIN]
    edited[at] = replace(edited[at], actor=actor)
    edited[at] = replace(edited[at], hash=digest(edited[at]))
    assert named(judged(edited, HEAD)) == [("changed", at + 1, at + 1)]


@given(gone=st.sets(st.integers(1, ROWS), min_size=1))
def test_any_deletion_is_found(gone: set[int]) -> None:
    verdict = judged([row for row in CHAIN if row.seq not in gone], HEAD)
    found = [seq for fault in verdict.faults for seq in range(fault.first, fault.last + 1)]
    assert found == sorted(gone)
    kinds = {fault.last: fault.kind for fault in verdict.faults}
    assert kinds.pop(ROWS, "cut") == "cut"
    assert set(kinds.values()) <= {"missing"}


@given(pair=st.tuples(st.integers(0, ROWS - 1), st.integers(0, ROWS - 1)).filter(lambda p: p[0] < p[1]))
def test_any_swap_is_found(pair: tuple[int, int]) -> None:
    one, other = pair
    swapped = [*CHAIN]
    swapped[one] = replace(CHAIN[other], seq=one + 1)
    swapped[other] = replace(CHAIN[one], seq=other + 1)
    verdict = judged(swapped, HEAD)
    assert named(verdict) == [("reordered", one + 1, one + 1), ("reordered", other + 1, other + 1)]
    assert f"what was row {other + 1}" in verdict.faults[0].detail


@given(at=st.integers(0, ROWS - 2))
def test_a_deletion_that_was_covered_by_new_numbers_is_found(at: int) -> None:
    rest = [*CHAIN[:at], *(replace(row, seq=row.seq - 1) for row in CHAIN[at + 1 :])]
    verdict = judged(rest, HEAD)
    assert verdict.faults[0].first == at + 1
    assert named(verdict)[-1] == ("cut", ROWS, ROWS)


def test_rows_beyond_the_head_are_found() -> None:
    assert named(judged(CHAIN, CHAIN[-3].head)) == [("added", ROWS - 1, ROWS)]


def test_a_head_of_another_row_is_found() -> None:
    assert named(judged(CHAIN, Head(ROWS, "f" * 64))) == [("changed", ROWS, ROWS)]
    assert named(judged(CHAIN, None)) == [("cut", ROWS, ROWS)]


def test_a_first_row_that_follows_something_is_found() -> None:
    other = chain(start=Head(0, "f" * 64))
    assert named(judged(other, other[-1].head)) == [("changed", 1, 1)]


def test_a_row_of_an_unknown_version_is_told() -> None:
    newer = replace(CHAIN[4], version=2)
    rows = [*CHAIN[:4], replace(newer, hash=digest(newer)), *CHAIN[5:]]
    verdict = judged(rows, HEAD)
    assert named(verdict) == [("changed", 5, 5)]
    assert "version 2 is not known" in verdict.faults[0].detail


def test_a_whole_chain_made_anew_is_told_by_a_noted_head_only() -> None:
    forged = [*CHAIN[:5], *chain(ROWS - 5, CHAIN[4].head, actor="os:mallory@x")]
    assert judged(forged, forged[-1].head).whole
    verdict = judged(forged, forged[-1].head, CHAIN[4].head, CHAIN[8].head)
    assert named(verdict) == [("rewritten", 1, 9)]
    assert verdict.compared == 1
    assert named(judged(CHAIN[:6], CHAIN[5].head, CHAIN[8].head)) == [("cut", 7, 9)]


def test_pruned_rows_are_no_fault_where_a_row_says_so() -> None:
    pruned = CHAIN[4].head
    rest = CHAIN[5:]
    anchor = chain(
        1, HEAD, action=PRUNE, after=canonical({"through": pruned.seq, "hash": pruned.hash, "rows": 5})
    )
    head = anchor[0].head
    verdict = judged([*rest, *anchor], head, CHAIN[1].head, pruned, CHAIN[6].head)
    assert verdict.whole
    assert (verdict.begins, verdict.compared, list(verdict.beyond)) == (pruned, 2, [CHAIN[1].head])
    assert judged(anchor, head, partial=True).whole, "the anchor alone begins where it says"
    assert named(judged([*rest[1:], *anchor], head)) == [("missing", 1, 6)]
    assert named(judged(rest, HEAD)) == [("missing", 1, 5)]
    assert judged(rest, HEAD, partial=True).whole
    edited = [replace(rest[0], previous="f" * 64), *rest[1:], *anchor]
    assert named(judged(edited, head)) == [("changed", 6, 6)]


def test_a_row_before_the_first_is_found() -> None:
    assert named(judged([replace(CHAIN[0], seq=-3), *CHAIN], HEAD)) == [("added", -3, -3)]


def test_faults_beyond_a_number_are_counted_only() -> None:
    long = chain(MOST + 40)
    verdict = judged([replace(row, actor="x") for row in long], long[-1].head)
    assert len(verdict.faults) == MOST
    assert verdict.more == 40


@pytest.mark.parametrize("text", ["", "1", "1:", "x:" + "0" * 64, "1:" + "g" * 64, "-1:" + "0" * 64])
def test_heads_are_read_strictly(text: str) -> None:
    with pytest.raises(ValueError, match="SEQ:HASH"):
        Head.parse(text)
    assert Head.parse(f" {HEAD}\n") == HEAD
