"""What is reassembled here equals what OpenAI's own SDK makes of the same bytes.

Where it does not, one of the rules below says why, and the difference must be of that kind: nothing is
left out by name. Streams that the SDK can't read are listed with its complaint.
"""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import openai
import pytest
from openai import omit
from openai.lib.streaming import AssistantEventHandler
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.lib.streaming.responses._responses import ResponseStreamState

from addons.openai import Response
from addons.openai.answers import assemble, streams
from addons.openai.http.body import open_body
from tests import corpus
from tests.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the SDK's assistants

Path = tuple[Any, ...]
STREAM = [("content-type", "text/event-stream")]

ABSENT = object()
TOKEN_NAMES = (("prompt", "completion"), ("input", "output"))
SDK_ONLY = ("parsed", "parsed_arguments", "output_parsed", "obfuscation")
"""What the SDK adds: text read as JSON; and, in older versions, a chunk's padding."""


def client(body: bytes) -> openai.OpenAI:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=dict(STREAM), content=body))
    return openai.OpenAI(
        api_key="x", base_url="http://x/v1", http_client=httpx.Client(transport=transport), max_retries=0
    )


MUTE = {"chat": assemble.chat, "completions": assemble.completion}


def ours(endpoint: str, body: bytes) -> Any:
    events = open_body(Response(200, STREAM, body)).events or []
    whole = streams.whole(events, MUTE.get(endpoint))
    if endpoint == "assistants" and "steps" in whole:
        # The SDK leaves steps as their deltas make them: it does not look at how they ended.
        begun = [event for event in events if event.get("object") != "thread.run.step" or _is_begun(event)]
        whole["steps"] = streams.whole(begun)["steps"]
    return whole


def _is_begun(event: dict[str, Any]) -> bool:
    return bool(event["status"] == "in_progress")


def plain(value: Any) -> Any:
    """Without what both leave open: absent or null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None and key not in SDK_ONLY}
    return [plain(item) for item in value] if isinstance(value, list) else value


def differences(left: Any, right: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    in_parts = path == ("usage",) and isinstance(right, dict) and not is_whole_usage(right)
    if isinstance(left, dict) and isinstance(right, dict) and not in_parts:
        for key in {**left, **right}:
            yield from differences(left.get(key, ABSENT), right.get(key, ABSENT), (*path, key))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for at, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from differences(one, other, (*path, at))
    elif left != right:
        yield path, left, right


def is_whole_usage(usage: dict[str, Any]) -> bool:
    """Whether a usage has both input and output, under either pair of names."""
    return any({f"{one}_tokens", f"{other}_tokens"} <= usage.keys() for one, other in TOKEN_NAMES)


def sdk_chat(body: bytes) -> Any:
    state = ChatCompletionStreamState()
    for chunk in client(body).chat.completions.create(model="m", messages=[], stream=True):
        state.handle_chunk(chunk)
    return state.current_completion_snapshot.to_dict()


def sdk_response(body: bytes) -> Any:
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    last: Any = None
    for event in client(body).responses.create(model="m", input="x", stream=True):
        state.handle_event(event)
        last = getattr(event, "response", last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic on item types that the SDK does not know yet
        return (state._completed_response or last).to_dict()


def sdk_run(body: bytes) -> Any:
    handler = AssistantEventHandler()
    with client(body).beta.threads.runs.stream(
        thread_id="t", assistant_id="a", event_handler=handler
    ) as stream:
        stream.until_done()
        run = handler.current_run
        assert run is not None
        found = run.to_dict()
        for name, get in (("steps", handler.get_final_run_steps), ("messages", handler.get_final_messages)):
            with contextlib.suppress(RuntimeError):  # there are none
                found[name] = [member.to_dict() for member in get()]  # type: ignore[attr-defined]
    return found


def is_repeated(path: Path, left: Any, right: Any) -> bool:
    """The SDK joins all texts, also roles, ids and names that a server sends with every chunk."""
    return (
        isinstance(left, str)
        and isinstance(right, str)
        and bool(left)
        and right == left * (len(right) // len(left))
    )


def is_added_up(path: Path, left: Any, right: Any) -> bool:
    """The SDK adds up numbers, also the ids of tokens."""
    return path[-1] == "token_id" and isinstance(left, int) and isinstance(right, int) and right > left


def is_of_first_chunk(path: Path, left: Any, right: Any) -> bool:
    """Beside the message the SDK keeps the first chunk's values: of Azure's that is an empty id and model,
    and what comes later (results of filters, a tier, a server's own fields) is not there."""
    at_top = path[0] not in ("choices", "usage")
    of_choice = ("finish_reason", "logprobs", "message", "index")
    at_choice = len(path) > 2 and path[0] == "choices" and path[2] not in of_choice
    return at_top or at_choice


def is_usage_of_last_chunk(path: Path, left: Any, right: Any) -> bool:
    """The SDK takes the usage of the last chunk, though it may stand in an earlier one, or in ``x_groq``."""
    return path == ("usage",) and right is ABSENT


def is_usage_in_parts(path: Path, left: Any, right: Any) -> bool:
    """The SDK takes the last of a usage's parts for the whole; what it has must be in the whole."""
    return (
        path == ("usage",)
        and isinstance(left, dict)
        and isinstance(right, dict)
        and not is_whole_usage(right)
        and all(count in left.values() for count in right.values())
    )


def is_role_never_said(path: Path, left: Any, right: Any) -> bool:
    """The call without streaming always names the role."""
    return path[-1] == "role" and left == "assistant" and right is ABSENT


def is_index_of_call(path: Path, left: Any, right: Any) -> bool:
    """The SDK leaves the index in, which the call without streaming does not have."""
    return path[-1] == "index" and "tool_calls" in path and left is ABSENT


def is_empty_call(path: Path, left: Any, right: Any) -> bool:
    """An empty list of calls is none; and what is not there in a list that the SDK leaves empty, is none."""
    return path[-1] == "tool_calls" and left is ABSENT and right == []


def is_two_kinds_under_one_index(path: Path, left: Any, right: Any) -> bool:
    """The SDK makes one detail of two that share an index, with the text of one and the type of the other."""
    return path[-1] == "reasoning_details" and len(left) > len(right)


CHAT_RULES = (
    is_repeated,
    is_added_up,
    is_of_first_chunk,
    is_usage_of_last_chunk,
    is_usage_in_parts,
    is_role_never_said,
    is_index_of_call,
    is_empty_call,
    is_two_kinds_under_one_index,
)


def is_younger_than_the_sdk(path: Path, left: Any, right: Any) -> bool:
    """The last SDK for Python 3.11 does not know of the chunk that tells of moderation."""
    return path == ("moderation",) and right is ABSENT and int(openai.__version__.split(".")[0]) < 3


OPENAI_RULES = (is_index_of_call, is_usage_of_last_chunk, is_younger_than_the_sdk)
"""All that is needed for OpenAI's own hosts."""


def is_thread_of_stream(path: Path, left: Any, right: Any) -> bool:
    """The SDK has no place for the thread that the call has made."""
    return path == ("thread",)


def is_item_begun(path: Path, left: Any, right: Any) -> bool:
    """A run that waits for its caller: of steps that had not ended the SDK keeps the indexes of deltas, and
    joins what is no text."""
    return path[0] == "steps" and path[-1] == "index" and left is ABSENT


RUN_RULES = (is_thread_of_stream, is_item_begun)

COMPLAINTS = (
    ("Lifecycle response identity changed", "two answers in one stream"),
    ("Expected to have received `response.created`", "a lone last event"),
    ("Completed output item identity changed", "a recording that was altered"),
    ("'NoneType' object is not iterable", "a chunk without choices: the one that says when audio expires"),
    ("before receiving its output item", "a text whose item was never announced"),
    ("IndexError: list index out of range", "the same, in older versions"),
    ("AssertionError: ", "two answers in one stream, in older versions"),
    ("'NoneType' object has no attribute 'to_dict'", "Azure's choice without a delta"),
)
"""What the SDK says of streams that it can't read, and why: all of them are read here."""


def explain(path: Path, left: Any, right: Any, rules: Sequence[Callable[[Path, Any, Any], bool]]) -> str:
    for rule in rules:
        if rule(path, left, right):
            return rule.__name__
    return f"UNEXPLAINED {path}: {left!r:.80} here, {right!r:.80} there"


def with_blank_lines(body: bytes) -> bytes:
    """Part events as the standard says, for the SDK, where a server parts all of them by one line end."""
    if b"\n\n" in body.strip() or b"\r" in body:
        return body
    return re.sub(rb"(?m)^data:.*$", rb"\g<0>\n", body)


def compare(
    endpoint: str, body: bytes, sdk: Callable[[bytes], Any], rules: Sequence[Callable[[Path, Any, Any], bool]]
) -> list[str]:
    """By which rules the two differ; or what the SDK complained of."""
    mine = ours(endpoint, body)
    assert mine
    try:
        theirs = sdk(with_blank_lines(body))
    except openai.APIError:
        return ["the stream says that the call failed"]
    except (RuntimeError, TypeError, AttributeError, IndexError, AssertionError) as error:
        said = f"{type(error).__name__}: {error}"
        return [next((why for text, why in COMPLAINTS if text in said), f"UNEXPLAINED {said}")]
    return [explain(*found, rules) for found in differences(plain(mine), plain(theirs))]


KINDS = {
    "chat": ("chat", sdk_chat),
    "responses": ("responses", sdk_response),
    "threads/assistants": ("assistants", sdk_run),
}


def recorded(kind: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    for exchange in corpus.load():
        body = corpus.response_body(exchange)
        if exchange["endpoint"] == kind and body.startswith((b"data:", b"event:", b":")):
            yield exchange, body


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("chat", 190), ("responses", 170), ("threads/assistants", 10)])
def test_recorded_streams(kind: str, least: int) -> None:
    endpoint, sdk = KINDS[kind]
    seen: Counter[str] = Counter()
    compared = 0
    for exchange, body in recorded(kind):
        rules = {"chat": CHAT_RULES, "threads/assistants": RUN_RULES}.get(kind, ())
        if kind == "chat" and exchange["host_kind"] == "openai":
            rules = OPENAI_RULES
        found = compare(endpoint, body, sdk, rules)
        assert not [text for text in found if text.startswith("UNEXPLAINED")], (exchange["id"], found)
        seen.update(set(found) or {"equal"})
        compared += 1
    assert compared >= least
    assert seen["equal"] >= least / 3, seen


ALTERED = {
    "chat-stream-tools-compatible": "the SDK makes one call of two that are both numbered 0",
    "chat-stream-tools-unnumbered": "the SDK refuses calls without an index",
    "chat-stream-parts": "the SDK refuses content that is not a text",
    "chat-stream-written-twice": "the SDK takes the second name of the field for data",
    "responses-stream-usage-beside": "the SDK leaves what stands beside the response",
}
"""Scenarios that the SDK can't read, or not rightly."""


def scenarios(*endpoints: str) -> list[str]:
    return [
        name
        for name, scenario in SCENARIOS.items()
        if scenario.is_stream
        and scenario.response.complete
        and b"data:" in scenario.response.body  # the SDK makes nothing of a stream of nothing
        and scenario.expected.get("endpoint", _endpoint(scenario)) in endpoints
    ]


def _endpoint(scenario: Scenario) -> str:
    for part, name in (("chat/", "chat"), ("/responses", "responses"), ("/threads", "assistants")):
        if part in scenario.request.url:
            return name
    return "none"


@pytest.mark.parametrize("name", scenarios("chat", "responses", "assistants"))
def test_scenarios(name: str) -> None:
    endpoint = _endpoint(SCENARIOS[name])
    body = SCENARIOS[name].response.body + b"\n\n"  # else the SDK would drop the last event
    sdk = {"chat": sdk_chat, "responses": sdk_response, "assistants": sdk_run}[endpoint]
    rules = {"chat": CHAT_RULES, "assistants": RUN_RULES}.get(endpoint, ())
    if name in ALTERED:
        with pytest.raises((AssertionError, TypeError, RuntimeError, ValueError)):
            assert not [text for text in compare(endpoint, body, sdk, rules) if "UNEXPLAINED" in text]
        return
    found = compare(endpoint, body, sdk, rules)
    assert not [text for text in found if text.startswith("UNEXPLAINED")], found


WITHOUT_END = {"encrypted_content", "status", "logprobs"}
"""Of a response's items: what is written anew at the end."""


def test_a_response_without_its_end_is_rebuilt() -> None:
    """From the finished items it is what the last event says; from the deltas it has all the text."""
    rebuilt = texts = compared = 0
    for _, body in recorded("responses"):
        events = open_body(Response(200, STREAM, body)).events or []
        whole = streams.whole(events)
        before = [
            event for event in events if "output" not in (event.get("response") or {}) or _begins(event)
        ]
        deltas = [event for event in before if not str(event.get("type")).endswith(".done")]
        compared += 1
        rebuilt += _items(streams.whole(before)) == _items(whole)
        texts += _said(streams.whole(deltas)) == _said(whole)
    # Not: two answers in one stream, altered recordings, and a stream that is only its last event.
    assert rebuilt >= compared - 6
    assert texts >= compared - 8


def _begins(event: dict[str, Any]) -> bool:
    return event.get("type") in ("response.created", "response.queued", "response.in_progress")


def _items(response: Any) -> Any:
    output = (response or {}).get("output") or []
    return [
        {key: item for key, item in one.items() if key not in WITHOUT_END and item not in (None, [], "")}
        for one in plain(json.loads(json.dumps(output, default=str)))
    ]


def _said(response: Any) -> list[tuple[Any, ...]]:
    """Texts and arguments."""
    return [
        (
            item.get("type"),
            item.get("arguments") if isinstance(item.get("arguments"), str) else None,
            *(part.get("text") or part.get("refusal") for part in item.get("content") or []),
        )
        for item in (response or {}).get("output") or []
    ]
