"""Bound what calls of text can use: chat, completions, responses, embeddings, and an assistant's runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.bounds import model_sizes as sizes
from addons.openai.bounds.output_limits import positive
from addons.openai.bounds.usage_bound import Body, BoundedRequest, UsageBound, text_of
from addons.openai.counting import counters
from addons.openai.counting.counters import Counter
from addons.openai.counting.model import Model
from addons.openai.counting.tally import Tally, maps, text
from addons.openai.usage.hosted_tools import SEARCH_MODELS
from addons.openai.vocabulary import normalise

MARGIN, MARGIN_PARTS = 256, 50
"""A counted conversation may be this many tokens short, and one in this many: of 343 recorded ones
whose input is in view 332 were exact, and all were within both
(tests/addons/openai/bounds/test_upper_bound.py)."""
CUSTOM_TOOL = 256
"""Tokens of a custom tool beside its text: 224 were seen."""
REASONING_ITEM = 64
"""It is that of a reasoning item beside its text: 35 were seen."""
PICTURE = 12_001
"""It is that of a picture whose size only gives an estimate: 10,000 patches, times 1.2, and one."""
HARMLESS = frozenset({"images", "structured_output", "tool_choice", "preview"})
"""Doubts of a count that the margin and :data:`PICTURE` cover; with any other its bytes bound the input."""
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


def chat(found: UsageBound, request: BoundedRequest) -> None:
    """Bound a chat: its messages, and all its choices."""
    _bound_text(found, request, counters.CHAT, margin=True)
    if SEARCH_MODELS.match(normalise(found.model or "")):
        found.hosted["web_search_preview_calls"] = 1


def completion(found: UsageBound, request: BoundedRequest) -> None:
    """Bound a legacy completion: plain texts have no overhead."""
    _bound_text(found, request, counters.COMPLETIONS)


def response(found: UsageBound, request: BoundedRequest) -> None:
    """Bound a response: each call of a hosted tool sends all that was said, and what it found, once more."""
    calls = _hosted_calls(found, request.body)
    if found.unbounded is None:
        _bound_text(found, request, counters.RESPONSES, margin=True, calls=calls)


def embedding(found: UsageBound, request: BoundedRequest) -> None:
    """Bound an embedding: of many texts, each of which may fill the window."""
    written = text_of(request.body)
    _add_modalities(found, request.body, written)
    found.input_tokens = _input(found.model, request, written, counters.EMBEDDINGS).tokens


def run(found: UsageBound, request: BoundedRequest) -> None:
    """Bound an assistant's run, whose input the server keeps."""
    known = sizes.of(found.model)
    found.input_tokens = positive(request.body, "max_prompt_tokens") or known.window
    found.output_tokens = request.output.asked(request.body) or known.output


def _bound_text(
    found: UsageBound, request: BoundedRequest, counter: Counter, *, margin: bool = False, calls: int = 0
) -> None:
    body, known = request.body, sizes.of(found.model)
    written = text_of(body)
    _add_modalities(found, body, written)
    tally = _input(found.model, request, written, counter, margin=margin)
    seen = known.window if tally.missing else min(tally.tokens, known.window)
    found.input_tokens = seen if not calls else (calls + 1) * known.window
    each = min(request.output.asked(body) or known.output, known.output)
    found.output_tokens = request.output.choices(body) * each
    if body.get("prediction"):
        found.output_tokens += len(text_of(body["prediction"]))  # what was foreseen wrongly is billed too


def _add_modalities(found: UsageBound, body: Body, written: bytes) -> None:
    if b'"input_audio"' in written:
        found.given.add("audio")
    if b'"image_url"' in written or b'"input_image"' in written:
        found.given.add("image")
    modalities = body.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        found.made.add("audio")


def _input(
    model: str | None, request: BoundedRequest, written: bytes, counter: Counter, *, margin: bool = False
) -> Tally:
    """Count the tokens in view, at most; `missing` is set where something that counts is not in view."""
    counted = Model.of(model) if request.exact else Model.by_bytes(model)
    tally = counter.input(counted, request.body, {}) or Tally()
    exact = request.exact and {*tally.approximate, *counted.n.doubts()} <= HARMLESS
    if request.exact and not exact:
        tally = counter.input(Model.by_bytes(model), request.body, {}) or Tally()
    if margin:
        tally.add(MARGIN + (tally.tokens // MARGIN_PARTS if exact else 0))
    if "images" in tally.approximate:
        tally.add(PICTURE * (written.count(b'"image_url"') + written.count(b'"computer_screenshot"')))
    if {"too_large", "recursive_schema"} & set(tally.approximate):
        tally.lack("unknown_content")  # only its size is known, and not what it is written as
    _add_custom_tools(tally, request.body)
    _add_reasoning(tally, request.body)
    return tally


def _add_custom_tools(tally: Tally, body: Body) -> None:
    custom = [tool for tool in maps(body.get("tools")) if tool.get("type") == "custom"]
    if custom and "custom_tools" in tally.missing:
        del tally.missing["custom_tools"]
        tally.add(sum(CUSTOM_TOOL + len(text_of(tool)) for tool in custom))


def _add_reasoning(tally: Tally, body: Body) -> None:
    """Add what the model thought before, sent back by the client: enciphered it is longer than as text."""
    items = [item for item in maps(body.get("input")) if item.get("type") == "reasoning"]
    if "reasoning" in tally.missing and all(text(item.get("encrypted_content")) for item in items):
        del tally.missing["reasoning"]
        tally.add(sum(REASONING_ITEM + len(text(item.get("encrypted_content"))) for item in items))


def _hosted_calls(found: UsageBound, body: Body) -> int:
    """Count the calls of tools that the API runs, at most, and note what they are billed as."""
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
    """Read the memory of a container that is made for the call; empty where it was made before."""
    return text(container.get("memory_limit")) or "1g" if isinstance(container, Mapping) else ""


def _is_clients(tool: Body) -> bool:
    environment = tool.get("environment")
    local = isinstance(environment, Mapping) and environment.get("type") == "local"
    return tool.get("type") in BY_CLIENT or (tool.get("type") == "shell" and local)
