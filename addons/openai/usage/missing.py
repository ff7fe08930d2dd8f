"""Say why an answer reports no usage: stable codes, and the words for them."""

from __future__ import annotations

from dataclasses import dataclass

CODES = {
    "no_answer": "no answer came",
    "failed": "the call failed",
    "undecodable": "the body could not be decoded",
    "unparsable": "the body could not be understood",
    "cut": "the answer broke off, or the part that has it was not kept",
    "not_asked": "the stream was not asked for usage (stream_options.include_usage)",
    "zero": "the reported usage is zero, which cannot be",
    "other_unit": "the call is not billed by tokens",
    "length_unknown": "the call is billed by the length of its audio, which does not show",
    "later": "the call is billed later, or elsewhere",
    "unbilled": "the call is not billed",
    "counted": "what the answer shows is counted once, with another call",
    "no_usage": "the answer reports none",
    "unread": "the call could not be read",
}
"""It says why an answer has no usage: stable codes, and what they say. ``unread`` is an event's in outline
only."""

COUNTABLE = frozenset({"cut", "not_asked", "zero", "no_usage", "failed", "undecodable", "unparsable"})
"""Codes under which tokens may have been spent, which can be counted from the text."""

ONLY_WITH_TEXT = frozenset({"failed", "undecodable", "unparsable"})
"""Those of them under which a call without any text is taken to have spent nothing, or can't be told."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Says why an answer has no usage."""

    code: str
    text: str


def missing(code: str, words: str | None = None) -> Missing:
    """Make the reason of `code`, in its own words or in `words` that say more."""
    return Missing(code, words or CODES[code])
