"""Define one row of the audit log, and its hash.

The hash is SHA-256 over the row as canonical JSON: an object of all its fields but ``hash``, names sorted, no
white space, everything beyond ASCII escaped. It covers the hash of the row before (``previous``), so that no
row can be changed, taken out or moved without all that follow being made anew. ``version`` says which fields
there are and how they are written; another version would keep this one beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

VERSION = 1


@dataclass(frozen=True, slots=True)
class Head:
    """Names the last row of a chain, or of a part of it: whoever knows it knows all rows up to there."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Undo ``str``. Raises ValueError."""
        seq, _, digest = text.strip().partition(":")
        if not seq.isdecimal() or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ValueError(f"{text.strip()[:100]!r} is no head of an audit log: write SEQ:HASH")
        return cls(int(seq), digest)


GENESIS = Head(0, "0" * 64)
"""It is what the first row follows."""


@dataclass(frozen=True, slots=True)
class Record:
    """Holds a row as it is stored. The types hold for what we wrote; whoever tampers may write others."""

    seq: int
    version: int
    at: int
    """Seconds since 1970; of several refusals in one row the moment of the last."""
    since: int | None
    """It is that of several refusals in one row the moment of the first."""
    action: str
    outcome: str
    """success, failure (the change was asked for and not made) or refused (an authentication)."""
    actor: str | None
    """It says who changed something, see :mod:`store.audit.origin`; None for refused authentications."""
    address: str | None
    project_id: str | None
    token_id: str | None
    reason: str | None
    before: str | None
    """JSON: the fields that changed, as they were; no secrets."""
    after: str | None
    """JSON: the same fields, as they are now."""
    count: int
    previous: str
    hash: str

    @property
    def head(self) -> Head:
        return Head(self.seq, self.hash)

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for export: everything that the hash covers, and the hash."""
        found = {name: getattr(self, name) for name in NAMES}
        return found | {"before": _parsed(self.before), "after": _parsed(self.after)}

    def shown(self) -> dict[str, Any]:
        """Give the fields for people and scripts: without the chain, times as RFC 3339."""
        found = self.as_dict()
        for name in ("version", "previous", "hash"):
            del found[name]
        return found | {"at": moment(self.at), "since": None if self.since is None else moment(self.since)}


NAMES = tuple(field.name for field in fields(Record))


def of_row(row: Mapping[str, Any]) -> Record:
    return Record(**{name: row[name] for name in NAMES})


def of_export(value: Any) -> Record:
    """Undo :meth:`Record.as_dict`. Raises ValueError."""
    if not isinstance(value, dict) or value.keys() != set(NAMES) or type(value["seq"]) is not int:
        raise ValueError("this is no row of an audit log")
    return Record(
        **{
            **value,
            "before": _text(value["before"]),
            "after": _text(value["after"]),
        }
    )


def digest(record: Record) -> str:
    """Give the hash that the row should have."""
    covered = record.as_dict()
    del covered["hash"]
    return hashlib.sha256(canonical(covered).encode()).hexdigest()


def canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def moment(seconds: int) -> str:
    """Write a moment by RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _parsed(text: str | None) -> Any:
    """Give the object, where the text is its canonical form.

    What somebody wrote in its place stays a text.
    """
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return text
    return value if isinstance(value, dict) and canonical(value) == text else text


def _text(value: Any) -> Any:
    return canonical(value) if isinstance(value, dict) else value
