"""Count chat completions (https://platform.openai.com/docs/api-reference/chat/create)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.counting import calls, history, structured, tools
from addons.openai.counting.messages import (
    content_text,
    count_message,
    is_system,
    spoken,
    thoughts,
    unseen,
)
from addons.openai.counting.model import Model
from addons.openai.counting.rules import (
    END,
    FORCED_CALL,
    LEGACY_RESULT,
    SCHEMA_WITH_SYSTEM,
)
from addons.openai.counting.tally import Tally, mapping, maps, strings, text

RESULT_ROLES = frozenset({"tool", "function"})


def count_input(model: Model, body: Mapping[str, Any]) -> Tally | None:
    """Count messages, tools and schema; None where there are no messages."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return None
    tally = Tally(model.rules.primer + model.rules.offset)
    conversation = maps(messages)
    system = next((message for message in conversation if is_system(message)), None)
    functions, others = _functions(body)
    if others:
        tally.lack("custom_tools")
    names: dict[str, str] = {}
    for message in conversation:
        # What is put below the system message's text begins on a new line.
        end = "\n" if message is system and functions else ""
        _count_turn(tally, model, message, end, names)
    if functions:
        tally.add(model.rules.chat_tools if system is None else model.rules.chat_tools_system)
        tools.count_functions(tally, model, functions)
        _count_choice_of_tool(tally, model, body)
    if structured.is_schema(body.get("response_format")):
        _count_schema(tally, model, body, with_system=system is not None)
    return tally


def _count_turn(
    tally: Tally, model: Model, message: Mapping[str, Any], end: str, names: dict[str, str]
) -> None:
    """Count a message; calls and results have forms of their own. `names`: the functions of results."""
    if text(message.get("role")) in RESULT_ROLES:
        name = names.get(text(message.get("tool_call_id"))) or text(message.get("name"))
        calls.count_result(tally, model, name, content_text(tally, model, message.get("content")))
        if message.get("role") == "function":
            tally.add(LEGACY_RESULT)
        return
    made = calls.of_message(message)
    for call in made:
        names[call.id] = call.name
        calls.count_call(tally, model, call)
        tally.add(model.rules.chat_call)
    if not made or message.get("content"):
        count_message(tally, model, message, end)
    else:
        tally.add(model.n(text(message.get("name"))))
    if message.get("audio"):
        tally.lack("audio")


def _functions(body: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], bool]:
    """Give the functions offered, and whether there are tools of other kinds."""
    offered = maps(body.get("tools"))
    functions = [mapping(tool.get("function")) for tool in offered if "function" in tool]
    return [*functions, *maps(body.get("functions"))], len(functions) < len(offered)


def _forced(body: Mapping[str, Any]) -> str | None:
    """Give the function that the request says must be called."""
    choice = mapping(body.get("tool_choice") or body.get("function_call"))
    name = mapping(choice.get("function")).get("name") or choice.get("name")
    return name if isinstance(name, str) else None


def _count_choice_of_tool(tally: Tally, model: Model, body: Mapping[str, Any]) -> None:
    name = _forced(body)
    if name is not None and not model.rules.reasons:
        tally.add(model.n(calls.PREFIX + name) + FORCED_CALL)
        tally.guess("tool_choice")
    elif "none" in (body.get("tool_choice"), body.get("function_call")):
        tally.add(model.rules.choice_none)


def _count_schema(tally: Tally, model: Model, body: Mapping[str, Any], *, with_system: bool) -> None:
    schema = mapping(mapping(body.get("response_format")).get("json_schema"))
    structured.count_schema(tally, model, schema.get("schema"))
    tally.add(model.rules.chat_schema + 2 * model.n(text(schema.get("name"))))
    if with_system:
        tally.add(SCHEMA_WITH_SYSTEM)
    if with_system or model.rules.reasons:
        tally.guess("structured_output")


def count_output(model: Model, body: Mapping[str, Any], answer: Mapping[str, Any]) -> Tally:
    """Give the sum over all choices."""
    tally = Tally()
    choices = maps(answer.get("choices"))
    if not choices:
        tally.lack("cut")
    for choice in choices:
        _count_choice(tally, model, body, choice)
        azure, whole = "content_filter_results" in choice, choice.get("finish_reason") not in (None, "length")
        if whole and (azure or history.end_counted(answer.get("created"))):
            tally.add(END)
    effort = body.get("reasoning_effort")
    hidden = model.rules.reasons and (effort or model.rules.reasons_by_default)
    if effort != "none" and (hidden or (model.thinks and not any(map(_shows_thoughts, choices)))):
        tally.lack("reasoning")
    if body.get("prediction"):
        tally.lack("prediction")
    return tally


def _shows_thoughts(choice: Mapping[str, Any]) -> bool:
    return bool(thoughts(mapping(choice.get("message"))))


def _count_choice(tally: Tally, model: Model, body: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
    message = mapping(choice.get("message"))
    for said in (*thoughts(message), *spoken(message.get("content")), *strings(message, ("refusal",))):
        tally.add(model.n(said))
    for code in unseen(message):
        tally.lack(code)
    if isinstance(audio := message.get("audio"), Mapping):
        tally.add(model.n(text(audio.get("transcript"))))
        tally.lack("audio")
    made = calls.of_message(message)
    finish = choice.get("finish_reason")
    whole = finish not in (None, "length")
    if finish is None or finish == "content_filter":
        tally.lack("content_filter" if finish else "cut")
    if len(made) > 1:
        calls.count_parallel(tally, model, made)
        tally.add(model.rules.chat_calls_end if whole else 0)
    elif made:
        _count_single_call(tally, model, body, made[0], whole=whole)
    elif whole:
        tally.add(_text_end(model, body, message))


def _count_single_call(
    tally: Tally, model: Model, body: Mapping[str, Any], call: calls.Call, *, whole: bool
) -> None:
    if _forced(body) is not None and not model.rules.reasons:
        tally.add(model.n(call.arguments) + (model.rules.chat_text_end if whole else 0))
        return
    calls.count_call(tally, model, call)
    if whole:
        tally.add(model.rules.legacy_call_end if call.legacy else model.rules.chat_call_end)


def _text_end(model: Model, body: Mapping[str, Any], message: Mapping[str, Any]) -> int:
    messages = maps(body.get("messages"))
    end = model.rules.chat_text_end
    if message.get("refusal"):
        end += model.rules.refusal_end
    elif messages and text(messages[-1].get("role")) in RESULT_ROLES:
        end += model.rules.chat_results_end
    return end
