"""The table of endpoints: for each path its name, its risk, what it bills, and where its model stands.

The gate's allow-lists, the resolver of models and the reading of traffic all go by this table; no other
module names a path. The API grows: what is not listed here is `other`, which the gate refuses unless it is
told otherwise. Source: OpenAI's published OpenAPI document and the paths of the official SDKs.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Flag, auto
from urllib.parse import parse_qsl

RISK_CLASSES = {
    "inference": "spends tokens, and its usage is in the answer",
    "storage": "reads, changes or deletes what the project keeps: files, stored answers, conversations",
    "listing": "reads the list of models",
    "unmetered": "spends, but the traffic does not show how much: batches, fine-tuning, video, WebRTC calls",
    "key_minting": "returns a credential that works without the proxy",
    "administration": "manages the organization, its keys and its users; deletes models",
    "other": "not known to this version",
}
"""What the risk classes stand for; the values of the option ``llm_endpoints``, beside endpoint names."""


class Bills(Flag):
    """What a call is billed by. Two of them: which one depends on the model."""

    NOTHING = 0
    TOKENS = auto()
    CHARACTERS = auto()
    SECONDS = auto()
    IMAGES = auto()
    LATER = auto()
    """After the answer, or by what the traffic does not show: time, storage, the lines of a file."""
    UNKNOWN = auto()


class ModelIn(Flag):
    """Where a request names its model. Several of them: in any one."""

    NOWHERE = 0
    """No model is involved."""
    JSON = auto()
    """``model`` of a JSON body."""
    FORM = auto()
    """The field ``model`` of a multipart form, anywhere in it."""
    QUERY = auto()
    """``model`` of the query; Azure's realtime calls it ``deployment``."""
    SESSION = auto()
    """``session.model`` of a JSON body, or of the JSON in a form's field ``session``."""
    PATH = auto()
    """A part of the path. (Azure's deployments: see :mod:`addons.openai.azure`.)"""
    FRAMES = auto()
    """``model`` of the events that a client sends over its WebSocket."""
    ELSEWHERE = auto()
    """Only the answer tells: an assistant, a stored prompt, a file or an earlier job sets it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What an endpoint is: its name as in events, its risk class, its bill and its model."""

    name: str
    risk: str
    bills: Bills = Bills.NOTHING
    model_in: ModelIn = ModelIn.NOWHERE
    counted: bool = False
    """Whether the bodies hold the text that is billed: then its tokens can be counted."""
    by_name: bool = False
    """Whether it is allowed by its own name only, not by its class: what it opens does not pass the proxy."""

    def allowed_by(self, names: Collection[str]) -> bool:
        """Whether a list of endpoint names and risk classes has it."""
        return self.name in names or (self.risk in names and not self.by_name)


@dataclass(frozen=True, slots=True)
class Route:
    """A row of the table: an endpoint, and the methods and the path (below the version) that lead to it."""

    methods: str
    path: str
    endpoint: Endpoint


def _route(
    methods: str,
    path: str,
    name: str,
    risk: str,
    bills: Bills = Bills.NOTHING,
    model_in: ModelIn = ModelIn.NOWHERE,
    **flags: bool,
) -> Route:
    return Route(methods, path, Endpoint(name, risk, bills, model_in, **flags))


ID = r"[^/]+"
ANY = "GET|POST|DELETE|PATCH|PUT"
UPGRADE = "UPGRADE"
"""In the place of a method: a request for a WebSocket."""

TOKENS, LATER = Bills.TOKENS, Bills.LATER
JSON, FORM, QUERY, ELSEWHERE = ModelIn.JSON, ModelIn.FORM, ModelIn.QUERY, ModelIn.ELSEWHERE

ROUTES: tuple[Route, ...] = (  # the first match counts
    # Inference. Legacy engines have their model in the path.
    _route("POST", r"chat/completions", "chat", "inference", TOKENS, JSON, counted=True),
    _route("POST", r"completions", "completions", "inference", TOKENS, JSON, counted=True),
    _route(
        "POST", rf"engines/{ID}/completions", "completions", "inference", TOKENS, ModelIn.PATH, counted=True
    ),
    _route("POST", r"responses(?:/compact)?", "responses", "inference", TOKENS, JSON, counted=True),
    _route("POST", r"responses/input_tokens", "responses", "inference", Bills.NOTHING, JSON),
    _route("POST", rf"responses/{ID}/cancel", "responses", "inference"),
    _route("POST", r"embeddings", "embeddings", "inference", TOKENS, JSON, counted=True),
    _route(
        "POST", rf"engines/{ID}/embeddings", "embeddings", "inference", TOKENS, ModelIn.PATH, counted=True
    ),
    _route("POST", r"moderations", "moderations", "inference", Bills.NOTHING, JSON),
    _route("POST", r"images/generations", "images", "inference", TOKENS | Bills.IMAGES, JSON),
    _route("POST", r"images/edits", "images", "inference", TOKENS | Bills.IMAGES, JSON | FORM),
    _route("POST", r"images/variations", "images", "inference", Bills.IMAGES, FORM),
    _route(
        "POST", r"audio/transcriptions", "audio_transcriptions", "inference", TOKENS | Bills.SECONDS, FORM
    ),
    _route("POST", r"audio/translations", "audio_translations", "inference", Bills.SECONDS, FORM),
    _route("POST", r"audio/speech", "audio_speech", "inference", TOKENS | Bills.CHARACTERS, JSON),
    # A run without `model` takes the assistant's.
    _route("POST", rf"threads/(?:{ID}/)?runs", "assistants", "inference", TOKENS, JSON),
    _route(
        "POST", rf"threads/{ID}/runs/{ID}/submit_tool_outputs", "assistants", "inference", TOKENS, ELSEWHERE
    ),
    # What the project keeps. Reading an answer again bills nothing: its usage is the first call's.
    _route("GET", rf"models(?:/{ID})?", "models", "listing"),
    _route("DELETE", rf"models/{ID}", "model_deletion", "administration"),
    _route(ANY, rf"chat/completions(?:/{ID}(?:/messages)?)?", "chat", "storage"),
    _route(ANY, rf"responses/{ID}(?:/input_items)?", "responses", "storage"),
    _route(ANY, rf"conversations(?:/{ID}(?:/items(?:/{ID})?)?)?", "conversations", "storage"),
    _route(ANY, rf"files(?:/{ID}(?:/content)?)?", "files", "storage"),
    _route(ANY, rf"uploads(?:/{ID}(?:/parts|/complete|/cancel)?)?", "files", "storage"),
    _route(ANY, r"(?:assistants|threads)(?:/.+)?", "assistants", "storage", Bills.NOTHING, JSON),
    _route("GET|DELETE", r"vector_stores(?:/.+)?", "vector_stores", "storage"),
    _route(ANY, r"vector_stores(?:/.+)?", "vector_stores", "storage", LATER),
    _route("GET|DELETE", r"(?:containers|skills|videos|evals)(?:/.+)?", "hosted", "storage", LATER),
    _route("GET|DELETE", r"chatkit/threads(?:/.+)?", "hosted", "storage"),
    _route("GET|DELETE", r"batches(?:/.+)?", "jobs", "storage", LATER),
    # Its checkpoints' permissions, which share a model with other projects, take an administrator's key.
    _route(ANY, r"fine_tuning/checkpoints/.+", "administration", "administration"),
    _route("GET|DELETE", r"fine_tuning(?:/.+)?", "jobs", "storage", LATER),
    _route("POST", rf"(?:batches|fine_tuning/jobs)/{ID}/cancel", "jobs", "storage", LATER),
    # Spends, unseen.
    _route("POST", r"batches", "jobs", "unmetered", LATER, ELSEWHERE),
    _route("POST", r"fine_tuning/jobs", "jobs", "unmetered", LATER, JSON),
    _route("POST", r"fine_tuning(?:/.+)?", "jobs", "unmetered", LATER, ELSEWHERE),
    _route("POST", r"videos", "hosted", "unmetered", LATER, JSON | FORM),
    _route("POST", r"(?:videos|evals)(?:/.+)?", "hosted", "unmetered", LATER, ELSEWHERE),
    _route("POST", r"(?:containers|skills)(?:/.+)?", "hosted", "unmetered", LATER),
    _route("POST", r"audio/(?:voices|voice_consents)(?:/.+)?", "hosted", "unmetered", LATER),
    _route("POST", r"content_provenance_checks", "hosted", "unmetered", LATER),
    # Sessions: any number of calls in one; their frames are read by addons/realtime.py.
    _route(UPGRADE, r"responses", "responses", "inference", TOKENS, JSON | ModelIn.FRAMES),
    _route(UPGRADE, r"realtime", "realtime", "inference", TOKENS | Bills.SECONDS, QUERY),
    _route(UPGRADE, r"realtime/translations", "realtime_translations", "unmetered", LATER, QUERY),
    _route("GET", r"realtime", "realtime", "unmetered", LATER, QUERY),
    # By WebRTC and SIP: sound and text go between the API and a browser or a telephone.
    _route(
        "POST",
        rf"realtime/calls(?:/{ID}/accept)?",
        "realtime_calls",
        "unmetered",
        LATER,
        ModelIn.SESSION | QUERY,
        by_name=True,
    ),
    _route(
        "GET|POST",
        rf"realtime/calls(?:/{ID}(?:/{ID})?)?",
        "realtime_calls",
        "unmetered",
        LATER,
        by_name=True,
    ),
    _route(
        f"{UPGRADE}|GET|POST", r"live/sessions(?:/.+)?", "live", "unmetered", LATER, ELSEWHERE, by_name=True
    ),
    # Credentials that work without the proxy.
    _route(
        "POST",
        r"realtime/(?:(?:translations/)?client_secrets|(?:transcription_)?sessions)",
        "realtime_credentials",
        "key_minting",
        LATER,
        ModelIn.SESSION,
    ),
    _route("POST", r"chatkit/sessions", "chatkit_credentials", "key_minting", LATER, ELSEWHERE),
    _route(ANY, r"(?:organization|projects|dashboard|usage)(?:/.+)?", "administration", "administration"),
)

OTHER = Endpoint("other", "other", Bills.UNKNOWN, JSON | FORM | QUERY | ModelIn.SESSION)

JOINED_CALL = Endpoint("realtime_calls", "unmetered", LATER, QUERY | ELSEWHERE, by_name=True)
"""A second connection to a call by WebRTC or SIP."""

_ROUTES = [(frozenset(route.methods.split("|")), re.compile(route.path), route.endpoint) for route in ROUTES]

KNOWN_NAMES = frozenset(route.endpoint.name for route in ROUTES) | {OTHER.name}

# The API itself; Azure's three forms; common gateways.
PREFIX = re.compile(rf"/(?:(?:openai|api|api/openai)/)?(?:v1/|deployments/{ID}/)?")
FOUNDRY = re.compile(r"/models/(?=(?:chat/completions|embeddings)$)")

# Two parsers may read these in two ways, and then what was checked is not what is served.
AMBIGUOUS = re.compile(r"//|/\.{1,2}(?:/|$)|%2e|%2f|%5c|\\|;|[\x00-\x20\x7f]", re.IGNORECASE)


def is_ambiguous(path: str) -> bool:
    """Whether two parsers may take `path` for two different ones."""
    return AMBIGUOUS.search(path) is not None


def resolve(method: str, path: str, *, upgrade: bool = False, query: str = "") -> Endpoint:
    """The endpoint of a request path (without query).

    `upgrade`: the request asks for another protocol, a WebSocket. A `query` that names a call leads to what
    goes on between the API and a telephone or a browser directly.

    >>> resolve("POST", "/v1/chat/completions").name
    'chat'
    >>> resolve("POST", "/v1/realtime/client_secrets").risk
    'key_minting'
    >>> resolve("POST", "/v1//chat/completions").risk
    'other'
    """
    if is_ambiguous(path):
        return OTHER
    match = FOUNDRY.match(path) or PREFIX.match(path)
    if match is None:
        return OTHER
    rest = path[match.end() :].removesuffix("/")
    method = UPGRADE if upgrade else method.upper()
    for methods, pattern, endpoint in _ROUTES:
        if method in methods and pattern.fullmatch(rest):
            if endpoint.name == "realtime" and any(n.lower() == "call_id" for n, _ in parse_qsl(query, True)):
                return JOINED_CALL
            return endpoint
    return OTHER


_ENDINGS = [
    (re.compile(rf"/{route.path}$"), route.endpoint)
    for route in ROUTES
    if route.endpoint.counted and JSON in route.endpoint.model_in
]


def guess(method: str, path: str, *, upgrade: bool = False) -> Endpoint:
    """The endpoint for the record only: like :func:`resolve`, but behind any prefix.

    >>> guess("POST", "/api/paas/v4/chat/completions").name
    'chat'
    """
    endpoint = resolve(method, path, upgrade=upgrade)
    if endpoint.risk in ("other", "administration") and method.upper() == "POST" and not upgrade:
        return next((known for ending, known in _ENDINGS if ending.search(path)), endpoint)
    return endpoint
