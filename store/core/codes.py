"""Name the codes of an event: what became of a call, where its usage comes from, and why there is none.

Another version of the proxy may have written a code that is not known here: it is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Code(StrEnum):
    """A text with a meaning, which is that of docs/event.md."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Code:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    @classmethod
    def _missing_(cls, value: object) -> Code | None:
        """Take a code of another version for a member without a meaning."""
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)  # of an enumeration that is made, __new__ only looks up
        member._name_ = member._value_ = value
        member.meaning = ""
        return member


class Outcome(Code):
    OK = (
        "ok",
        "answered, whole: the body ended, or the stream's last event had passed "
        "([streams](streams.md#who-closes-first))",
    )
    QUEUED = (
        "queued",
        "answered: the API has begun something that goes on without the call (a background response, a run). "
        "Its usage comes with a later call",
    )
    HTTP_ERROR = (
        "http_error",
        "answered with an error: a status from 400 on, an error within an answer of status 200, or a page or "
        "text in the place of an answer (`error.type` is `unreadable_answer`)",
    )
    REFUSED = "refused", "by the proxy; `error.code` says why"
    CLIENT_ABORTED = (
        "client_aborted",
        "the client left before the end of the body, or the last event of the stream",
    )
    UPSTREAM_ABORTED = (
        "upstream_aborted",
        "the API broke off, or could not be reached; also a stream that ends in order, but without the end "
        "of its answer",
    )
    BUDGET_ENDED = (
        "budget_ended",
        "the proxy ended the stream, as its budget was used up (`on_budget_end=cut`)",
    )
    TIMEOUT = "timeout", "nothing came for too long"
    SHUTDOWN = "shutdown", "the proxy was stopped meanwhile, or ended the session (`error.code` says why)"
    PROXY_DIED = (
        "proxy_died",
        "the proxy was killed meanwhile: the input is estimated, the output unknown, the cost a lower bound; "
        "see [the spool](spool.md)",
    )


SERVED = (Outcome.OK, Outcome.QUEUED)
"""Outcomes of calls that were answered as they should be."""


class UsageSource(Code):
    API = "api", "as reported"
    COUNTED = "counted", "characters, images or seconds, read from the request or the answer; exact"
    TOKENIZER = "tokenizer", "counted with the model's vocabulary; everything that counts was in view"
    ESTIMATE = (
        "estimate",
        "counted, but something was out of view (`missing`), or could only be estimated (`approximate`)",
    )


class UsageMissing(Code):
    """Why an answer itself reports no usage."""

    NO_ANSWER = "no_answer", "none came"
    FAILED = "failed", "the call failed; `error` says how"
    UNDECODABLE = "undecodable", "its content coding is unknown, broken, or expands beyond all bounds"
    UNPARSABLE = "unparsable", "it is neither JSON nor an event stream: a gateway's page, for example"
    CUT = (
        "cut",
        "it broke off, the stream ended before its answer did, or the part that has the usage was not kept "
        "(`llm_capture_limit`)",
    )
    NOT_ASKED = "not_asked", "the stream was not asked for usage, by the client or the proxy"
    ZERO = "zero", "it says zero, or zero for one side, and has text"
    OTHER_UNIT = "other_unit", "the call is billed by the image, the second or the character"
    LENGTH_UNKNOWN = "length_unknown", "the call is billed by the length of its audio, which does not show"
    LATER = (
        "later",
        "it is billed later, or reported by a later call: batches, fine-tuning, background responses",
    )
    UNBILLED = (
        "unbilled",
        "it costs nothing: lists, files, moderations, looking after something that is not finished",
    )
    COUNTED = (
        "counted",
        "it shows a stored answer, run or batch, whose usage is counted once, with another event: "
        "[background.md](background.md)",
    )
    CACHED = "cached", "it came from the proxy's cache and used nothing; `saved` says what it would have used"
    NO_USAGE = "no_usage", "it reports none, though one was expected"
    PROXY_DIED = "proxy_died", "the proxy was killed during the call; the input alone is estimated"
    NOT_SENT = "not_sent", "the proxy was killed before the request went to the API: nothing is billed"
    UNREAD = "unread", "the event is an outline: something within the call could not be read at all"


GAP_OF: Mapping[UsageMissing, str | None] = {
    UsageMissing.NO_ANSWER: "cut",
    UsageMissing.FAILED: None,
    UsageMissing.UNDECODABLE: "undecodable",
    UsageMissing.UNPARSABLE: "unparsable",
    UsageMissing.CUT: "cut",
    UsageMissing.NOT_ASKED: "no_usage",
    UsageMissing.ZERO: "no_usage",
    UsageMissing.OTHER_UNIT: None,
    UsageMissing.LENGTH_UNKNOWN: "no_usage",
    UsageMissing.LATER: None,
    UsageMissing.UNBILLED: None,
    UsageMissing.COUNTED: None,
    UsageMissing.CACHED: None,
    UsageMissing.NO_USAGE: "no_usage",
    UsageMissing.PROXY_DIED: "cut",
    UsageMissing.NOT_SENT: None,
    UsageMissing.UNREAD: "unparsable",
}
"""The gap that each code leaves in metrics, roll-ups and reports, which are made from this table; None where
nothing is missing."""
