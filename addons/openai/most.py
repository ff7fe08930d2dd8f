"""The most that a call can use, told from its request alone.

For budgets that must hold: a figure here may be too large, never too small. What cannot be seen (history that
the server keeps, files, pictures by address) counts as a whole context window; what has no bound says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from addons.openai import sizes
from addons.openai.counting.model import Model
from addons.openai.counting.tally import Tally, maps, text
from addons.openai.endpoints import Bills, Endpoint
from addons.openai.hosted_tools import SEARCH_MODELS
from addons.openai.tokens import count_input
from addons.openai.vocabulary import normalise

Body = Mapping[str, Any]

MARGIN, MARGIN_PARTS = 256, 50
"""A counted conversation may be this many tokens short, and one in this many: of 343 recorded ones
whose input is in view 332 were exact, and all were within both (tests/addons/openai/test_most.py)."""
DEFAULT_COMPLETION = 16
"""Tokens of a legacy completion whose request names no limit (API reference, `max_tokens`)."""
CUSTOM_TOOL = 256
"""Tokens of a custom tool beside its text: 224 were seen."""
REASONING_ITEM = 64
"""Of a reasoning item beside its text: 35 were seen."""
PICTURE = 12_001
"""Of a picture whose size only gives an estimate: 10,000 patches, times 1.2, and one."""
SPEECH_PER_CHARACTER = 8
"""Output tokens of a character read out at the slowest speed (0.25): 20 a second, 0.4 s a character."""
PARTIAL_PICTURE = 100
"""Tokens of each picture that is shown while it is made."""
PICTURES = {"low": 408, "medium": 1_584, "high": 6_240}
"""Tokens of a made picture by quality, at the dearest size (docs, image generation, up to gpt-image-1.5)."""
LATER_PICTURE = 25_000
"""Of the models after these, which make larger ones: 2048 x 2048, at the same rate by area."""
MOST_PICTURES = 10
"""In one call."""
PICTURES_GIVEN = 16
"""To be edited, in one call."""
PROMPT = 32_000
"""Characters of a picture's description."""
LARGEST_SOUND = 25 * 2**20
"""Bytes of a recording that the API takes."""
SLOWEST_SOUND = 750
"""Bytes a second: Opus at 6 kbit/s."""
BY_CLIENT = frozenset(
    {"function", "custom", "local_shell", "apply_patch", "computer", "computer_use_preview", "computer-use"}
)
"""Tools that the client runs: the answer ends with their call."""
HOSTED: Mapping[str, str | None] = {
    "web_search": "web_search_calls",
    "web_search_preview": "web_search_preview_calls",
    "file_search": "file_search_calls",
    "code_interpreter": "containers",
    "mcp": None,
}
"""Tools that the API runs, and what each call of theirs is billed as beside its tokens."""


@dataclass(slots=True)
class Most:
    """Upper bounds of what one call can be billed for."""

    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    """Read out by a model that is billed by them."""
    seconds: int = 0
    """Of sound, for a model that is billed by them."""
    images: int = 0
    """Made by a model that is billed by them."""
    hosted: dict[str, int] = field(default_factory=dict)
    """Calls of the API's own tools, named as in events."""
    memory: str = "1g"
    """Of the containers; the smallest one is the API's default."""
    given: set[str] = field(default_factory=set)
    """What the input may be beside text: audio, image."""
    made: set[str] = field(default_factory=set)
    """What the output may be beside text."""
    tier: str | None = None
    """The service tier that is asked for."""
    unbounded: str | None = None
    """Why there is no bound; the figures then are none either."""

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def most(endpoint: Endpoint, model: str | None, body: Any, *, path: str = "", exact: bool = False) -> Most:
    """The most that a call with this JSON body can use. Never raises.

    `exact`: count the input's tokens; else its bytes stand for them, which takes far less time. Exact counts
    are never made on the event loop.
    """
    if endpoint.bills is Bills.NOTHING:
        return Most(model)
    if not isinstance(body, Mapping):
        return Most(model, unbounded="the body cannot be read")
    tier = body.get("service_tier")
    found = Most(model, tier=tier if isinstance(tier, str) else None)
    if endpoint.name in ("chat", "responses", "completions", "embeddings"):
        _text_call(found, endpoint.name, body, compact=path.endswith("/compact"), exact=exact)
    elif endpoint.name == "images":
        _pictures(found, body)
    elif endpoint.name == "audio_speech":
        _speech(found, body)
    elif endpoint.name == "assistants":
        found.input_tokens = _number(body, "max_prompt_tokens") or sizes.of(model).window
        found.output_tokens = _number(body, "max_completion_tokens") or sizes.of(model).output
    else:
        found.unbounded = f"a call of {endpoint.name} does not show what it will cost"
    return found


def of_form(endpoint: Endpoint, size: int | None) -> Most:
    """The most of an upload that is passed on as it comes: its fields are not known yet, `size` may be.

    It is bounded as the dearest model's: see :data:`FORM_MODELS`.
    """
    if endpoint.name in ("audio_transcriptions", "audio_translations"):
        sound = LARGEST_SOUND if size is None else min(size, LARGEST_SOUND)
        window, output = sizes.of(FORM_MODELS[endpoint.name][0]).window, 2_000
        return Most(None, window, output, seconds=sound // SLOWEST_SOUND + 1, given={"audio"})
    if endpoint.name == "images":
        given = PICTURES_GIVEN * PICTURES["high"] + PROMPT
        return Most(None, given, MOST_PICTURES * LATER_PICTURE, given={"image"}, made={"image"})
    if endpoint.bills is Bills.NOTHING:
        return Most()
    return Most(unbounded=f"a call of {endpoint.name} does not show what it will cost")


FORM_MODELS: Mapping[str, tuple[str, ...]] = {
    "audio_transcriptions": ("gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1"),
    "audio_translations": ("whisper-1",),
    "images": ("gpt-image-1", "gpt-image-1.5", "gpt-image-2"),
}
"""Whose prices bound an upload that does not say its model in time."""


def of_session(model: str | None, asked: Any = None) -> Most:
    """The most of one answer within a realtime session: all that was said before is its input."""
    known = sizes.of(model)
    response = asked.get("response") if isinstance(asked, Mapping) else None
    limit = _number(response, "max_output_tokens") if isinstance(response, Mapping) else None
    output = min(limit or known.output, known.output)
    modalities = {"audio", "image"}
    return Most(model, known.window, output, given=modalities, made={"audio"})


def _text_call(found: Most, name: str, body: Body, *, compact: bool, exact: bool) -> None:
    written = text_of(body)
    known = sizes.of(found.model)
    tools = _hosted(found, body) if name == "responses" else 0
    if found.unbounded:
        return
    if b'"input_audio"' in written:
        found.given.add("audio")
    if b'"image_url"' in written or b'"input_image"' in written:
        found.given.add("image")
    modalities = body.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        found.made.add("audio")
    tally = _input(name, found.model, body, written, exact=exact)
    if name == "embeddings":
        found.input_tokens = tally.tokens  # of many texts, each of which may fill the window
        return
    seen = known.window if tally.missing else min(tally.tokens, known.window)
    # Each call of a hosted tool sends all that was said, and what the tool found, once more.
    found.input_tokens = seen if not tools else (tools + 1) * known.window
    found.output_tokens = _output(name, body, known, compact=compact)
    if body.get("prediction"):
        found.output_tokens += len(text_of(body["prediction"]))  # what was foreseen wrongly is billed too
    if name == "chat" and SEARCH_MODELS.match(normalise(found.model or "")):
        found.hosted["web_search_preview_calls"] = 1


def _input(name: str, model: str | None, body: Body, written: bytes, *, exact: bool) -> Tally:
    """The tokens that are in view, at most; `missing` where something that counts is not in view."""
    counted = Model.of(model) if exact else Model.by_bytes(model)
    tally = count_input(name, counted, body) or Tally()
    doubts = {*tally.approximate, *counted.n.doubts()}
    if exact and not doubts <= {"images", "structured_output", "tool_choice", "preview"}:
        return _input(name, model, body, written, exact=False)
    if name in ("chat", "responses"):  # plain texts have no overhead
        tally.add(MARGIN + (tally.tokens // MARGIN_PARTS if exact else 0))
    if "images" in tally.approximate:
        tally.add(PICTURE * (written.count(b'"image_url"') + written.count(b'"computer_screenshot"')))
    if {"too_large", "recursive_schema"} & set(tally.approximate):
        tally.lack("unknown_content")  # only its size is known, and not what it is written as
    _add_custom_tools(tally, body)
    _add_reasoning(tally, body)
    return tally


def _add_custom_tools(tally: Tally, body: Body) -> None:
    custom = [tool for tool in maps(body.get("tools")) if tool.get("type") == "custom"]
    if custom and "custom_tools" in tally.missing:
        del tally.missing["custom_tools"]
        tally.add(sum(CUSTOM_TOOL + len(text_of(tool)) for tool in custom))


def _add_reasoning(tally: Tally, body: Body) -> None:
    """What the model thought before, sent back by the client, enciphered: longer than what it stands for."""
    items = [item for item in maps(body.get("input")) if item.get("type") == "reasoning"]
    if "reasoning" in tally.missing and all(text(item.get("encrypted_content")) for item in items):
        del tally.missing["reasoning"]
        tally.add(sum(REASONING_ITEM + len(text(item.get("encrypted_content"))) for item in items))


def _output(name: str, body: Body, known: sizes.Sizes, *, compact: bool) -> int:
    """Of all choices."""
    if compact:
        return known.output
    if name == "responses":
        return min(_number(body, "max_output_tokens") or known.output, known.output)
    asked = max(_number(body, "max_completion_tokens") or 0, _number(body, "max_tokens") or 0)
    if name == "completions":
        asked = asked or DEFAULT_COMPLETION
    return choices(name, body) * min(asked or known.output, known.output)


def choices(name: str, body: Body) -> int:
    """How many answers a request asks for; a legacy completion of several prompts gives as many for each."""
    if name not in ("chat", "completions"):
        return 1
    count = _number(body, "n") or 1
    if name == "chat":
        return count
    prompt = body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and prompt and not _is_ids(prompt) else 1
    return max(count, _number(body, "best_of") or 1) * prompts


def _is_ids(prompt: list[Any]) -> bool:
    return all(isinstance(item, int) for item in prompt)


def _hosted(found: Most, body: Body) -> int:
    """The calls of tools that the API runs, at most."""
    offered = [tool for tool in maps(body.get("tools")) if not _is_clients(tool)]
    if not offered:
        return 0
    calls = body.get("max_tool_calls")
    if isinstance(calls, bool) or not isinstance(calls, int) or calls < 0:
        found.unbounded = "it offers the API's own tools and sets no max_tool_calls"
        return 0
    for tool in offered:
        kind = text(tool.get("type"))
        family = kind if kind in HOSTED else kind.split("_20")[0]  # web_search_2025_08_26
        if family not in HOSTED:
            found.unbounded = f"what the tool {kind[:64]!r} costs has no bound"
            return 0
        if billed := HOSTED[family]:
            found.hosted[billed] = calls
        if family == "code_interpreter":
            found.memory = _memory(tool.get("container"))
    return calls


def _memory(container: Any) -> str:
    """Of a container that is made for the call; empty where it is one that was made before."""
    return text(container.get("memory_limit")) or "1g" if isinstance(container, Mapping) else ""


def _is_clients(tool: Body) -> bool:
    environment = tool.get("environment")
    local = isinstance(environment, Mapping) and environment.get("type") == "local"
    return tool.get("type") in BY_CLIENT or (tool.get("type") == "shell" and local)


def _pictures(found: Most, body: Body) -> None:
    count = min(_number(body, "n") or 1, MOST_PICTURES)
    name = normalise(found.model or "")
    if name.startswith("dall-e"):
        found.images = count
        return
    found.model = found.model or FORM_MODELS["images"][0]  # the server's choice, and the dearest of them
    early = not name or name.startswith(("gpt-image-1", "chatgpt-image"))
    quality = PICTURES.get(text(body.get("quality")), PICTURES["high"])
    each = MARGIN + (quality if early else LATER_PICTURE)
    found.output_tokens = count * (each + PARTIAL_PICTURE * (_number(body, "partial_images") or 0))
    found.input_tokens = MARGIN + len(text(body.get("prompt")).encode("utf-8", "surrogatepass"))
    found.made.add("image")
    if body.get("images") or body.get("image"):
        found.input_tokens += PICTURES_GIVEN * PICTURES["high"]
        found.given.add("image")


def _speech(found: Most, body: Body) -> None:
    read_out = text(body.get("input"))
    told = text(body.get("instructions"))
    found.characters = len(read_out)
    found.input_tokens = MARGIN + len((read_out + told).encode("utf-8", "surrogatepass"))
    found.output_tokens = MARGIN + SPEECH_PER_CHARACTER * len(read_out)
    found.made.add("audio")


def text_of(value: Any) -> bytes:
    """About as on the wire: the keys and texts of a JSON value."""
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return b""


def _number(body: Body, key: str) -> int | None:
    """A positive number."""
    value = body.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
