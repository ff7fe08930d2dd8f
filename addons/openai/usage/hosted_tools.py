"""Count which of the API's own tools ran for an answer: they are billed beside the tokens.

Tools that the client runs (functions, a local shell, a computer) cost nothing of their own and are not here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from addons.openai.usage import usage as usages

# Chat models that search the web once for every request.
# https://platform.openai.com/docs/guides/tools-web-search
SEARCH_MODELS = re.compile(r"gpt-.+-search-(?:(?P<preview>preview)|api)(?:-\d{4}-\d{2}-\d{2})?$")

TOKENS = ("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")
LONGEST_NAME = 200
KNOWN_USAGE = frozenset({"image_gen", "web_search"})
"""Members of a response's `tool_usage` that are read."""
KNOWN_CALLS = frozenset(
    (
        *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
        *("function_call", "custom_tool_call", "mcp_call", "mcp_tool_call", "tool_search_call"),
        *("shell_call", "local_shell_call", "apply_patch_call", "computer_call", "computer_use_call"),
        *("multi_agent_call", "create_subagent_call", "close_subagent_call", "interrupt_subagent_call"),
        *("resume_subagent_call", "send_subagent_input_call", "wait_for_subagents_call"),
    )
)
"""Items of calls that are read, or that cost tokens alone (openai-python 3.57)."""
MOST_UNKNOWN = 10

HostedTools = dict[str, Any]
ReadTools = Callable[[str | None, object], HostedTools]
"""Reads which tools ran, of the model that answered and of its answer, for the event's `hosted_tools`."""


def of_items(_: str | None, output: object) -> HostedTools:
    """Read which tools ran by the items of a response: only what ran, so mostly empty. Never raises.

    ``web_search_calls``, ``web_search_preview_calls``, ``file_search_calls``, ``image_generation_calls``: how
    often. ``containers``: distinct containers of code interpreter and hosted shell, each billed as a session;
    ``container_memory``: their size where it is not the smallest. ``image_generation_usage``: the tokens of
    the images, which are not in the answer's usage, where the answer has them; ``image_generation_model``.
    ``svg_usage``, ``svg_model``: the tokens of the model that wrote an SVG, beside those of the image.
    ``unknown_tools``: names of what else ran, which may be billed.

    >>> item = {"type": "web_search_call", "action": {"type": "search"}}
    >>> of_items("gpt-5", {"output": [item], "tools": [{"type": "web_search"}]})
    {'web_search_calls': 1}
    """
    if not isinstance(output, Mapping):
        return {}
    items = list(_mappings(output.get("output")))
    declared = list(_mappings(output.get("tools")))
    reported = output.get("tool_usage")
    usage: Mapping[str, Any] = reported if isinstance(reported, Mapping) else {}
    found: HostedTools = {}
    _add(found, _search_kind(declared), _searches(items, usage))
    _add(found, "file_search_calls", sum(_ran(item, "file_search_call") for item in items))
    if containers := _containers(items):
        found["containers"] = len(containers)
        if memory := _memory(declared):
            found["container_memory"] = memory
    _add_images(found, items, declared, usage)
    if unknown := _unknown(items, usage):
        found["unknown_tools"] = unknown
    return found


def of_model(model: str | None, output: object) -> HostedTools:
    """Read the search of a chat's model that searches for every request. Never raises."""
    match = SEARCH_MODELS.match((model or "").lower().rpartition("/")[2])
    if match is None or not isinstance(output, Mapping) or not output.get("choices"):
        return {}
    return {"web_search_preview_calls" if match["preview"] else "web_search_calls": 1}


def of_pictures(model: str | None, output: object) -> HostedTools:
    """Read the usage of the model that writes an SVG (openai-python 3.54, ``ImagesResponse.svg_usage``)."""
    reported = output.get("svg_usage") if isinstance(output, Mapping) else None
    tokens = usages.read(reported)
    if tokens is None or tokens.is_zero or not isinstance(reported, Mapping):
        return {}
    shown, model = tokens.as_dict(), reported.get("model")
    named = {"svg_model": str(model)[:LONGEST_NAME]} if model else {}
    return {"svg_usage": {name: shown[name] for name in TOKENS}, **named}


def _unknown(items: list[Mapping[str, Any]], usage: Mapping[str, Any]) -> list[str]:
    """Give the names of what ran, or was used, of which it is not known here whether it is billed."""
    used = [str(name) for name, told in usage.items() if name not in KNOWN_USAGE and _tells_any(told)]
    kinds = [kind for item in items if (kind := str(item.get("type"))).endswith("_call") and _ran(item, kind)]
    ran = [kind for kind in kinds if kind not in KNOWN_CALLS]
    return [name[:LONGEST_NAME] for name in dict.fromkeys((*used, *ran))][:MOST_UNKNOWN]


def _tells_any(told: object) -> bool:
    """Tell whether any number in a tool's usage is not zero."""
    if isinstance(told, Mapping):
        return any(map(_tells_any, told.values()))
    return isinstance(told, int | float) and told > 0


def _search_kind(declared: list[Mapping[str, Any]]) -> str:
    """Name the kind of search. The tool's preview has prices of its own.

    An answer repeats which tools were offered.
    """
    kinds = [str(tool.get("type")) for tool in declared if str(tool.get("type")).startswith("web_search")]
    preview = bool(kinds) and all(kind.startswith("web_search_preview") for kind in kinds)
    return "web_search_preview_calls" if preview else "web_search_calls"


def _searches(items: list[Mapping[str, Any]], usage: Mapping[str, Any]) -> int:
    """Count searches as the answer does, else the calls that searched: opening a page costs no call."""
    counted = usage.get("web_search")
    if isinstance(counted, Mapping) and (number := _count(counted.get("num_requests"))) is not None:
        return number
    return sum(_ran(item, "web_search_call") and _is_search(item.get("action")) for item in items)


def _is_search(action: object) -> bool:
    """Give the first answers with this tool did not say what a call did; then all calls were searches."""
    kind = action.get("type") if isinstance(action, Mapping) else action
    return kind in (None, "search")


def _containers(items: list[Mapping[str, Any]]) -> set[str]:
    """Name the containers: calls within one answer share one; a shell has its own in its environment."""
    found = set()
    for item in items:
        holder = item.get("environment") if item.get("type") == "shell_call" else item
        name = holder.get("container_id") if isinstance(holder, Mapping) else None
        if isinstance(name, str) and item.get("type") in ("code_interpreter_call", "shell_call"):
            found.add(name)
    return found


def _memory(declared: list[Mapping[str, Any]]) -> str | None:
    for tool in declared:
        for holder in (tool.get("container"), tool.get("environment")):
            if isinstance(holder, Mapping) and isinstance(limit := holder.get("memory_limit"), str):
                return limit[:LONGEST_NAME]
    return None


def _add_images(
    found: HostedTools,
    items: list[Mapping[str, Any]],
    declared: list[Mapping[str, Any]],
    usage: Mapping[str, Any],
) -> None:
    _add(found, "image_generation_calls", sum(_ran(item, "image_generation_call") for item in items))
    tokens = usages.read(usage.get("image_gen"))
    if tokens is not None and not tokens.is_zero:
        shown = tokens.as_dict()
        found["image_generation_usage"] = {name: shown[name] for name in TOKENS}
    for tool in declared:
        model = tool.get("model")
        if found.get("image_generation_calls") and tool.get("type") == "image_generation" and model:
            found["image_generation_model"] = str(model)[:LONGEST_NAME]


def _ran(item: Mapping[str, Any], kind: str) -> bool:
    return item.get("type") == kind and item.get("status") != "failed"


def _add(found: HostedTools, name: str, number: int) -> None:
    if number:
        found[name] = number


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, Mapping):
            yield item
