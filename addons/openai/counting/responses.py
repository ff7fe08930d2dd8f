"""Count the Responses API (https://platform.openai.com/docs/api-reference/responses/create)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.counting import calls, history, structured, tools
from addons.openai.counting.messages import content_text, count_message, spoken
from addons.openai.counting.model import Model
from addons.openai.counting.rules import FORCED_CALL
from addons.openai.counting.tally import Missing, Tally, mapping, maps, text

HELD: tuple[Missing, ...] = ("previous_response_id", "conversation", "prompt", "context_management")
"""Fields that refer to, or change, text which only the server has; each is its own code."""
CALLS = frozenset({"function_call", "custom_tool_call"})
RESULTS = frozenset({"function_call_output", "custom_tool_call_output"})


def count_input(model: Model, body: Mapping[str, Any], answer: Mapping[str, Any]) -> Tally:
    rules = model.rules
    tally = Tally((rules.primer if rules.responses_primer is None else rules.responses_primer) + rules.offset)
    tally.add(preamble := history.preamble(answer.get("created_at")))
    if preamble and body.get("tools"):
        tally.guess("preview")
    for key in HELD:
        if body.get(key):
            tally.lack(key)
    given = body.get("input")
    items = maps(given)
    if isinstance(instructions := body.get("instructions"), str):
        count_message(tally, model, {"role": "system", "content": instructions})
    if isinstance(given, str):
        count_message(tally, model, {"role": "user", "content": given})
    _count_items(tally, model, items)
    _count_tools(tally, model, body)
    wanted = mapping(body.get("text")).get("format")
    if structured.is_schema(wanted):
        structured.count_schema(tally, model, mapping(wanted).get("schema"))
        tally.add(rules.responses_schema + model.n(text(mapping(wanted).get("name"))))
    return tally


def _count_items(tally: Tally, model: Model, items: list[Mapping[str, Any]]) -> None:
    last_user = max((at for at, item in enumerate(items) if item.get("role") == "user"), default=-1)
    names: dict[str, str] = {}
    for at, item in enumerate(items):
        kind = text(item.get("type", "message"))
        if kind == "message":
            count_message(tally, model, item)
        elif kind in CALLS:
            call = calls.of_item(item)
            names[call.id] = call.name
            calls.count_call(tally, model, call)
            tally.add(model.rules.responses_call)
        elif kind in RESULTS:
            name = names.get(text(item.get("call_id")), "")
            calls.count_result(tally, model, name, content_text(tally, model, item.get("output")))
        elif kind != "reasoning":
            tally.lack(_code(kind))
        elif at > last_user:  # the model keeps what it thought until its turn is over
            tally.lack("reasoning")


def _code(kind: str) -> Missing:
    """Give what an item stands for that is not in view."""
    if kind == "item_reference":
        return "item_references"
    if kind == "compaction":
        return "encrypted_content"
    return "images" if kind.startswith("computer_call") else "hosted_tools"


def _count_tools(tally: Tally, model: Model, body: Mapping[str, Any]) -> None:
    offered = maps(body.get("tools"))
    functions = [tool for tool in offered if tool.get("type") == "function"]
    for tool in offered:
        if tool.get("type") != "function":
            tally.lack("custom_tools" if tool.get("type") == "custom" else "hosted_tools")
    if not functions:
        return
    tally.add(model.rules.responses_tools)
    tools.count_functions(tally, model, functions)
    if (name := _forced(model, body)) is not None:
        tally.add(model.n(calls.PREFIX + name) + FORCED_CALL)
        tally.guess("tool_choice")


def _forced(model: Model, body: Mapping[str, Any]) -> str | None:
    """Give the function that must be called: named, or, on the older models, the only one of a must."""
    choice, offered = body.get("tool_choice"), maps(body.get("tools"))
    if model.rules.reasons:
        return None
    if choice == "required" and len(offered) == 1:
        return text(offered[0].get("name")) or None
    return text(mapping(choice).get("name")) or None


def count_output(model: Model, body: Mapping[str, Any], answer: Mapping[str, Any]) -> Tally:
    tally = Tally()
    output = maps(answer.get("output"))
    texts, refused = 0, False
    for item in output:
        kind = text(item.get("type"))
        if kind == "message":
            for part in maps(item.get("content")):
                texts += 1
                refused = refused or isinstance(part.get("refusal"), str)
                tally.add(model.n(text(part.get("text")) or text(part.get("refusal"))))
        elif kind == "reasoning":
            _count_thoughts(tally, model, item)
        elif kind not in CALLS:
            tally.lack(_code(kind))
    status = answer.get("status")
    whole = status == "completed"
    if status not in ("completed", "incomplete"):
        tally.lack("cut")
        if model.rules.reasons and not output:
            tally.lack("reasoning")
    made = [calls.of_item(item) for item in output if text(item.get("type")) in CALLS]
    if made:
        _count_calls(tally, model, body, made, whole=whole)
    elif texts and whole:
        _count_text_end(tally, model, body, refused=refused)
    return tally


def _count_thoughts(tally: Tally, model: Model, item: Mapping[str, Any]) -> None:
    """Count reasoning that a server shows whole as output; OpenAI shows a summary of it at most."""
    shown = spoken(item.get("content"))
    for said in shown:
        tally.add(model.n(said))
    if not any(shown):
        tally.lack("reasoning")


def _count_text_end(tally: Tally, model: Model, body: Mapping[str, Any], *, refused: bool) -> None:
    """Count what ends a text. From gpt-5 on it differs without tools, for a reason that is not seen."""
    rules = model.rules
    tally.add(rules.responses_text_end)
    if refused or body.get("tools"):
        tally.add(rules.responses_tools_end)
    elif rules.varied_text_end:
        tally.lack("output_overhead")
    if structured.is_schema(mapping(body.get("text")).get("format")):
        tally.add(rules.responses_schema_end)


def _count_calls(
    tally: Tally, model: Model, body: Mapping[str, Any], made: list[calls.Call], *, whole: bool
) -> None:
    if len(made) > 1:
        calls.count_parallel(tally, model, made)
        tally.add(model.rules.responses_calls_end if whole else 0)
    elif _forced(model, body) is not None:
        tally.add(model.n(made[0].arguments) + (model.rules.responses_text_end if whole else 0))
    else:
        calls.count_call(tally, model, made[0])
        tally.add(model.rules.responses_call_end if whole else 0)
