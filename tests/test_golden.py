"""What is on disk and what leaves the machine stays as it is, byte for byte."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import pytest

from tests import golden
from tests.vocabularies import needs_vocabularies

pytestmark = needs_vocabularies()
REMEDY = "is another line now; if that is wanted: python -m tests.golden, and read the difference"


def differing(found: Iterable[bytes], kept: bytes) -> tuple[bytes, bytes] | None:
    """One line at a time, so that a difference is a short one."""
    pairs = zip(found, kept.splitlines(keepends=True), strict=True)
    return next(((line, before) for line, before in pairs if line != before), None)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the last genai-prices for it knows fewer prices")
def test_the_lines_of_the_spool() -> None:
    assert differing(golden.lines(), golden.EVENTS.read_bytes()) is None, REMEDY


def test_the_messages_that_leave_the_machine() -> None:
    messages = golden.messages(golden.EVENTS.read_bytes())
    assert differing(messages, golden.MESSAGES.read_bytes()) is None, REMEDY
