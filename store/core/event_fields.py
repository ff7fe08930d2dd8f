"""Read records of any version from their fields, and give records as fields."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, get_args

import msgspec

from store.core.event import (
    SESSION_TYPE,
    USAGE_TYPE,
    BaseRecord,
    Call,
    Fields,
    SessionRecord,
    UsageEvent,
)

R = TypeVar("R", bound=BaseRecord)


def read_call(fields: Mapping[str, Any]) -> Call | None:
    """Read a call or a session, whichever version wrote it; None for every other record."""
    kind = fields.get("type")
    if kind == USAGE_TYPE:
        return read_record(fields, UsageEvent)
    return read_record(fields, SessionRecord) if kind == SESSION_TYPE else None


def read_record(fields: Mapping[str, Any], kind: type[R]) -> R:
    """Read `fields` as a record of `kind`, whichever version wrote it; never raises.

    What is not known here is passed over, and what has another type than it should is taken for unknown.
    """
    try:
        return msgspec.convert(fields, kind)
    except (msgspec.ValidationError, RecursionError):
        return _read_by_field(fields, kind)


def _read_by_field(fields: Mapping[str, Any], kind: type[R]) -> R:
    read: Fields = {}
    for name, type_, inner in _fields(kind):
        if name not in fields:
            continue
        value = fields[name]
        try:
            read[name] = msgspec.convert(value, type_)
        except (msgspec.ValidationError, RecursionError):
            if inner is not None and isinstance(value, Mapping):
                read[name] = _read_by_field(value, inner)
    return kind(**read)


@lru_cache
def _fields(kind: type[BaseRecord]) -> list[tuple[str, Any, type[BaseRecord] | None]]:
    """Name and type of each field, and the record that it may hold."""
    return [
        (field.name, field.type, next((arg for arg in _arguments(field.type) if _is_record(arg)), None))
        for field in msgspec.structs.fields(kind)
    ]


def _arguments(type_: Any) -> tuple[Any, ...]:
    arguments = get_args(type_)
    return tuple(inner for each in arguments for inner in (each, *_arguments(each)))


def _is_record(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, BaseRecord)


def to_fields(record: BaseRecord) -> Fields:
    """Give the fields of `record`, as JSON has them."""
    fields: Fields = msgspec.to_builtins(record, enc_hook=str)
    return fields


def blank_event() -> Fields:
    """Give the fields of a call of which nothing is known yet."""
    return to_fields(UsageEvent())
