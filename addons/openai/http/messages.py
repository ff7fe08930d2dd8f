"""Hold one exchange as plain data: what :func:`addons.openai.summarize` takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from addons.openai.http.form import Form
from addons.openai.http.parsed_events import ParsedEvents
from addons.openai.http.scan import Scanned
from addons.openai.providers import OPENAI, Provider
from addons.openai.usage.usage import Usage

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """Holds a request as the client sent it."""

    method: str
    url: str
    """Path and query, or a whole URL."""
    headers: Headers = ()
    body: bytes = b""
    """As on the wire, still content-coded; or, where something was skipped, its decoded beginning."""
    skipped: int = 0
    """Bytes between `body` and `tail` that were not kept."""
    tail: bytes = b""
    undecoded: str | None = None
    """It says why decoding stopped before the end, where it was done on the way."""
    scanned: Scanned | None = None
    """It is what was understood of a body, on its way, of which something was skipped."""
    value: Any = None
    """The JSON of `body`, where it has been parsed already."""
    has_few_values: bool = False
    """It tells whether `body` is known to be quickly parsed, so that its values need not be counted."""
    form: Form | None = None
    """A form that was read as it came; `body` is empty then."""
    provider: Provider = OPENAI
    """It says whose API the call goes to."""

    @property
    def path(self) -> str:
        return self._target()[0]

    @property
    def query(self) -> str:
        return self._target()[1]

    def _target(self) -> tuple[str, str]:
        target = self.url
        if not target.startswith("/"):  # `//name/...` is a path here, not a host
            target = "/" + target.partition("://")[2].partition("/")[2]
        path, _, query = target.partition("#")[0].partition("?")
        return path, query


@dataclass(frozen=True, slots=True)
class Response:
    """Holds a response as the server sent it; the fields of a cut body are those of :class:`Request`."""

    status: int
    headers: Headers = ()
    body: bytes = b""
    complete: bool = True
    """False where the body broke off."""
    skipped: int = 0
    tail: bytes = b""
    undecoded: str | None = None
    scanned: Scanned | None = None
    chunks: Sequence[bytes] = ()
    """The pieces in which `body` came, where that is known."""
    parsed: ParsedEvents = field(default_factory=ParsedEvents, compare=False)
    """Events that were read on their way."""


@dataclass(frozen=True, slots=True)
class ApiError:
    """Holds the API's error object, wherever it stood: in a body, an event, or a failed response."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None


@dataclass(slots=True)
class Summary:
    """Says what an exchange was about."""

    endpoint: str
    counted: bool = False
    """It tells whether the bodies hold the text that is billed, so that its tokens can be counted."""
    text_is_output: bool = False
    """It tells whether the text of a whole answer is all its output, whose tokens can be counted."""
    complete: bool = False
    """It tells whether the answer came to its end: its body did, or the last event of its stream was there
    before."""
    first_content: int | None = None
    """It says which of the answer's chunks completes its first content; None where that can't be told."""
    stream: bool = False
    """It tells whether the answer is an event stream, or, without an answer, whether one was asked for."""
    api_version: str | None = None
    model: str | None = None
    """The model that answered; what was asked for where the answer does not say."""
    model_requested: str | None = None
    service_tier: str | None = None
    """The tier that served the call, which may not be the one asked for."""
    service_tier_requested: str | None = None
    """The tier that was asked for, unless that is the standard one."""
    finish_reasons: Sequence[str] = ()
    response_id: str | None = None
    previous_response_id: str | None = None
    conversation_id: str | None = None
    ended: bool | None = None
    """It tells whether a stream came to the end of its answer; None where that can't be told, or it is no
    stream."""
    usage: Usage | None = None
    """As the API reported it; None where it did not, and `usage_missing` says why."""
    usage_elsewhere: bool = False
    """It tells whether `usage` is that of another call, which this one only shows; `usage_missing` says so,
    too."""
    usage_missing: str | None = None
    usage_missing_code: str | None = None
    """The kind of the reason, see :data:`addons.openai.usage.missing.CODES`."""
    usage_of: tuple[str, str] | None = None
    """Kind and id of the object whose usage this is, where other calls may show it again."""
    queued: bool = False
    """It tells whether the call has only started something that goes on without it."""
    error: ApiError | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, Any] | None = None
    request: Any = None
    """The request's body: an object where it is JSON or a form, else text."""
    output: Any = None
    """The response's body: an object, reassembled where it came as a stream; else text; None for bytes."""
    hosted_tools: dict[str, Any] = field(default_factory=dict)
    """It says which of the API's own tools ran, and how often."""
    truncated: list[str] = field(default_factory=list)
    """It is what is not whole, in words: ``request``, ``response``, with the reason."""
