"""List where a request may name objects: the API's fields for their ids, by endpoint.

A `Field` describes one member of a body: which kind of object its value names, and which of its own members
do. Lists are transparent: a field describes each element. Members that no field describes are the user's own
(metadata, arguments and schemas of tools, texts), and whatever stands in them names nothing. The row of an
endpoint (:mod:`addons.openai.endpoints`) says which field its bodies are. Source: the API reference and the
parameter types of the official SDK, which a test holds against this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from addons.openai.objects import kinds


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Says what the value of a member names."""

    kind: str | None = None
    """The kind that the value names: by an id, a list of ids, or an object with an ``id``."""
    text: bool = True
    """False where a plain text is no id but a name of the API's own, or a URL."""
    members: Mapping[str, Field] = field(default_factory=dict)
    """Members of the value that name objects, by their names in lower case."""
    others: Field | None = None
    """Describes all further members, under names that users choose."""
    deep: bool = False
    """It tells whether the same members are looked for at any depth, where no form of the value is known."""
    item: bool = False
    """It tells whether the value is an item of a conversation, which may be taken from an earlier answer by
    its id."""
    source: bool = False
    """It tells whether the value is the data source of an eval, which may select among all that the project
    keeps."""
    typed: str | None = None
    """Only values whose ``type`` begins so are read; others are the user's own."""


def _having(**members: Field) -> Field:
    return Field(members=members)


def _with(base: Field, **members: Field) -> Field:
    return replace(base, members={**base.members, **members})


NOTHING = Field()
MODEL = Field(kinds.MODEL)
"""Fine-tuned models only; all others are everybody's."""
FILE, RESPONSE, SKILL = Field(kinds.FILE), Field(kinds.RESPONSE), _having(skill_id=Field(kinds.SKILL))
VECTOR_STORE, THREAD = Field(kinds.VECTOR_STORE), Field(kinds.THREAD)
CUSTOM_VOICE = Field(kinds.VOICE, text=False)

PART = _having(file_id=FILE, file=_having(file_id=FILE), image_file=_having(file_id=FILE))
"""A part of a message, or of what a tool gave back: an image or a file."""
CONTAINER = Field(kinds.CONTAINER, members={"file_ids": FILE, "skills": SKILL})
SHELL = _having(container_id=Field(kinds.CONTAINER), file_ids=FILE, skills=SKILL)

_TOOL = _having(
    vector_store_ids=VECTOR_STORE,
    container=CONTAINER,
    environment=SHELL,
    input_image_mask=PART,
    model=MODEL,
)
TOOL = _with(_TOOL, tools=_TOOL)
"""A hosted tool, or a namespace of tools."""

ITEM = replace(
    _having(
        content=PART,
        output=PART,
        file_id=FILE,
        container_id=Field(kinds.CONTAINER),
        environment=SHELL,
        tools=TOOL,
    ),
    item=True,
)
"""An item of a conversation: a message, a tool's call or what it gave back."""
PROMPT = _having(variables=Field(others=replace(PART, typed="input_")))
"""A stored prompt: the names of its variables are the user's, their values may be files."""
CONVERSATION = Field(kinds.CONVERSATION)

RESPONSES = _having(
    model=MODEL,
    previous_response_id=RESPONSE,
    response_id=RESPONSE,
    conversation=CONVERSATION,
    input=ITEM,
    tools=TOOL,
    prompt=PROMPT,
    prompt_cache_options=_having(comparison_response_id=RESPONSE),
)
"""A request for a response, also as an event of a WebSocket."""
CONVERSATIONS = _having(items=ITEM)

CHAT = _having(
    model=MODEL,
    messages=_having(content=PART, audio=Field(kinds.AUDIO, text=False)),
    audio=_having(voice=CUSTOM_VOICE),
)
ONLY_A_MODEL = _having(model=MODEL)
DECISIONS = _having(
    model=MODEL, input=_having(content=PART, output=PART), questions=_having(instructions=PART)
)
IMAGES = _having(model=MODEL, image=PART, images=PART, mask=PART)
SPEECH = _having(model=MODEL, voice=CUSTOM_VOICE)
VOICES = _having(consent=Field(kinds.CONSENT), consent_id=Field(kinds.CONSENT))

STORES = _having(file_ids=FILE, file_id=FILE, files=_having(file_id=FILE))
"""Vector stores, and what stands below them."""
CONTAINERS = _having(file_ids=FILE, file_id=FILE, skills=SKILL)

_RESOURCES = _having(
    code_interpreter=_having(file_ids=FILE),
    file_search=_having(vector_store_ids=VECTOR_STORE, vector_stores=_having(file_ids=FILE)),
)
_MESSAGE = _having(content=PART, attachments=_having(file_id=FILE), file_ids=FILE)
_THREAD = _with(_MESSAGE, messages=_MESSAGE, tool_resources=_RESOURCES)
ASSISTANTS = _with(
    _THREAD,
    model=MODEL,
    assistant_id=Field(kinds.ASSISTANT),
    additional_messages=_MESSAGE,
    thread=_THREAD,
)
"""Assistants, threads, their messages and their runs."""

BATCHES = _having(input_file_id=FILE)
_GRADER = _having(model=MODEL, input=_having(content=PART))
GRADER = _with(_GRADER, graders=replace(_GRADER, others=_GRADER))
FINE_TUNING = _having(
    model=MODEL,
    training_file=FILE,
    validation_file=FILE,
    method=_having(reinforcement=_having(grader=GRADER)),
    grader=GRADER,
)
EVALS = _having(
    data_source=_having(
        model=MODEL,
        source=Field(source=True),
        input_messages=_having(template=_having(content=PART)),
        sampling_params=_having(tools=TOOL),
    ),
    testing_criteria=GRADER,
)
VIDEOS = _having(
    model=MODEL,
    video=Field(kinds.VIDEO, text=False),
    video_id=Field(kinds.VIDEO),
    characters=Field(kinds.CHARACTER, text=False),
    input_reference=PART,
    image=PART,
)

_HOSTED = _having(
    environment_id=Field(kinds.ENVIRONMENT),
    environment_template_id=Field(kinds.TEMPLATE),
    files=_having(file_id=FILE),
    skills=SKILL,
)
_AGENT = _having(model=MODEL, tools=_having(credential_id=Field(kinds.VAULT_CREDENTIAL)))
_AGENT_RUN = _with(
    _AGENT,
    agent=_AGENT,
    agent_id=Field(kinds.AGENT),
    environment=_HOSTED,
    vault_ids=Field(kinds.VAULT),
    input=_having(content=PART),
)
AGENTS = _with(
    _AGENT_RUN,
    target=_with(_AGENT_RUN, session_id=Field(kinds.AGENT_SESSION)),
    events=_having(input=_having(content=PART), output=PART),
    files=_having(file_id=FILE),
    file_id=FILE,
    skills=SKILL,
)
"""Agents, their sessions, environments and automations."""

_SESSION = _having(
    model=MODEL,
    voice=CUSTOM_VOICE,
    audio=_having(output=_having(voice=CUSTOM_VOICE)),
    prompt=PROMPT,
    tools=TOOL,
    input=_having(content=PART),
    delegation=_having(responses=_having(model=MODEL, tools=TOOL)),
)
SESSION = _with(_SESSION, session=_SESSION, response=_SESSION, item=_having(content=PART, output=PART))
"""A realtime or live session as it is made, and the events of its client.

Such a session has ids of its own for its answers and items, which nobody else can use.
"""

USERS_OWN = frozenset(
    {
        *("metadata", "client_metadata", "request_metadata", "attributes", "headers", "env", "variables"),
        *("parameters", "schema", "json_schema", "item_schema", "input_schema", "annotations"),
        *("arguments", "state_variables", "logit_bias"),
    }
)
"""Members whose contents any server only keeps or hands on, under names that users choose."""

ANYWHERE = Field(
    deep=True,
    members={
        **dict.fromkeys(USERS_OWN, NOTHING),
        **dict.fromkeys(("file_id", "file_ids", "input_file_id", "training_file", "validation_file"), FILE),
        **dict.fromkeys(("previous_response_id", "response_id", "comparison_response_id"), RESPONSE),
        **dict.fromkeys(("conversation", "conversation_id"), CONVERSATION),
        **dict.fromkeys(("vector_store_id", "vector_store_ids"), VECTOR_STORE),
        **dict.fromkeys(("consent", "consent_id"), Field(kinds.CONSENT)),
        **dict.fromkeys(("container", "container_id"), Field(kinds.CONTAINER)),
        **dict.fromkeys(("input", "items"), Field(item=True)),
        "upload_id": Field(kinds.UPLOAD),
        "batch_id": Field(kinds.BATCH),
        "assistant_id": Field(kinds.ASSISTANT),
        "thread_id": THREAD,
        "run_id": Field(kinds.RUN),
        "skill_id": Field(kinds.SKILL),
        "eval_id": Field(kinds.EVAL),
        "video_id": Field(kinds.VIDEO),
        "video": Field(kinds.VIDEO, text=False),
        "voice": CUSTOM_VOICE,
        "audio": Field(kinds.AUDIO, text=False),
        "characters": Field(kinds.CHARACTER, text=False),
        "model": MODEL,
        "source": Field(source=True),
    },
)
"""Every known name at any depth: for endpoints that this version does not know."""

QUERY_OF_CALLS: Mapping[str, str] = {"call_id": kinds.REALTIME_CALL, "model": kinds.MODEL}
QUERY_OF_THREADS: Mapping[str, str] = {"run_id": kinds.RUN}
QUERY_OF_AGENTS: Mapping[str, str] = {
    "agent_id": kinds.AGENT,
    "session_id": kinds.AGENT_SESSION,
    "environment_id": kinds.ENVIRONMENT,
}
QUERY_ANYWHERE: Mapping[str, str] = {
    **{name: each.kind for name, each in ANYWHERE.members.items() if each.kind and each.text},
    **QUERY_OF_CALLS,
}
