"""Credentials are taken out of what is recorded, wherever in a call they stood."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeVar

from store.core.event import BaseRecord
from store.core.event_fields import read_record
from store.core.redaction import KnownSecrets
from store.core.secret import Secret
from store.spool.segment import encode_object, parse

R = TypeVar("R", bound=BaseRecord)


def scrub(record: R, secrets: Iterable[Secret]) -> tuple[R, bytes]:
    """Return `record` without `secrets`, and the line that it will be, without its number.

    The line is looked through as it will be written, since a client may spell a credential in many ways.
    """
    line = encode_object(record)
    known = KnownSecrets(json.dumps(secret.reveal(), ensure_ascii=False)[1:-1] for secret in secrets)
    text = line.decode("utf-8", "surrogatepass")
    hidden = known.hide(text)
    if hidden == text:
        return record, line
    line = hidden.encode("utf-8", "surrogatepass")
    return read_record(parse(line) or {}, type(record)), line
