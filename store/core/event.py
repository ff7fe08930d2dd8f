"""The records of the spool, typed (schema 1).

`scripts/event-docs` makes the tables of docs/event.md and docs/event.schema.json from this module. The order
of the fields is that of a line; a field that may be absent is `UNSET` where it is. Fields may be added, none
is renamed.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from store.core.codes import Outcome, UsageMissing, UsageSource

SCHEMA = 1
USAGE_TYPE = "llm_proxy_usage"
"""Only records of this type are calls."""
WRITER_TYPE = "llm_proxy_writer"
DROPPED_TYPE = "llm_proxy_dropped"
SESSION_TYPE = "llm_proxy_session"
BUDGET_TYPE = "llm_proxy_budget"
ALERT_TYPE = "llm_proxy_alert"
AUDIT_TYPE = "llm_proxy_audit"
RECONCILIATION_TYPE = "llm_proxy_reconciliation"
REPRICING_TYPE = "llm_proxy_repricing"
OPEN_TYPE = "llm_proxy_open"
"""A call that goes upstream; kept in the journal, never in a segment."""

Fields = dict[str, Any]
"""A record as JSON has it."""


class BaseRecord(msgspec.Struct):
    """A line of the spool, or an object within one."""


class Error(BaseRecord):
    """What went wrong."""

    type: str | None = None
    code: str | None = None
    message: str | None = None


class User(BaseRecord):
    id: str | None = None
    source: str | None = None


class Client(BaseRecord):
    ip: str | None = None
    user_agent: str | None = None
    sdk: str | None = None


class Usage(BaseRecord):
    """What a call used: tokens, or what else its model is billed by."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: dict[str, Any] = {}
    output_tokens_details: dict[str, Any] = {}
    seconds: int | float | UnsetType = UNSET
    characters: int | UnsetType = UNSET
    images: int | UnsetType = UNSET
    size: str | UnsetType = UNSET
    quality: str | UnsetType = UNSET
    other: dict[str, Any] | UnsetType = UNSET
    raw: Any | UnsetType = UNSET
    complete: bool | UnsetType = UNSET
    missing: list[str] | UnsetType = UNSET
    lower_bound: list[str] | UnsetType = UNSET
    approximate: list[str] | UnsetType = UNSET
    counted: list[str] | UnsetType = UNSET
    source: UsageSource | UnsetType = UNSET


class UsageOf(BaseRecord):
    """The object whose usage an event has."""

    kind: str | None = None
    id: str | None = None
    asked_by: str | None = None
    lines: int | UnsetType = UNSET
    failed: int | UnsetType = UNSET
    unread: int | UnsetType = UNSET
    made_by: str | UnsetType | None = UNSET


class Cost(BaseRecord):
    """What a call cost, in US dollars: a decimal as text, which no JSON parser rounds."""

    usd: str | None = None
    price_source: str | None = None
    missing: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    approximate: list[str] | UnsetType = UNSET


class Saved(BaseRecord):
    """What an answer from the cache would have cost."""

    of: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    usd: str | None = None


class AgentSession(BaseRecord):
    """The session of an agent that a call is part of, as the client says."""

    id: str | None = None
    thread: str | UnsetType = UNSET
    turn: str | UnsetType = UNSET
    source: str | UnsetType = UNSET


class RecordedRequest(BaseRecord):
    headers: dict[str, str] = {}
    body: Any = None


class RecordedResponse(BaseRecord):
    body: Any = None


class UsageEvent(BaseRecord):
    """A call."""

    schema: int = SCHEMA
    """1."""
    type: str = USAGE_TYPE
    """`llm_proxy_usage`; any other type is no call."""
    event_id: str | None = None
    """UUIDv7 (of imported calls: UUIDv5), the key to remove duplicates by."""
    timestamp: str | None = None
    """When the request's headers had arrived."""
    duration_ms: int | None = None
    """From then to the end of the call."""
    time_to_first_byte_ms: int | None = None
    """From then to the first byte of the answer's body."""
    outcome: Outcome | None = None
    """See below."""
    drained: bool | None = False
    """Whether the answer was read to its end although its client had left ([streams](streams.md))."""
    status: int | None = None
    """HTTP status that the client saw; null where none was sent."""
    error: Error | None = None
    """`type`, `code`, `message` of the API's error or of the proxy's refusal; `message` is not dispatched,
    since it may quote a prompt."""
    request_id: str | None = None
    """The proxy's name for the call; of an answer in a WebSocket session the session's."""
    method: str | None = None
    """The request's."""
    host: str | None = None
    """Where the call went."""
    path: str | None = None
    """The path without its query."""
    endpoint: str | None = None
    """`chat`, `completions`, `responses`, `embeddings`, ..., `other`."""
    include_usage: str | None = None
    """`added` where the proxy asked for the stream's usage in the client's place ([streams](streams.md));
    else null."""
    retry: int | UnsetType = UNSET
    """Which repetition of a call this is, as the SDK says (`x-stainless-retry-count`): 0 for the first try.
    Not there where the client does not say."""
    traceparent: str | UnsetType = UNSET
    """The client's place in a trace (W3C Trace Context); not there where it sends none, or a wrong one."""
    time_to_first_token_ms: int | None = None
    """From the request's headers to the first text, argument or audio of a stream; null for other answers."""
    upstream_request_id: str | None = None
    """The API's `x-request-id`."""
    stream: bool | None = None
    """Whether the answer was an event stream."""
    api_version: str | None = None
    """Azure's `api-version`, else the header `openai-version`."""
    user: User | None = None
    """`id` and `source`: the first of the token's metadata `user_id`, `app_user_id`, the project's, then the
    first claim ([identity](metadata.md#who-made-a-call))."""
    user_claims: dict[str, str] = {}
    """Every user that the request named, by where it did: `request_metadata.user_id`,
    `request_metadata.app_user_id`, `safety_identifier`, `user`, `metadata.user_id`; also where the token says
    another. At most 512 characters each."""
    model: str | None = None
    """The model that answered; what was asked for where the answer does not say."""
    model_requested: str | None = None
    """The model that was asked for; on Azure the name of the deployment."""
    model_mismatch: str | None = None
    """What is wrong where a model answered that is not among the allowed ones (`llm_models`); else null."""
    service_tier: str | None = None
    """The tier that served the call; `batch` of a batch, `background/8h` of background work with that
    completion window."""
    service_tier_requested: str | UnsetType = UNSET
    """The tier that was asked for; not there where that is none, `auto` or the standard one."""
    finish_reasons: list[str] = []
    """Of each choice; of a response its status, or why it is incomplete."""
    response_id: str | None = None
    """The API's id of the answer."""
    previous_response_id: str | None = None
    """That of the answer that it goes on from."""
    conversation_id: str | None = None
    """That of the conversation or thread."""
    session: AgentSession | UnsetType = UNSET
    """The session of an agent that the call is part of, where the client names one ([sessions](sessions.md)):
    its `id`, `thread` (the one that called: the root's or a subagent's), `turn`, `source` (`user` or
    `subagent`: who started the thread). A claim; what it does not say is not there."""
    hosted_tools: dict[str, Any] = {}
    """The API's own tools that ran, and how often; see below."""
    rate_limit: dict[str, int | float] = {}
    """The `x-ratelimit-*` headers as numbers: `limit_requests`, `remaining_tokens`, `reset_tokens_seconds`,
    ..."""
    truncated: list[str] = []
    """What is not whole, in words."""
    dropped: dict[str, Any] = {}
    """`request_bytes`, `response_bytes` that were not kept (`llm_capture_limit`); `request_metadata`: names
    that the token does not allow, 16 at most."""
    client: Client | None = msgspec.field(default_factory=Client)
    """`sdk` (such as `python/2.8.1`), and `ip` and `user_agent`, which are not dispatched unless asked
    for."""
    project_id: str | None = None
    """Who pays; null for a call without a known token."""
    project_name: str | None = None
    """Its name."""
    token_id: str | None = None
    """The token."""
    token_metadata: dict[str, Any] = {}
    """The pairs that the token was given, with those of its project behind them ([metadata](metadata.md))."""
    request_metadata: dict[str, str] = {}
    """Pairs that the client added by headers, of the names that the token allows; claims."""
    usage: Usage | None = None
    """See below."""
    usage_missing: str | None = None
    """Why the answer reported no usage, in words; null where it did."""
    usage_missing_code: UsageMissing | None = None
    """The same as a code, see below."""
    usage_of: UsageOf | None = None
    """Where the usage is that of an object which other calls may show too: its `kind` (`response`,
    `thread.run`, `batch`) and `id`, `asked_by`, the token that made this call, and `made_by`, the `event_id`
    of the call that began it; project, token and user of the event are then those of whoever made the object.
    See [background.md](background.md)."""
    cost: Cost | None = None
    """`usd` (a decimal as text, or null), `price_source`; where something is not in it, `missing` (why) and
    `reason` (the same as a code); where it may be less, `approximate` (codes).
    Null where `usage` is, but of an answer from the cache, which costs 0. See [cost.md](cost.md)."""
    cache: str | UnsetType = UNSET
    """What the [cache of answers](cache.md) had for it: `hit` (answered from it; nothing went upstream),
    `revalidated` (upstream said that the kept answer holds), `miss`, or `bypass` (the request wanted none).
    Not there where the call has nothing to do with the cache."""
    saved: Saved | UnsetType = UNSET
    """Of a `hit`: the tokens and dollars (`usd`, a decimal as text, or null) that the same answer would have
    used, and `of`, the `event_id` of the call that brought it. They are in no sum of usage or cost."""
    request: RecordedRequest | UnsetType = UNSET
    """`headers` (a list of harmless ones) and `body`, as the client sent it: JSON, as the fields of a form,
    or as text."""
    response: RecordedResponse | UnsetType = UNSET
    """`body`: the object that the call returned, reassembled where it came as a stream."""
    writer: str | UnsetType = UNSET
    """One run of one proxy process."""
    seq: int | UnsetType = UNSET
    """1, 2, 3 ... of this writer, without a gap."""


class SessionRecord(BaseRecord):
    """A WebSocket session that is over; its answers are calls of their own."""

    schema: int = SCHEMA
    type: str = SESSION_TYPE
    event_id: str | None = None
    timestamp: str | None = None
    """When the session began."""
    duration_ms: int | None = None
    outcome: Outcome | None = None
    """As of a call; `refused` where the proxy ended it, and then `error.code` says why. Of a session whose
    proxy died no more is known than of a call."""
    error: Error | None = None
    status: int | None = None
    """Of the handshake."""
    request_id: str | None = None
    upstream_request_id: str | None = None
    host: str | None = None
    path: str | None = None
    """Of the handshake."""
    endpoint: str | None = None
    model: str | None = None
    """As the server named it."""
    project_id: str | None = None
    project_name: str | None = None
    token_id: str | None = None
    token_metadata: dict[str, Any] = {}
    request_metadata: dict[str, str] = {}
    close_code: int | None = None
    """The WebSocket's."""
    closed_by: str | None = None
    """`client`, `server` or `proxy`."""
    client_frames: int = 0
    """Messages of the client."""
    server_frames: int = 0
    """Messages of the server."""
    refused_frames: int = 0
    """Messages of the client that were not passed on."""
    responses: int = 0
    """Events of responses that it has, without those of refused requests."""
    transcriptions: int = 0
    """Events of transcriptions that it has."""
    unreported: int = 0
    """Those of them without a reported usage."""
    totals: dict[str, int | float] = {}
    """Reported `input_tokens`, `output_tokens`, `total_tokens`, `seconds`."""
    writer: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET


class BudgetRecord(BaseRecord):
    """A budget is used up by half, by 80 %, or whole."""

    schema: int = SCHEMA
    type: str = BUDGET_TYPE
    event_id: str | None = None
    """The same mark has the same, whoever tells it."""
    timestamp: str | None = None
    """When it was reached."""
    reached: int | None = None
    """50, 80 or 100."""
    side: str | None = None
    """Whose budget it is: `token`, `project`, `user`, `address`, `session` or `label`."""
    limit: str | None = None
    """`usd/day`, `tokens/month`, ..."""
    allowed: int | float | None = None
    """Dollars or tokens; top-ups are in it."""
    used: int | float | None = None
    """Dollars or tokens."""
    percent: int | float | None = None
    """What `used` is of `allowed`. Below 100 at the mark 100 where a call was refused because too little was
    left for it; `used` then has what calls under way hold."""
    resets_at: str | None = None
    """When the period ends; null for `total`."""
    project_id: str | None = None
    project_name: str | None = None
    token_id: str | None = None
    """Null where the budget is none of a token, its sessions or its labels."""
    name: str | None = None
    """Which user, address, session or label (`team=search`); null for a token's or a project's own."""
    writer: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET


class AlertRecord(BaseRecord):
    """Something is wrong, or is over again (:mod:`dispatch.alerting`)."""

    schema: int = SCHEMA
    type: str = ALERT_TYPE
    event_id: str | None = None
    """Of this telling: one that is sent again has the same."""
    timestamp: str | None = None
    """When it was found."""
    alert: str | None = None
    """`spend_rate`, `dispatcher_failing`, `proxy_unhealthy` or `test`."""
    state: str | None = None
    """`firing`, or `resolved` when it is over."""
    reason: str | None = None
    """What it is, as a code (see [alerts](alerts.md#what-is-told))."""
    since: str | None = None
    """When it was first seen."""
    summary: str | None = None
    """A sentence for people, in which nothing stands that a backend or a store has said."""
    error: Error | None = None
    """`message`: what a backend or a store has said."""
    subject: str | None = None
    """The proxy (`writer`), the dispatcher's consumer, or the path that it is about."""
    place: str | None = None
    """Where: `HOST:SPOOL`."""
    project_id: str | None = None
    project_name: str | None = None
    hours: int | None = None
    """How long the time is in which so much was spent."""
    usd: float | None = None
    """What the project spent in that time."""
    usd_before: float | None = None
    """What it spent in the same hours of the week before."""
    writer: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET


class AuditRecord(BaseRecord):
    """The head of the store's audit log."""

    schema: int = SCHEMA
    type: str = AUDIT_TYPE
    event_id: str | None = None
    timestamp: str | None = None
    """When it was read."""
    head: str | None = None
    """Number and hash of the last row, as `llmproxy audit verify` prints them."""
    writer: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET


class ReconciliationRecord(BaseRecord):
    """Our sums beside what the vendor bills, once a day (:mod:`dispatch.reconciliation`)."""

    schema: int = SCHEMA
    type: str = RECONCILIATION_TYPE
    event_id: str | None = None
    timestamp: str | None = None
    """When they were compared."""
    project_id: str | None = None
    project_name: str | None = None
    sharing_the_key: list[str] = []
    """Names of other projects with the same key: the vendor can't tell them apart."""
    since: str | None = None
    """Begin of the days that were compared."""
    until: str | None = None
    """Their end."""
    tolerance: str | None = None
    """The part by which both may differ, a decimal as text."""
    agrees: bool | None = None
    """Whether no figure differs by more than that."""
    totals: list[dict[str, Any]] = []
    """Each with `model`, `measure`, `ours`, `theirs`, `difference`, `explained_by` and `unexplained`."""
    writer: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET


class DroppedRecord(BaseRecord):
    """How many calls have no event, because the spool was full."""

    type: str = DROPPED_TYPE
    event_id: str | None = None
    timestamp: str | None = None
    """When that was over."""
    since: str | None = None
    """When the first of the calls ended."""
    dropped: int = 0
    """How many calls have no event."""
    reason: str | None = None
    """`spool_full` (see [the spool](spool.md))."""
    writer: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET


class WriterRecord(BaseRecord):
    """A writer has ended."""

    type: str = WRITER_TYPE
    event_id: str | None = None
    writer: str | None = None
    last_seq: int = 0
    """The number of its last record; where it was closed twice, the higher one counts."""
    opened: int | UnsetType = UNSET
    """Calls that went upstream; of a proxy only."""
    unrecorded: int | UnsetType = UNSET
    """Those of them without an event; of a proxy only."""
    died: int | UnsetType = UNSET
    """Events with outcome `proxy_died`, where others closed it after its death."""
    dropped: int | UnsetType = UNSET
    """Calls that have no event, because the spool was full."""
    timestamp: str | None = None
    """When it was closed."""


class RepricingRecord(BaseRecord):
    """A call has another cost than its event says. What is copied from the call is as the call has it."""

    schema: int = SCHEMA
    type: str = REPRICING_TYPE
    event_id: str | None = None
    timestamp: str | None = None
    of: str | None = None
    """The call's `event_id`."""
    call_timestamp: Any = None
    """The call's `timestamp`."""
    request_id: Any = UNSET
    host: Any = UNSET
    endpoint: Any = UNSET
    model: Any = UNSET
    model_requested: Any = UNSET
    service_tier: Any = UNSET
    hosted_tools: Any = UNSET
    usage: Any = UNSET
    project_id: Any = UNSET
    project_name: Any = UNSET
    token_id: Any = UNSET
    token_metadata: Any = UNSET
    request_metadata: Any = UNSET
    user: Any = UNSET
    cost: Cost | None = None
    """What it is now."""
    cost_before: Any = None
    """What it was."""
    usd_change: str | None = None
    """What a sum of costs changes by, a decimal as text."""
    writer: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET


Call = UsageEvent | SessionRecord
"""What became of a call, or of a session of calls."""
