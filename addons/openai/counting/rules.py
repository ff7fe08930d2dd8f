"""List the overheads of each family of models: what stands around the texts that a call shows.

The families differ in the markup that the model is given. Every figure was measured on recorded calls that
report their usage; "not seen" marks the few that only follow from their neighbours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from addons.openai.vocabulary import normalise


@dataclass(frozen=True, slots=True)
class Rules:
    """Holds all figures in tokens."""

    primer: int
    """Begins the answer; charged to the input, once."""
    assistant_text: int
    """More for each earlier answer in the history."""
    chat_tools: int
    """Beside the block of function tools, in chat without a system message."""
    chat_tools_system: int
    """It is the same with a system message, whose text then ends in a newline."""
    responses_tools: int
    chat_call: int
    """It is that of an earlier call together with its result."""
    responses_call: int
    responses_schema: int
    """Beside a JSON schema and its name."""
    chat_text_end: int
    """It is that of the answer, beyond its text."""
    chat_call_end: int
    """It is that of an answer that is one call, beyond its name and arguments."""
    responses_text_end: int
    responses_call_end: int
    responses_calls_end: int
    """It is that of several calls in one answer, beyond what they are written as (see `parallel`)."""
    chat_calls_end: int = 10
    parallel: bool = True
    """It tells whether several calls in one answer are written as one, of a tool that runs others in
    parallel."""
    reasons: bool = False
    """It tells whether the model may think before it answers, which no body shows."""
    reasons_by_default: bool = False
    """It tells whether it does so when the request says nothing of the effort."""
    choice_none: int = 0
    """`tool_choice: none` in chat."""
    chat_schema: int = 12
    """Beside a JSON schema and twice its name, without a system message. From the o models on: not seen."""
    responses_primer: int | None = None
    """It says where it is not `primer`."""
    offset: int = 0
    """It is that of the whole input."""
    legacy_call_end: int = 3
    """It is that of an answer that is a `function_call`."""
    refusal_end: int = 0
    """More for a refusal."""
    chat_results_end: int = 0
    """More for a text in chat that follows the result of a call."""
    responses_tools_end: int = 0
    """More for a text of the Responses API when the request had tools."""
    responses_schema_end: int = 0
    """More for a text of the Responses API that follows a JSON schema."""
    varied_text_end: bool = False
    """It tells whether texts of the Responses API without tools end differently: of nine recordings six had
    `responses_text_end`, two with a schema 4 tokens more, and one of gpt-5.1 6 more."""


THINKERS = re.compile(
    r"(?!.*non-(?:reasoning|thinking))(?:gemini-(?:2\.5-(?!flash-lite)|[3-9])|grok-(?:3-mini|[4-9])|deepseek-r|gpt-oss|qwq|qvq"
    r"|magistral|minimax-m\d|glm-(?:4\.[5-9]|[5-9]|z1)|sonar-(?:reasoning|deep)|.*-(?:thinking|think|reasoner|reasoning)\b)"
)
"""Other makers' models that think by default. Where none of it is shown, the output is a lower bound."""
PER_MESSAGE = 3
PER_NAME = 1
PER_CALL = 6
"""It is that of several calls in one answer, where they are written one by one."""
SCHEMA_WITH_SYSTEM = -4
"""A JSON schema in chat where there is a system message; not seen."""
LEGACY_RESULT = 3
"""More for the result of a `function_call`."""
FORCED_CALL = 6
"""Beside the name of a function that the model must call: the answer begins with the arguments, so what names
the function is input, and the output ends as a text does. Seen twice."""
END = 1
"""Azure counts the token that ends a chat answer; OpenAI does not, but once did (see `history`)."""

OLD = Rules(
    primer=3,
    assistant_text=0,
    chat_tools=9,
    chat_tools_system=5,
    responses_tools=3,
    chat_call=8,
    responses_call=9,
    responses_schema=7,
    chat_text_end=0,
    chat_call_end=6,
    responses_text_end=1,
    responses_call_end=7,
    responses_calls_end=11,
    choice_none=1,
    refusal_end=1,
    chat_results_end=1,
    responses_tools_end=1,
)
"""gpt-3.5, gpt-4, gpt-4o, gpt-4.1, gpt-audio."""
O_SERIES = Rules(
    primer=2,
    assistant_text=0,
    chat_tools=10,
    chat_tools_system=10,
    responses_tools=6,
    chat_call=8,
    responses_call=15,
    responses_schema=6,
    chat_text_end=15,
    chat_call_end=20,
    responses_text_end=4,
    responses_call_end=10,
    responses_calls_end=20,
    parallel=False,
    reasons=True,
    reasons_by_default=True,
)
GPT5 = Rules(
    primer=2,
    assistant_text=2,
    chat_tools=91,
    chat_tools_system=90,
    responses_tools=9,
    chat_call=17,
    responses_call=15,
    responses_schema=6,
    chat_text_end=9,
    chat_call_end=15,
    responses_text_end=4,
    responses_call_end=10,
    responses_calls_end=20,
    chat_calls_end=20,
    parallel=False,
    reasons=True,
    reasons_by_default=True,
    varied_text_end=True,
)
LARGE_CALL = 3
"""More for each earlier call: gpt-4o but not mini, and gpt-5.6."""
NO_EFFORT = re.compile(r"gpt-5\.[14](?:$|-20)")
"""Models that do not reason unless the request asks for it; the Responses API echoes `effort: none`."""


def thinks(model: str | None) -> bool:
    """Tell whether a model of another maker thinks unless it is told not to."""
    return THINKERS.match(normalise(model or "")) is not None


def of(model: str | None) -> Rules:
    """Give the rules of a model, by the family that its name tells; where it tells none, the older ones."""
    name = normalise(model or "")
    if re.match(r"o\d", name):
        return O_SERIES
    match = re.match(r"gpt-(\d{1,3})(?:\.(\d{1,3}))?(?!\d)", name)
    version = (int(match[1]), int(match[2] or 0)) if match else (0, 0)
    return _gpt5(name, version) if version >= (5, 0) else _old(name)


def _gpt5(name: str, version: tuple[int, int]) -> Rules:
    rules = GPT5
    if version >= (5, 2):
        rules = replace(rules, chat_text_end=3)
    if version == (5, 6):
        rules = replace(_with_larger_calls(rules), responses_schema_end=4)
    if NO_EFFORT.match(name):
        rules = replace(rules, reasons_by_default=False)
    return rules


def _old(name: str) -> Rules:
    if re.match(r"gpt-4o(?:-mini)?-search", name):
        return replace(OLD, offset=-7)
    if re.match(r"gpt-4o(?:-20|$)", name):
        return _with_larger_calls(OLD)
    if re.match(r"gpt-4(?:-0[36]|-32k|$)", name):
        return replace(OLD, responses_primer=2, responses_text_end=2)
    if name.startswith("gpt-3.5"):
        return replace(OLD, legacy_call_end=6)
    return OLD


def _with_larger_calls(rules: Rules) -> Rules:
    return replace(
        rules, chat_call=rules.chat_call + LARGE_CALL, responses_call=rules.responses_call + LARGE_CALL
    )
