"""Writes both files anew."""

from __future__ import annotations

from tests.golden import EVENTS, MESSAGES, lines, messages

EVENTS.write_bytes(b"".join(lines()))
MESSAGES.write_bytes(b"".join(messages(EVENTS.read_bytes())))
