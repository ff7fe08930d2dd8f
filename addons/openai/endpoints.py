"""List the endpoints: for each path its name, its risk, what it bills, and where its model stands.

The gate's allow-lists, the resolver of models and the reading of traffic all go by this table; no other
module names a path. The API grows: what is not listed here is `other`, which the gate refuses unless it is
told otherwise. Source: OpenAI's published OpenAPI document and the paths of the official SDKs.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import parse_qsl

from addons.openai.answers import assemble
from addons.openai.bounds import media_bounds, text_bounds
from addons.openai.bounds.output_limits import ANY_LENGTH, OutputLimits, chat_choices, completion_choices
from addons.openai.counting import counters
from addons.openai.endpoint import Bills, Endpoint, ModelIn, Route, StreamForm, Takes
from addons.openai.objects import fields
from addons.openai.paths import PREFIX, is_ambiguous
from addons.openai.usage import hosted_tools, units

RISK_CLASSES = {
    "inference": "spends tokens, and its usage is in the answer",
    "storage": "reads, changes or deletes what the project keeps: files, stored answers, conversations",
    "listing": "reads the list of models",
    "unmetered": "spends, but the traffic does not show how much: batches, fine-tuning, video, WebRTC calls",
    "key_minting": "returns a credential that works without the proxy",
    "administration": "manages the organization, its keys and its users; deletes models",
    "other": "not known to this version",
}
"""It is what the risk classes stand for; the values of the option ``llm_endpoints``, beside endpoint
names."""

ID = r"[^/]+"
ANY = "GET|POST|DELETE|PATCH|PUT"
UPGRADE = "UPGRADE"
"""In the place of a method: a request for a WebSocket."""

TOKENS, LATER = Bills.TOKENS, Bills.LATER
JSON, FORM, QUERY, ELSEWHERE = ModelIn.JSON, ModelIn.FORM, ModelIn.QUERY, ModelIn.ELSEWHERE
UPLOAD, MIXED = Takes.FORM, Takes.JSON | Takes.FORM
CHUNKS = StreamForm(usage_when_asked=True, named_events=False, assemble=assemble.chat)
COMPLETION_OUTPUT = OutputLimits(("max_tokens",), default=16, choices=completion_choices)
"""Legacy completions are short where nothing is said (API reference, `max_tokens`)."""
TEXT_CHUNKS = StreamForm(b'"text"', usage_when_asked=True, named_events=False, assemble=assemble.completion)

COMPLETIONS = Endpoint(
    "completions",
    "inference",
    TOKENS,
    JSON,
    stream=TEXT_CHUNKS,
    answers_json=True,
    output=COMPLETION_OUTPUT,
    counter=counters.COMPLETIONS,
    bound=text_bounds.completion,
    reusable=True,
    objects=fields.ONLY_A_MODEL,
)
RESPONSES = Endpoint(
    "responses",
    "inference",
    TOKENS,
    JSON,
    answers_json=True,
    output=OutputLimits(("max_output_tokens",)),
    counter=counters.RESPONSES,
    bound=text_bounds.response,
    shown_again=True,
    reusable=True,
    objects=fields.RESPONSES,
)
STORED_RESPONSES = Endpoint("responses", "storage", answers_json=True, shown_again=True)
EMBEDDINGS = Endpoint(
    "embeddings",
    "inference",
    TOKENS,
    JSON,
    answers_json=True,
    names_model=False,
    counter=counters.EMBEDDINGS,
    bound=text_bounds.embedding,
    reusable=True,
    objects=fields.ONLY_A_MODEL,
)
IMAGES = Endpoint(
    "images",
    "inference",
    TOKENS | Bills.IMAGES,
    JSON,
    answers_json=True,
    bound=media_bounds.pictures,
    usage=units.PICTURES,
    hosted_tools=hosted_tools.of_pictures,
    objects=fields.IMAGES,
)
EDITED_IMAGES = replace(IMAGES, upload_bound=media_bounds.UPLOADED_PICTURES)
REALTIME = Endpoint(
    "realtime",
    "inference",
    TOKENS | Bills.SECONDS,
    QUERY,
    ephemeral="realtime",
    objects=fields.SESSION,
    objects_in_query=fields.QUERY_OF_CALLS,
)
"""Endpoints that have several rows."""

JOINED_CALL = Endpoint(
    "realtime_calls",
    "unmetered",
    LATER,
    QUERY | ELSEWHERE,
    by_name=True,
    ephemeral="realtime",
    objects=fields.SESSION,
    objects_in_query=fields.QUERY_OF_CALLS,
)
"""A second connection to a call by WebRTC or SIP."""

CHAT = "chat"
"""The endpoint that is meant where a question names none."""

ROUTES: tuple[Route, ...] = (  # the first match counts
    # Inference. Legacy engines have their model in the path.
    Route(
        "POST",
        r"chat/completions",
        Endpoint(
            CHAT,
            "inference",
            TOKENS,
            JSON,
            stream=CHUNKS,
            answers_json=True,
            output=OutputLimits(("max_completion_tokens", "max_tokens"), choices=chat_choices),
            counter=counters.CHAT,
            bound=text_bounds.chat,
            hosted_tools=hosted_tools.of_model,
            reusable=True,
            objects=fields.CHAT,
        ),
    ),
    Route("POST", r"completions", COMPLETIONS),
    Route(
        "POST",
        rf"engines/{ID}/completions",
        replace(COMPLETIONS, model_in=ModelIn.PATH, objects=fields.NOTHING),
    ),
    Route("POST", r"responses", RESPONSES),
    Route("POST", r"responses/compact", replace(RESPONSES, output=ANY_LENGTH)),
    Route(
        "POST",
        r"responses/input_tokens",
        replace(
            RESPONSES, bills=Bills.NOTHING, counter=None, output=ANY_LENGTH, shown_again=False, reusable=False
        ),
    ),
    Route("POST", rf"responses/{ID}/cancel", replace(STORED_RESPONSES, risk="inference")),
    Route("POST", r"decisions", Endpoint("decisions", "inference", TOKENS, JSON, objects=fields.DECISIONS)),
    Route("POST", r"embeddings", EMBEDDINGS),
    Route(
        "POST",
        rf"engines/{ID}/embeddings",
        replace(EMBEDDINGS, model_in=ModelIn.PATH, objects=fields.NOTHING),
    ),
    Route(
        "POST",
        r"moderations",
        Endpoint(
            "moderations",
            "inference",
            Bills.NOTHING,
            JSON,
            answers_json=True,
            reusable=True,
            objects=fields.ONLY_A_MODEL,
        ),
    ),
    Route("POST", r"images/generations", IMAGES),
    Route("POST", r"images/edits", replace(EDITED_IMAGES, model_in=JSON | FORM, takes=MIXED)),
    Route(
        "POST",
        r"images/variations",
        replace(EDITED_IMAGES, bills=Bills.IMAGES, model_in=FORM, takes=UPLOAD, bound=None),
    ),
    Route(
        "POST",
        r"audio/transcriptions",
        Endpoint(
            "audio_transcriptions",
            "inference",
            TOKENS | Bills.SECONDS,
            FORM,
            takes=UPLOAD,
            upload_bound=media_bounds.TRANSCRIPTION,
            usage=units.RECORDING,
            objects=fields.ONLY_A_MODEL,
        ),
    ),
    Route(
        "POST",
        r"audio/translations",
        Endpoint(
            "audio_translations",
            "inference",
            Bills.SECONDS,
            FORM,
            takes=UPLOAD,
            upload_bound=media_bounds.TRANSLATION,
            usage=units.RECORDING,
            objects=fields.ONLY_A_MODEL,
        ),
    ),
    Route(
        "POST",
        r"audio/speech",
        Endpoint(
            "audio_speech",
            "inference",
            TOKENS | Bills.CHARACTERS,
            JSON,
            bound=media_bounds.speech,
            usage=units.SPEECH,
            objects=fields.SPEECH,
        ),
    ),
    # A run without `model` takes the assistant's.
    Route(
        "POST",
        rf"threads/(?:{ID}/)?runs",
        Endpoint(
            "assistants",
            "inference",
            TOKENS,
            JSON,
            output=OutputLimits(("max_completion_tokens",)),
            bound=text_bounds.run,
            shown_again=True,
            objects=fields.ASSISTANTS,
        ),
    ),
    Route(
        "POST",
        rf"threads/{ID}/runs/{ID}/submit_tool_outputs",
        Endpoint("assistants", "inference", TOKENS, ELSEWHERE, bound=text_bounds.run, shown_again=True),
    ),
    # What the project keeps. Reading an answer again bills nothing: its usage is the first call's.
    Route("GET|HEAD", rf"models(?:/{ID})?", Endpoint("models", "listing", reusable=True)),
    Route("DELETE", rf"models/{ID}", Endpoint("model_deletion", "administration")),
    Route(ANY, rf"chat/completions(?:/{ID}(?:/messages)?)?", Endpoint(CHAT, "storage", answers_json=True)),
    Route(
        ANY,
        rf"responses/{ID}(?:/input_items)?",
        STORED_RESPONSES,
    ),
    Route(
        ANY,
        rf"conversations(?:/{ID}(?:/items(?:/{ID})?)?)?",
        Endpoint("conversations", "storage", objects=fields.CONVERSATIONS),
    ),
    Route(ANY, rf"files(?:/{ID}(?:/content)?)?", Endpoint("files", "storage", takes=MIXED)),
    Route(ANY, rf"uploads(?:/{ID}(?:/parts|/complete|/cancel)?)?", Endpoint("files", "storage", takes=MIXED)),
    Route(
        ANY,
        r"(?:assistants|threads)(?:/.+)?",
        Endpoint(
            "assistants",
            "storage",
            Bills.NOTHING,
            JSON,
            shown_again=True,
            objects=fields.ASSISTANTS,
            objects_in_query=fields.QUERY_OF_THREADS,
        ),
    ),
    Route("GET|DELETE", r"vector_stores(?:/.+)?", Endpoint("vector_stores", "storage")),
    Route(ANY, r"vector_stores(?:/.+)?", Endpoint("vector_stores", "storage", LATER, objects=fields.STORES)),
    Route("GET|DELETE", r"(?:containers|skills|videos|evals)(?:/.+)?", Endpoint("hosted", "storage", LATER)),
    Route("GET|DELETE", r"chatkit/threads(?:/.+)?", Endpoint("hosted", "storage", ephemeral="chatkit")),
    Route(
        "POST",
        rf"chatkit/sessions/{ID}/cancel",
        Endpoint("hosted", "storage", ephemeral="chatkit", secret=True),
    ),
    Route("GET|DELETE", r"audio/(?:voices|voice_consents)(?:/.+)?", Endpoint("hosted", "storage")),
    Route(ANY, r"vaults(?:/.+)?", Endpoint("vaults", "storage", secret=True)),
    # What an agent does is billed by the turn, and each turn is counted where its end is seen first.
    Route(
        "GET|DELETE",
        r"agents(?:/.+)?",
        Endpoint("agents", "storage", LATER, objects_in_query=fields.QUERY_OF_AGENTS),
    ),
    Route(
        "POST",
        rf"agents(?:/(?!(?:sessions|automations|environments)$){ID})?",
        Endpoint("agents", "storage", Bills.NOTHING, JSON, objects=fields.AGENTS),
    ),
    Route(
        "POST",
        r"agents/.+",
        Endpoint("agents", "unmetered", LATER, ELSEWHERE, takes=MIXED, objects=fields.AGENTS),
    ),
    Route("GET|DELETE", r"batches(?:/.+)?", Endpoint("jobs", "storage", LATER, usage=units.BATCH)),
    # Its checkpoints' permissions, which share a model with other projects, take an administrator's key.
    Route(ANY, r"fine_tuning/checkpoints/.+", Endpoint("administration", "administration")),
    Route("GET|DELETE", r"fine_tuning(?:/.+)?", Endpoint("jobs", "storage", LATER)),
    Route(
        "POST",
        rf"(?:batches|fine_tuning/jobs)/{ID}/cancel",
        Endpoint("jobs", "storage", LATER, usage=units.BATCH),
    ),
    # Spends, unseen.
    Route(
        "POST",
        r"batches",
        Endpoint("jobs", "unmetered", LATER, ELSEWHERE, usage=units.BATCH, objects=fields.BATCHES),
    ),
    Route(
        "POST", r"fine_tuning/jobs", Endpoint("jobs", "unmetered", LATER, JSON, objects=fields.FINE_TUNING)
    ),
    Route(
        "POST",
        r"fine_tuning(?:/.+)?",
        Endpoint("jobs", "unmetered", LATER, ELSEWHERE, objects=fields.FINE_TUNING),
    ),
    Route(
        "POST",
        r"videos",
        Endpoint(
            "hosted", "unmetered", LATER, JSON | FORM, takes=MIXED, whole_forms=True, objects=fields.VIDEOS
        ),
    ),
    Route(
        "POST",
        r"videos(?:/.+)?",
        Endpoint(
            "hosted", "unmetered", LATER, ELSEWHERE, takes=MIXED, whole_forms=True, objects=fields.VIDEOS
        ),
    ),
    Route(
        "POST",
        r"evals(?:/.+)?",
        Endpoint(
            "hosted", "unmetered", LATER, ELSEWHERE, takes=MIXED, whole_forms=True, objects=fields.EVALS
        ),
    ),
    Route(
        "POST",
        r"containers(?:/.+)?",
        Endpoint("hosted", "unmetered", LATER, takes=MIXED, whole_forms=True, objects=fields.CONTAINERS),
    ),
    Route("POST", r"skills(?:/.+)?", Endpoint("hosted", "unmetered", LATER, takes=MIXED, whole_forms=True)),
    Route(
        "POST",
        r"audio/(?:voices|voice_consents)(?:/.+)?",
        Endpoint("hosted", "unmetered", LATER, takes=MIXED, whole_forms=True, objects=fields.VOICES),
    ),
    Route(
        "POST",
        r"content_provenance_checks",
        Endpoint("hosted", "unmetered", LATER, takes=MIXED, whole_forms=True),
    ),
    # Sessions: any number of calls in one; their frames are read by addons/hooks/websockets/addon.py.
    Route(
        UPGRADE,
        r"responses",
        replace(RESPONSES, model_in=JSON | ModelIn.FRAMES, sequential=True, counter=None, reusable=False),
    ),
    Route(UPGRADE, r"realtime", REALTIME),
    Route(
        UPGRADE,
        r"realtime/translations",
        replace(REALTIME, name="realtime_translations", risk="unmetered", bills=LATER),
    ),
    Route("GET", r"realtime", replace(REALTIME, risk="unmetered", bills=LATER, objects=fields.NOTHING)),
    # By WebRTC and SIP: sound and text go between the API and a browser or a telephone.
    Route(
        "POST",
        rf"realtime/calls(?:/{ID}/accept)?",
        replace(JOINED_CALL, model_in=ModelIn.SESSION | QUERY, takes=MIXED | Takes.SDP),
    ),
    Route(
        "GET|POST",
        rf"realtime/calls(?:/{ID}(?:/{ID})?)?",
        replace(JOINED_CALL, model_in=ModelIn.NOWHERE, takes=MIXED | Takes.SDP, objects=fields.NOTHING),
    ),
    Route(
        f"{UPGRADE}|GET|POST",
        r"live/sessions(?:/.+)?",
        replace(JOINED_CALL, name="live", model_in=ELSEWHERE, takes=MIXED | Takes.SDP, ephemeral=""),
    ),
    # Credentials that work without the proxy.
    Route(
        "POST",
        r"realtime/(?:(?:translations/)?client_secrets|(?:transcription_)?sessions)",
        Endpoint(
            "realtime_credentials",
            "key_minting",
            LATER,
            ModelIn.SESSION,
            ephemeral="realtime",
            secret=True,
            objects=fields.SESSION,
        ),
    ),
    Route(
        "POST",
        r"chatkit/sessions",
        Endpoint("chatkit_credentials", "key_minting", LATER, ELSEWHERE, ephemeral="chatkit", secret=True),
    ),
    # A webhook gets the events of all who share the key; alerts and cases are the organization's.
    Route(
        ANY,
        r"(?:organization|projects|dashboard|usage|webhook_endpoints|webhook_event_types|safety)(?:/.+)?",
        Endpoint("administration", "administration", secret=True),
    ),
)

OTHER = Endpoint(
    "other",
    "other",
    Bills.UNKNOWN,
    JSON | FORM | QUERY | ModelIn.SESSION,
    Takes.ANY,
    whole_forms=True,
    objects=fields.ANYWHERE,
    objects_in_query=fields.QUERY_ANYWHERE,
)

_ROUTES = [(frozenset(route.methods.split("|")), re.compile(route.path), route.endpoint) for route in ROUTES]

COUNTERS = {route.endpoint.name: counter for route in ROUTES if (counter := route.endpoint.counter)}
"""It is what counts the bodies of endpoints, by their names as in events."""
SHOWN_AGAIN = frozenset(route.endpoint.name for route in ROUTES if route.endpoint.shown_again)
"""Names of the endpoints whose answers the API keeps and may show again, with their usage."""

KNOWN_NAMES = frozenset(route.endpoint.name for route in ROUTES) | {OTHER.name}

FOUNDRY = re.compile(r"/models/(?=(?:chat/completions|embeddings)$)")


def resolve(method: str, path: str, *, upgrade: bool = False, query: str = "") -> Endpoint:
    """Give the endpoint of a request path (without query).

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
    """Give the endpoint for the record only: like :func:`resolve`, but behind any prefix.

    >>> guess("POST", "/api/paas/v4/chat/completions").name
    'chat'
    """
    endpoint = resolve(method, path, upgrade=upgrade)
    if endpoint.risk in ("other", "administration") and method.upper() == "POST" and not upgrade:
        return next((known for ending, known in _ENDINGS if ending.search(path)), endpoint)
    return endpoint
