"""Which path is which endpoint, and what kind of risk it carries.

The API grows: whatever is not listed here is `other`, which the gate refuses unless it is told otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

RISK_CLASSES = {
    "inference": "spends tokens, and its usage is in the answer",
    "storage": "reads, changes or deletes what the project keeps: files, stored answers, conversations",
    "listing": "reads the list of models",
    "unmetered": "spends, but the traffic does not show how much: batches, fine-tuning, video, realtime",
    "key_minting": "returns a credential that works without the proxy",
    "administration": "manages the organization, its keys and its users",
    "other": "not known to this version",
}
"""What the risk classes stand for; the values of the option ``llm_endpoints``, beside endpoint names."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint's name, as in events, and its risk class."""

    name: str
    risk: str


OTHER = Endpoint("other", "other")

ID = r"[^/]+"
READ_DELETE = "GET|DELETE"
ANY = "GET|POST|DELETE|PATCH|PUT"

# (methods, path below the version prefix, endpoint, risk); the first match counts.
ROUTES: tuple[tuple[str, str, str, str], ...] = (
    ("POST", r"chat/completions", "chat", "inference"),
    ("POST", r"completions", "completions", "inference"),
    ("POST", rf"engines/{ID}/(?:completions)", "completions", "inference"),
    ("POST", r"responses(?:/compact|/input_tokens)?", "responses", "inference"),
    ("POST", rf"responses/{ID}/cancel", "responses", "inference"),
    ("POST", r"embeddings", "embeddings", "inference"),
    ("POST", rf"engines/{ID}/embeddings", "embeddings", "inference"),
    ("POST", r"moderations", "moderations", "inference"),
    ("POST", r"images/(?:generations|edits|variations)", "images", "inference"),
    ("POST", r"audio/transcriptions", "audio_transcriptions", "inference"),
    ("POST", r"audio/translations", "audio_translations", "inference"),
    ("POST", r"audio/speech", "audio_speech", "inference"),
    ("POST", r"threads/runs", "assistants", "inference"),
    ("POST", rf"threads/{ID}/runs(?:/{ID}/submit_tool_outputs)?", "assistants", "inference"),
    ("GET", rf"models(?:/{ID})?", "models", "listing"),
    (ANY, rf"chat/completions(?:/{ID}(?:/messages)?)?", "chat", "storage"),
    (ANY, rf"responses/{ID}(?:/input_items)?", "responses", "storage"),
    (ANY, rf"conversations(?:/{ID}(?:/items(?:/{ID})?)?)?", "conversations", "storage"),
    (ANY, rf"files(?:/{ID}(?:/content)?)?", "files", "storage"),
    (ANY, rf"uploads(?:/{ID}(?:/parts|/complete|/cancel)?)?", "files", "storage"),
    (ANY, r"(?:assistants|threads)(?:/.+)?", "assistants", "storage"),
    (ANY, r"vector_stores(?:/.+)?", "vector_stores", "storage"),
    (ANY, r"fine_tuning/checkpoints/.+", "administration", "administration"),
    (READ_DELETE, r"(?:containers|skills|videos|evals)(?:/.+)?", "hosted", "storage"),
    (READ_DELETE, r"(?:batches|fine_tuning)(?:/.+)?", "jobs", "storage"),
    ("POST", rf"(?:batches|fine_tuning/jobs)/{ID}/cancel", "jobs", "storage"),
    ("POST", r"(?:containers|skills|videos|evals)(?:/.+)?", "hosted", "unmetered"),
    ("POST", r"(?:batches|fine_tuning)(?:/.+)?", "jobs", "unmetered"),
    ("POST", r"audio/(?:voices|voice_consents)(?:/.+)?", "hosted", "unmetered"),
    ("POST", r"realtime/(?:translations/)?client_secrets", "realtime_credentials", "key_minting"),
    ("POST", r"realtime/(?:transcription_)?sessions", "realtime_credentials", "key_minting"),
    ("POST", r"chatkit/sessions", "chatkit_credentials", "key_minting"),
    ("GET|POST", rf"realtime(?:/calls(?:/{ID}(?:/{ID})?)?)?", "realtime", "unmetered"),
    (ANY, r"(?:organization|projects|dashboard|usage)(?:/.+)?", "administration", "administration"),
)

_ROUTES = [
    (frozenset(methods.split("|")), re.compile(path), Endpoint(name, risk))
    for methods, path, name, risk in ROUTES
]

KNOWN_NAMES = frozenset(route[2] for route in ROUTES) | {OTHER.name}

# The API itself; Azure's three forms; common gateways.
PREFIX = re.compile(rf"/(?:(?:openai|api|api/openai)/)?(?:v1/|deployments/{ID}/)?")
FOUNDRY = re.compile(r"/models/(?=(?:chat/completions|embeddings)$)")

# Two parsers may read these in two ways, and then what was checked is not what is served.
AMBIGUOUS = re.compile(r"//|/\.{1,2}(?:/|$)|%2e|%2f|%5c|\\|;|[\x00-\x20\x7f]", re.IGNORECASE)


def resolve(method: str, path: str, *, upgrade: bool = False) -> Endpoint:
    """The endpoint of a request path (without query).

    `upgrade`: the request asks for another protocol, a WebSocket. Sessions on ``/responses`` and
    ``/realtime`` hold any number of calls, which are not looked into, so both count as unmetered.

    >>> resolve("POST", "/v1/chat/completions")
    Endpoint(name='chat', risk='inference')
    >>> resolve("POST", "/v1/realtime/client_secrets").risk
    'key_minting'
    >>> resolve("POST", "/v1//chat/completions").risk
    'other'
    """
    if AMBIGUOUS.search(path):
        return OTHER
    match = FOUNDRY.match(path) or PREFIX.match(path)
    if match is None:
        return OTHER
    rest = path[match.end() :].removesuffix("/")
    if upgrade:
        return Endpoint(rest, "unmetered") if rest in ("responses", "realtime") else OTHER
    for methods, pattern, endpoint in _ROUTES:
        if method.upper() in methods and pattern.fullmatch(rest):
            return endpoint
    return OTHER


_ENDINGS = tuple(
    (f"/{path}", name)
    for path, name in (
        ("chat/completions", "chat"),
        ("completions", "completions"),
        ("responses", "responses"),
        ("embeddings", "embeddings"),
    )
)


def guess(method: str, path: str) -> str:
    """The endpoint's name for the record only: like :func:`resolve`, but behind any prefix."""
    endpoint = resolve(method, path)
    if endpoint is OTHER and method.upper() == "POST":
        return next((name for ending, name in _ENDINGS if path.endswith(ending)), OTHER.name)
    return endpoint.name


def deployment(path: str) -> str | None:
    """The deployment that an Azure path names, which decides the model there."""
    match = re.match(rf"/*openai/deployments/({ID})/", path)
    return match[1] if match else None
