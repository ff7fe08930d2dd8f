"""List the kinds of objects, the paths below which they are, and how the API says that there is none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from addons.openai.paths import PREFIX, is_ambiguous

RESPONSE, ITEM, CONVERSATION, COMPLETION, AUDIO = (
    "response",
    "item",
    "conversation",
    "chat.completion",
    "audio",
)
FILE, UPLOAD, BATCH, MODEL, JOB = "file", "upload", "batch", "model", "fine_tuning.job"
ASSISTANT, THREAD, RUN, VECTOR_STORE = "assistant", "thread", "thread.run", "vector_store"
CONTAINER, SKILL, VIDEO, CHARACTER, EVAL = "container", "skill", "video", "video.character", "eval"
CHATKIT_THREAD, REALTIME_CALL, LIVE_SESSION = "chatkit.thread", "realtime.call", "live.session"
VOICE, CONSENT = "voice", "voice.consent"
CHATKIT_SESSION = "chatkit.session"
AGENT, AGENT_SESSION, TURN = "agent", "agent.session", "agent.session.turn"
ENVIRONMENT, TEMPLATE, AUTOMATION = "agent.environment", "agent.environment_template", "agent.automation"
VAULT, VAULT_CREDENTIAL = "vault", "vault.credential"
SELECTION = "selection"
"""No object: a choice among all that the project keeps, whoever made it."""

ROOTS = {
    "chat/completions": COMPLETION,
    "responses": RESPONSE,
    "conversations": CONVERSATION,
    "files": FILE,
    "uploads": UPLOAD,
    "batches": BATCH,
    "models": MODEL,
    "engines": MODEL,
    "fine_tuning/checkpoints": MODEL,
    "fine_tuning/jobs": JOB,
    "assistants": ASSISTANT,
    "threads": THREAD,
    "vector_stores": VECTOR_STORE,
    "containers": CONTAINER,
    "skills": SKILL,
    "videos/characters": CHARACTER,
    "videos": VIDEO,
    "evals": EVAL,
    "chatkit/threads": CHATKIT_THREAD,
    "chatkit/sessions": CHATKIT_SESSION,
    "agents/environments/templates": TEMPLATE,
    "agents/environments": ENVIRONMENT,
    "agents/automations": AUTOMATION,
    "agents/sessions": AGENT_SESSION,
    "agents": AGENT,
    "vaults": VAULT,
    "realtime/calls": REALTIME_CALL,
    "live/sessions": LIVE_SESSION,
    "audio/voices": VOICE,
    "audio/voice_consents": CONSENT,
}
"""Below which path which kind of object is; the longest that fits counts.

What stands below an object (a thread's messages, a vector store's files) belongs to whom the object belongs.
"""

ACTIONS = frozenset({"compact", "input_tokens", "edits", "extensions", "runs"})
"""It is what stands in the place of an id and is none."""
FINE_TUNED = "ft:"


@dataclass(frozen=True, slots=True)
class Ref:
    """Names an object that a request refers to."""

    kind: str
    id: str
    param: str | None = None
    """The member or parameter that names it; None for the path."""


@dataclass(frozen=True, slots=True)
class Place:
    """Says where a path leads."""

    kind: str
    """It is that of the objects in this collection."""
    id: str | None = None
    """It is that of one of them; None: the collection itself, or an action on it."""
    below: tuple[str, ...] = ()
    """It is what of that object, or which action."""


@lru_cache(maxsize=128)
def place_of(path: str) -> Place | None:
    """Find where a request's path (without query) leads; None where no objects are.

    >>> place_of("/v1/threads/thread_1/messages")
    Place(kind='thread', id='thread_1', below=('messages',))
    >>> place_of("/openai/v1/responses")
    Place(kind='response', id=None, below=())
    """
    match = None if is_ambiguous(path) else PREFIX.match(path)
    if match is None:
        return None
    parts = [unquote(part) for part in path[match.end() :].removesuffix("/").split("/")]
    for length in (3, 2, 1):
        kind = ROOTS.get("/".join(parts[:length]))
        if kind is None or len(parts) < length:
            continue
        rest = parts[length:]
        if not rest or rest[0] in ACTIONS:
            return Place(kind, None, tuple(rest))
        if kind == MODEL and not is_fine_tuned(rest[0]):
            return None  # everybody's
        return Place(kind, rest[0], tuple(rest[1:]))
    return None


def is_fine_tuned(model: str) -> bool:
    """Tell whether `model` is one that somebody made."""
    return model.strip().lower().startswith(FINE_TUNED)


@dataclass(frozen=True, slots=True)
class NotFound:
    """Says as the API does that there is no such object: the members of its error."""

    message: str
    param: str | None = None
    code: str | None = None


# As recorded where a recording exists; the others in the form of their neighbours.
MESSAGES = {
    RESPONSE: NotFound("Response with id '{id}' not found."),
    COMPLETION: NotFound("Completion {id} not found", "completion_id", "not_found"),
    FILE: NotFound("No such File object: {id}", "id"),
    UPLOAD: NotFound("No such Upload object: {id}", "id"),
    JOB: NotFound("Could not find fine tune: {id}", "fine_tune_id", "fine_tune_not_found"),
    MODEL: NotFound("The model '{id}' does not exist", "model", "model_not_found"),
    BATCH: NotFound("No batch found with id '{id}'."),
    ASSISTANT: NotFound("No assistant found with id '{id}'."),
    THREAD: NotFound("No thread found with id '{id}'."),
    RUN: NotFound("No run found with id '{id}'."),
    SELECTION: NotFound("No {id} of this project can be selected through the proxy (option llm_ownership)."),
}
PREVIOUS = NotFound(
    "Previous response with id '{id}' not found.", "previous_response_id", "previous_response_not_found"
)


def not_found(ref: Ref) -> NotFound:
    """Give what the API would answer if there were no such object.

    >>> not_found(Ref("conversation", "conv_1")).message
    "Conversation with id 'conv_1' not found."
    """
    form = PREVIOUS if ref.param == PREVIOUS.param else MESSAGES.get(ref.kind)
    if form is None:
        form = NotFound(
            f"{ref.kind.replace('.', ' ').replace('_', ' ').capitalize()} with id '{{id}}' not found."
        )
    shown = ref.id if len(ref.id) <= 100 else ref.id[:100] + "..."
    return NotFound(form.message.replace("{id}", shown), form.param or ref.param, form.code)
