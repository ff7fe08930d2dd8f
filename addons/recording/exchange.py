"""Hold one finished call as the worker gets it: plain data, no flow, nothing that lives on the event loop."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from addons.flow.capture import Body
from addons.flow.request_metadata import NONE, RequestMetadata
from addons.openai.http.form import Form
from addons.openai.http.messages import Summary
from addons.openai.providers import OPENAI, Provider
from addons.openai.requested_model import Allowed
from addons.openai.usage.batch_output import BatchSum
from store.core.secret import Secret
from store.tokens.models import Grant

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class SessionEnd:
    """Says what is known of a WebSocket session once it is over."""

    close_code: int | None = None
    closed_by: str | None = None
    """client, server or proxy."""
    error: str | None = None
    """Code of the refusal with which the proxy ended it."""
    model: str | None = None
    client_frames: int = 0
    server_frames: int = 0
    refused_frames: int = 0
    """It is that of the client's, those that were not passed on."""
    responses: int = 0
    transcriptions: int = 0
    unreported: int = 0
    """Answers without a usage."""
    totals: dict[str, float] = field(default_factory=dict)
    """Tokens and seconds of all answers."""


@dataclass(slots=True)
class Exchange:
    """Holds everything that is known of a call once it is over."""

    id: str
    method: str
    host: str
    url: str
    endpoint: str
    started_at: datetime
    started: float
    """Monotonic seconds; the time stamps of the bodies' chunks are on the same clock."""
    ended: float
    outcome: str
    """ok (or, by its status, http_error), refused, client_aborted, upstream_aborted, budget_ended, timeout
    or shutdown."""
    request_headers: Headers
    request_body: Body
    request_value: Any = None
    """The JSON of `request_body`, where it has been parsed already."""
    request_has_few_values: bool = False
    """It tells whether it is known to be quickly parsed."""
    request_form: Form | None = None
    """A form, read as it came; `request_body` then has a size only."""
    status: int | None = None
    response_headers: Headers = field(default_factory=list)
    response_body: Body | None = None
    summary: Summary | None = None
    """It holds what the answer means, where that has been read already."""
    first_byte_at: float | None = None
    error_code: str | None = None
    error_message: str | None = None
    usage_added: bool = False
    """It tells whether the proxy asked for the usage; `request_body` is the client's, without the
    question."""
    sent: bool = False
    """It tells whether the whole request had been handed to an upstream connection."""
    drained: bool = False
    """It tells whether the answer was read to its end after the client had left."""
    left: bool = False
    """It tells whether the client had left before the answer's last event, and the answer was read on."""
    client_address: str | None = None
    grant: Grant | None = None
    request_metadata: RequestMetadata = NONE
    """It is what the client said by headers of ours."""
    secrets: list[Secret] = field(default_factory=list)
    provider: Provider = OPENAI
    """Set where the call went to Azure."""
    models: Sequence[Allowed] = ()
    """The lists of models that were in force."""
    recorded: Future[None] | None = None
    """Done once the event is on disk, where somebody waits for that."""
    request_id: str | None = None
    """It is that of the session that it was an answer in; None for a call of its own."""
    batch: tuple[str, BatchSum] | None = None
    """The batch whose output file the answer was, and what its lines came to."""
    cache: str | None = None
    """It is what the cache of answers had for it (:mod:`addons.flow.cache_use`)."""
    kept_from: str | None = None
    """The call that brought the answer, where that came from the cache."""
    session_end: SessionEnd | None = None
    """Set where this is no call but a whole session, whose answers were handed over before."""

    def response_header(self, name: str) -> str | None:
        return next((value for key, value in self.response_headers if key.lower() == name), None)
