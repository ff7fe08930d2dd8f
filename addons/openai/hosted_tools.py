"""Which of the API's own tools ran for an answer, and how often: they are billed beside the tokens.

Tools that the client runs (functions, a local shell, a computer) cost nothing of their own and are not here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from addons.openai import usage as usages

# Chat models that search the web once for every request.
# https://platform.openai.com/docs/guides/tools-web-search
SEARCH_MODELS = re.compile(r"gpt-.+-search-(?:(?P<preview>preview)|api)(?:-\d{4}-\d{2}-\d{2})?$")

TOKENS = ("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")
LONGEST_NAME = 200

HostedTools = dict[str, Any]


def hosted_tools(endpoint: str, model: str | None, output: object) -> HostedTools:
    """The event's `hosted_tools`: only what ran, so mostly empty. Never raises.

    ``web_search_calls``, ``web_search_preview_calls``, ``file_search_calls``, ``image_generation_calls``: how
    often. ``containers``: distinct containers of code interpreter and hosted shell, each billed as a session;
    ``container_memory``: their size where it is not the smallest. ``image_generation_usage``: the tokens of
    the images, which are not in the answer's usage, where the answer has them; ``image_generation_model``.

    >>> item = {"type": "web_search_call", "action": {"type": "search"}}
    >>> hosted_tools("responses", "gpt-5", {"output": [item], "tools": [{"type": "web_search"}]})
    {'web_search_calls': 1}
    """
    if not isinstance(output, Mapping):
        return {}
    if endpoint == "chat":
        return _search_model(model, output)
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
    return found


def _search_model(model: str | None, output: Mapping[str, Any]) -> HostedTools:
    match = SEARCH_MODELS.match((model or "").lower().rpartition("/")[2])
    if match is None or not output.get("choices"):
        return {}
    return {"web_search_preview_calls" if match["preview"] else "web_search_calls": 1}


def _search_kind(declared: list[Mapping[str, Any]]) -> str:
    """The preview of the tool has prices of its own. An answer repeats which tools were offered."""
    kinds = [str(tool.get("type")) for tool in declared if str(tool.get("type")).startswith("web_search")]
    preview = bool(kinds) and all(kind.startswith("web_search_preview") for kind in kinds)
    return "web_search_preview_calls" if preview else "web_search_calls"


def _searches(items: list[Mapping[str, Any]], usage: Mapping[str, Any]) -> int:
    """As the answer itself counts them, else the calls that searched: opening a page costs no call."""
    counted = usage.get("web_search")
    if isinstance(counted, Mapping) and (number := _count(counted.get("num_requests"))) is not None:
        return number
    return sum(_ran(item, "web_search_call") and _is_search(item.get("action")) for item in items)


def _is_search(action: object) -> bool:
    """The first answers with this tool did not say what a call did; then all calls were searches."""
    kind = action.get("type") if isinstance(action, Mapping) else action
    return kind in (None, "search")


def _containers(items: list[Mapping[str, Any]]) -> set[str]:
    """Calls within one answer share a container; a shell names its container in its environment."""
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
