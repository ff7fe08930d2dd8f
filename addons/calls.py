"""The calls that are under way.

A call is opened when the gate first sees its headers and ends exactly once: with the answer, with an error of
either side, with the end of its WebSocket, or with the proxy.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mitmproxy import http
from uuid_utils import uuid7

from addons.capture import Capture, Watcher
from addons.openai.azure import Azure
from addons.openai.batch_output import BatchLines
from addons.openai.endpoints import Endpoint
from addons.openai.form import FormReader
from addons.openai.model_of import Allowed
from addons.openai.objects.watch import Watch
from addons.request_metadata import NONE, RequestMetadata
from store.minted import Minted
from store.models import Grant
from store.secret import Secret

if TYPE_CHECKING:
    from addons.policy.reservation import Hold
    from store.ledger import Standing


def asks_for_websocket(request: http.Request) -> bool:
    """Whether `request` asks for another protocol than HTTP; the gate sees to it that it is this one."""
    return bool(request.headers.get("upgrade", ""))


@dataclass(slots=True)
class Call:
    """One call of a client, from its request's headers on."""

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
    id: str = field(default_factory=lambda: str(uuid7()))
    grant: Grant | None = None
    fingerprint: str = ""
    """Of the proxy token's text."""
    minted: Minted | None = None
    """What the client's ephemeral key stands for, where it sent one of those."""
    request_metadata: RequestMetadata = NONE
    """What the client said by headers of ours."""
    secrets: list[Secret] = field(default_factory=list)
    """What must never be written: the client's credential and the project's key."""
    refused: str | None = None
    """Code of the refusal."""
    request_body: bytes | None = None
    """As the client sent it, where it went on with something added: the question for usage, a limit."""
    usage_added: bool = False
    """Whether upstream was asked for usage on behalf of the client (:mod:`addons.include_usage`)."""
    left: bool = False
    """Its client is gone; the answer is read on for the usage (:mod:`addons.drain`)."""
    usage_declined: bool = False
    """The request says ``include_usage: false``."""
    opened: bool = False
    """Whether the journal says that the call goes upstream."""
    request_form: FormReader | None = None
    """Reads the request's body where that is a form."""
    azure: Azure | None = None
    """Set where the call goes to Azure."""
    models: Sequence[Allowed] = ()
    """The lists of models that are in force."""
    response_capture: Capture | None = None
    watchers: list[Watcher] = field(default_factory=list)
    """Get the answer as it passes, unless it is held whole."""
    list_limit: int | None = None
    """How many objects the client asked for, where upstream was asked for more."""
    object_watch: Watch | None = None
    """Notes the objects that the answer makes."""
    batch: tuple[str, BatchLines] | None = None
    """The batch whose output file the answer is, and what sums its lines."""
    hold: Hold | None = None
    """What it has reserved of its limits (:mod:`addons.policy.reservation`)."""
    standing: Standing | None = None
    """What its rates had left when it was reserved."""
    cut: str | None = None
    """Code of the reason for which its stream was ended before it was complete."""
    held_whole: bool = False
    """Whether the answer is kept back until it is whole: to be changed, until what it has made is known
    (:mod:`addons.ownership`), or until its event is on disk (``llm_durability``)."""
    headers_at: float | None = None
    """When the answer's headers came, in monotonic seconds."""

    @property
    def endpoint(self) -> str:
        """Its name, as in events."""
        return self.kind.name


open_calls: dict[str, Call] = {}
"""By flow id. Module state, so that a reload of the script does not forget calls that are under way."""


def open_call(flow: http.HTTPFlow, endpoint: Endpoint) -> Call:
    """Start a call. The flow's headers are read later, once they hold no credential."""
    peer = flow.client_conn.peername
    call = Call(
        flow=flow,
        method=flow.request.method,
        host=flow.request.host,
        url=flow.request.path,
        headers=[],
        client_address=peer[0] if peer else None,
        kind=endpoint,
        started_at=datetime.now(UTC),
        started=time.monotonic(),
    )
    open_calls[flow.id] = call
    return call
