"""Finds what is wrong with a chain of audit records, and names the rows.

What a chain proves: nobody changed, removed or moved a row without making all later ones anew, and the head.
Somebody who may write to the store can do just that; only a head that was noted elsewhere tells then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from store.audit.record import GENESIS, VERSION, Head, Record, digest

PRUNE = "audit.prune"
MOST = 100
"""Faults that are named; more are only counted."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Names rows that are not what they were."""

    first: int
    last: int
    kind: str
    """changed, missing, reordered, cut (missing at the end), added or rewritten."""
    detail: str

    def __str__(self) -> str:
        rows = f"row {self.first}" if self.first == self.last else f"rows {self.first} to {self.last}"
        return f"{rows}: {self.kind}: {self.detail}"

    def as_dict(self) -> dict[str, Any]:
        return {"first": self.first, "last": self.last, "kind": self.kind, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Says what was found."""

    rows: int
    begins: Head
    """It is what the first row follows: row 0, unless earlier ones were pruned or are not in the file."""
    head: Head
    faults: Sequence[Fault]
    """The first ones, by row."""
    more: int
    """Faults beyond those."""
    compared: int
    """Noted heads that agree."""
    beyond: Sequence[Head]
    """Noted heads that can't be compared, because their rows were pruned."""

    @property
    def whole(self) -> bool:
        return not self.faults


@dataclass(slots=True)
class Verifier:
    """Takes the rows in order of their numbers, one by one, and judges at the end."""

    noted: Sequence[Head] = ()
    """Heads of this chain from earlier."""
    rows: int = 0
    begins: Head = GENESIS
    last: Head = GENESIS
    more: int = 0
    _last_is_sound: bool = True
    _begins_soundly: bool = True
    _faults: list[Fault] = field(default_factory=list)
    _suspects: list[Record] = field(default_factory=list)
    _pruned: set[tuple[Any, Any]] = field(default_factory=set)
    _seen: dict[int, str | None] = field(default_factory=dict)
    """Hashes of the rows whose heads were noted."""

    def __post_init__(self) -> None:
        self.noted = sorted(set(self.noted), key=lambda head: head.seq)
        self._seen = dict.fromkeys((head.seq for head in self.noted), None)

    def see(self, record: Record) -> None:
        if record.seq < 1:
            self._fault(record.seq, record.seq, "added", "rows are numbered from 1")
            return
        sound = record.version == VERSION and digest(record) == record.hash
        if self.rows == 0:
            self._begin(record, sound=sound)
        elif record.seq > self.last.seq + 1:
            self._fault(self.last.seq + 1, record.seq - 1, "missing", "the numbers have a gap here")
        elif record.seq <= self.last.seq:
            self._fault(record.seq, record.seq, "reordered", f"it comes after row {self.last.seq}")
        elif sound and self._last_is_sound and record.previous != self.last.hash:
            self._fault(
                self.last.seq,
                self.last.seq,
                "changed",
                f"row {record.seq} followed another one in its place",
            )
        if not sound:
            self._suspect(record)
        elif record.action == PRUNE and record.outcome == "success":
            kept = record.as_dict()["after"]
            if isinstance(kept, dict):
                self._pruned.add((kept.get("through"), kept.get("hash")))
        if record.seq in self._seen:
            self._seen[record.seq] = record.hash
        self.rows += 1
        self.last, self._last_is_sound = record.head, sound

    def end(self, head: Head | None, *, partial: bool = False) -> Verdict:
        """Judge the rest. `head`: what the store, or the end of the file, says that the last row is.

        `partial`: rows before the first one may be elsewhere.
        """
        self._judge_suspects()
        self._judge_end(head)
        if self.begins.seq > 0 and not partial and not self._is_anchored():
            self._fault(1, self.begins.seq, "missing", "no row says that they were pruned")
        beyond = [noted for noted in self.noted if noted.seq < self.begins.seq]
        compared = sum(self._agrees(noted) for noted in self.noted if noted not in beyond)
        faults = sorted(self._faults)
        return Verdict(self.rows, self.begins, self.last, faults, self.more, compared, beyond)

    def _begin(self, record: Record, *, sound: bool) -> None:
        if record.seq > 1:
            self.begins, self._begins_soundly = Head(record.seq - 1, record.previous), sound
        elif sound and record.previous != GENESIS.hash:
            self._fault(1, 1, "changed", "it follows another row, and there is none before the first")

    def _is_anchored(self) -> bool:
        """Tell whether a row says that those before the first one were pruned."""
        if self._begins_soundly:
            return (self.begins.seq, self.begins.hash) in self._pruned
        return any(through == self.begins.seq for through, _ in self._pruned)

    def _judge_suspects(self) -> None:
        """Tell rows that were moved from those whose content was changed."""
        numbers = [record.seq for record in self._suspects]
        for record in self._suspects:
            true = next((seq for seq in numbers if digest(replace(record, seq=seq)) == record.hash), None)
            kind, detail = "changed", "its hash does not fit what it holds"
            if record.version != VERSION:
                detail = f"its version {record.version!r} is not known to this llmproxy"
            elif true is not None:
                kind, detail = "reordered", f"it holds what was row {true}"
            self._fault(record.seq, record.seq, kind, detail)

    def _judge_end(self, head: Head | None) -> None:
        if head is None:
            self._fault(self.last.seq, self.last.seq, "cut", "there is no head that says that it is the last")
        elif self.last.seq < head.seq:
            self._fault(self.last.seq + 1, head.seq, "cut", f"the head says that there are {head.seq} rows")
        elif self.last.seq > head.seq:
            detail = f"the head says that row {head.seq} is the last"
            self._fault(head.seq + 1, self.last.seq, "added", detail)
        elif self._last_is_sound and self.last.hash != head.hash:
            self._fault(head.seq, head.seq, "changed", "the head is of another row with this number")

    def _agrees(self, noted: Head) -> bool:
        seen = self.begins.hash if noted.seq == self.begins.seq else self._seen.get(noted.seq)
        if seen == noted.hash:
            return True
        if seen is not None:
            detail = f"row {noted.seq} has another hash than the head that was noted"
            self._fault(self.begins.seq + 1, noted.seq, "rewritten", detail)
        elif noted.seq > self.last.seq:
            self._fault(
                self.last.seq + 1, noted.seq, "cut", f"row {noted.seq} was there when its head was noted"
            )
        return False

    def _suspect(self, record: Record) -> None:
        if len(self._suspects) < MOST:
            self._suspects.append(record)
        else:
            self.more += 1

    def _fault(self, first: int, last: int, kind: str, detail: str) -> None:
        if len(self._faults) < MOST:
            self._faults.append(Fault(first, last, kind, detail))
        else:
            self.more += 1
