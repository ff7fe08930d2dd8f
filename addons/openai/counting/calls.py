"""Count calls of tools and their results, in the history and in the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addons.openai.counting.model import Model
from addons.openai.counting.rules import PER_CALL
from addons.openai.counting.tally import Tally, TooMuch, mapping, maps, text, to_json

PREFIX = "functions."
"""The model addresses a function by this and its name; the name's first piece merges with the dot."""


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: str
    id: str = ""
    legacy: bool = False
    """It tells whether it is a `function_call`."""
    custom: bool = False
    """It tells whether its tool takes free text; no rule for these is known."""


def of_message(message: Mapping[str, Any]) -> list[Call]:
    """Give the calls of a chat message."""
    found = [_of_chat(call) for call in maps(message.get("tool_calls"))]
    legacy = message.get("function_call")
    if isinstance(legacy, Mapping):
        found.append(Call(text(legacy.get("name")), written(legacy.get("arguments")), legacy=True))
    return found


def _of_chat(call: Mapping[str, Any]) -> Call:
    custom = call.get("custom")
    made = mapping(call.get("function")) if not isinstance(custom, Mapping) else custom
    given = made.get("arguments") if custom is not made else made.get("input")
    return Call(text(made.get("name")), written(given), text(call.get("id")), custom=custom is made)


def of_item(item: Mapping[str, Any]) -> Call:
    """Give a `function_call` or `custom_tool_call` of the Responses API."""
    custom = item.get("type") == "custom_tool_call"
    given = item.get("input" if custom else "arguments")
    return Call(text(item.get("name")), written(given), text(item.get("call_id")), custom=custom)


def written(arguments: object) -> str:
    """Give the arguments as text; some servers give the object that the text would be."""
    if not isinstance(arguments, Mapping | list):
        return text(arguments)
    try:
        return to_json(arguments)
    except TooMuch:
        return ""


def count_call(tally: Tally, model: Model, call: Call) -> None:
    tally.add(model.n(PREFIX + call.name) + model.n(call.arguments))
    if call.custom:
        tally.guess("custom_tools")


def count_result(tally: Tally, model: Model, name: str, result: str) -> None:
    """Count the result of a call of `name`; the constant of the pair is counted with the call."""
    tally.add(model.n(PREFIX + name) + model.n(result))


def count_parallel(tally: Tally, model: Model, made: Sequence[Call]) -> None:
    """Count several calls in one answer, without what ends it."""
    if model.rules.parallel and not any(call.custom for call in made):
        # The API takes the arguments out of this text, and may write them anew, with blanks.
        uses = (f'{{"recipient_name":"{PREFIX}{call.name}","parameters":{_tight(call)}}}' for call in made)
        tally.add(model.n(f'{{"tool_uses":[{",".join(uses)}]}}'))
        return
    for call in made:
        count_call(tally, model, call)
    tally.add(PER_CALL * len(made))


def _tight(call: Call) -> str:
    """Give the arguments without white space; as they are where they are not whole."""
    try:
        return to_json(json.loads(call.arguments))
    except (ValueError, RecursionError, TooMuch):
        return call.arguments
