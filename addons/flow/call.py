"""Keep the calls that are under way.

A call is opened when the gate first sees its headers and ends exactly once: with the answer, with an error of
either side, with the end of its WebSocket, or with the proxy.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mitmproxy import http
from uuid_utils import uuid7

from addons.flow.answer_body import AnswerBody
from addons.flow.cache_use import HIT, CacheUse
from addons.flow.capture import Capture
from addons.flow.hold import Hold
from addons.flow.network.destination import Upstream
from addons.flow.request_body import RequestBody
from addons.flow.request_metadata import NONE, RequestMetadata
from addons.openai.endpoint import Endpoint
from addons.openai.http.form import FormReader
from addons.openai.http.members import Insertion
from addons.openai.http.messages import Summary
from addons.openai.objects.watch import Watch
from addons.openai.providers import OPENAI, Provider
from addons.openai.requested_model import Allowed
from addons.openai.usage.batch_output import BatchLines
from store.cache.entry import Entry
from store.core.secret import Secret
from store.keys.ephemeral_keys import EphemeralKey
from store.ledger.messages import RateStatus
from store.tokens.models import Grant


@dataclass(slots=True)
class Call:
    """Follows one call of a client, from its request's headers on."""

    flow: http.HTTPFlow
    method: str
    host: str
    url: str
    """As the client sent it: path and query."""
    headers: list[tuple[str, str]]
    """Request headers, without credentials."""
    client_address: str | None
    kind: Endpoint
    """Its row of the table of endpoints."""
    started_at: datetime
    started: float
    """Monotonic seconds."""
    websocket: bool = False
    """It tells whether its request opens a WebSocket, whose answers are calls of their own."""
    id: str = field(default_factory=lambda: str(uuid7()))
    presented: Secret | None = None
    """The credential that the client showed."""
    grant: Grant | None = None
    fingerprint: str = ""
    """It is that of the proxy token's text."""
    minted: EphemeralKey | None = None
    """It is what the client's ephemeral key stands for, where it sent one of those."""
    request_metadata: RequestMetadata = NONE
    """It is what the client said by headers of ours."""
    secrets: list[Secret] = field(default_factory=list)
    """It is what must never be written: the client's credential and the project's key."""
    refused: str | None = None
    """Code of the refusal."""
    body: RequestBody | None = None
    """Its request's body, once it is there; None for one that goes upstream as it comes."""
    request_body: bytes | None = None
    """As the client sent it, where it went on with something added: the question for usage, a limit."""
    usage_added: bool = False
    """It tells whether upstream was asked for usage on behalf of the client
    (:mod:`addons.hooks.include_usage`)."""
    left: bool = False
    """Its client is gone; the answer is read on for the usage (:mod:`addons.hooks.drain`)."""
    usage_declined: bool = False
    """The request says ``include_usage: false``."""
    opened: bool = False
    """It tells whether the journal says that the call goes upstream."""
    request_form: FormReader | None = None
    """Reads the request's body where that is a form."""
    upstream: Upstream | None = None
    """It says where it goes, once that is known to be a place that may receive a key."""
    provider: Provider = OPENAI
    """It says whose API the call goes to."""
    models: Sequence[Allowed] = ()
    """The lists of models that are in force."""
    answer: AnswerBody | None = None
    """Its answer's body, from the headers on."""
    summary: Summary | None = None
    """It holds what the answer means, where that had to be known before it was recorded."""
    cache_namespace: str = ""
    """Within which it shares answers, as its client says."""
    cache: CacheUse | None = None
    """It says how it uses the cache of answers, where it does."""
    list_limit: int | None = None
    """It says how many objects the client asked for, where upstream was asked for more."""
    object_watch: Watch | None = None
    """Notes the objects that the answer makes."""
    batch: tuple[str, BatchLines] | None = None
    """The batch whose output file the answer is, and what sums its lines."""
    hold: Hold | None = None
    """It is what it has reserved of its limits (:mod:`addons.checks.limits.reservation`)."""
    standing: RateStatus | None = None
    """It is what its rates had left when it was reserved."""
    unanswered: bool = False
    """It tells whether it was given up as upstream did not begin to answer
    (:mod:`addons.hooks.upstream_failures`)."""
    failure: str | None = None
    """Code of the error that the client got because upstream gave no answer."""
    cut: str | None = None
    """Code of the reason for which its stream was ended before it was complete."""
    held_whole: bool = False
    """It tells whether the answer is kept back until it is whole: to be changed, until what it has made is
    known (:mod:`addons.hooks.ownership`), or until its event is on disk (``llm_durability``)."""
    headers_at: float | None = None
    """It says when the answer's headers came, in monotonic seconds."""

    @property
    def kept_answer(self) -> Entry | None:
        """Give the answer that it is given from the cache; None where it goes upstream."""
        return self.cache.entry if self.cache is not None and self.cache.result == HIT else None

    def add_to_body(self, insertion: Insertion) -> None:
        """Have something added to the body that goes upstream; the event keeps what the client sent.

        It is not coded then.
        """
        assert self.body is not None
        request = self.flow.request
        if self.request_body is None:
            self.request_body = self.body.raw
        request.headers.pop("content-encoding", None)
        request.content = self.body.insert(insertion)  # sets content-length as well

    def answered(self, response: http.Response) -> AnswerBody:
        """Give the body of its answer, of which `response` has the headers."""
        self.answer = self.answer or AnswerBody(response)
        return self.answer

    @property
    def capture(self) -> Capture | None:
        """Give what keeps a copy of its answer, once the recorder has seen the headers."""
        return self.answer.capture if self.answer is not None else None

    @property
    def endpoint(self) -> str:
        """Give the endpoint's name, as in events."""
        return self.kind.name


open_calls: dict[str, Call] = {}
"""By flow id. Module state, so that a reload of the script does not forget calls that are under way."""


def open_call(flow: http.HTTPFlow, endpoint: Endpoint, *, websocket: bool = False) -> Call:
    """Start a call, which is under way from now on."""
    call = open_calls[flow.id] = new_call(flow, endpoint, websocket=websocket)
    return call


def new_call(flow: http.HTTPFlow, endpoint: Endpoint, *, websocket: bool = False) -> Call:
    """Make a call. The flow's headers are read later, once they hold no credential."""
    peer = flow.client_conn.peername
    return Call(
        flow=flow,
        method=flow.request.method,
        host=flow.request.host,
        url=flow.request.path,
        headers=[],
        client_address=peer[0] if peer else None,
        kind=endpoint,
        started_at=datetime.now(UTC),
        started=time.monotonic(),
        websocket=websocket,
    )
