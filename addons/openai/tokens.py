"""Tokens counted from the text, where the API reported none.

The overheads per message follow the model's family and were derived from recorded calls that carry the
provider's own count. What cannot be seen in the traffic (hidden reasoning, hosted tools, history kept by the
server, the size of images) cannot be counted; then the count is a lower bound and its source is `estimate`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from addons.openai import assemble_responses, vocabulary

Counter = Callable[[str], int]

BYTES_PER_TOKEN = 4
"""Of a text without a vocabulary: a common rule of thumb for English."""
PRIMER = {"old": 3, "o": 2, "gpt5": 2}
"""Tokens that begin the answer, charged to the input."""
PER_MESSAGE = 3
ASSISTANT_GPT5 = 2
"""More for each earlier answer in the history, from gpt-5 on."""
RESPONSE_END = {"old": 1, "o": 4, "gpt5": 4}
"""What a whole text answer of the Responses API has beyond its text."""


@dataclass(slots=True)
class Count:
    """Counted tokens of one call; None where nothing can be said."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    exact: bool = True
    """Whether a vocabulary was there and everything could be seen."""
    missing: list[str] = field(default_factory=list)
    """What is not in the count."""

    @property
    def source(self) -> str:
        return "tokenizer" if self.exact and not self.missing else "estimate"

    def as_dict(self) -> dict[str, Any]:
        """The event's `usage`."""
        both = self.input_tokens is not None and self.output_tokens is not None
        shown: dict[str, Any] = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": (self.input_tokens or 0) + (self.output_tokens or 0) if both else None,
            "input_tokens_details": {},
            "output_tokens_details": {},
        }
        if self.missing:
            shown["missing"] = self.missing
        return {**shown, "source": self.source}


def count(endpoint: str, model: str | None, request: Any, output: Any) -> Count:
    """Count a chat, completions, responses or embeddings call from its request and (assembled) answer.

    Takes as long as encoding does, about 25 ms per MB; never call it on the event loop.
    """
    encoding, known = vocabulary.encoding_name(model)
    counter, exact = _counter(encoding)
    result = Count(exact=exact and known)
    family = _family(model)
    body = request if isinstance(request, Mapping) else None
    answer = output if isinstance(output, Mapping) else None
    if endpoint == "chat":
        _count_chat(result, counter, family, body, answer)
    elif endpoint == "completions":
        _count_completions(result, counter, body, answer)
    elif endpoint == "responses":
        _count_responses(result, counter, family, body, answer)
    elif endpoint == "embeddings" and body is not None:
        result.input_tokens = _count_prompt(counter, body.get("input"))
        result.output_tokens = 0
    return result


def _counter(encoding: str) -> tuple[Counter, bool]:
    loaded = vocabulary.load(encoding)
    if loaded is None:
        return lambda text: -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN), False
    # A text may hold what looks like a special token; it is plain text here.
    return lambda text: len(loaded.encode(text, disallowed_special=())), True


def _family(model: str | None) -> str:
    name = vocabulary.normalise(model or "")
    if re.match(r"o\d", name):
        return "o"
    return "gpt5" if re.match(r"gpt-(?:[5-9]|\d\d)", name) else "old"


def _count_chat(result: Count, n: Counter, family: str, body: Any, answer: Any) -> None:
    messages = body.get("messages") if body is not None else None
    if isinstance(messages, list):
        result.input_tokens = PRIMER[family] + sum(_message(result, n, family, item) for item in messages)
        for key in ("tools", "functions"):
            if body.get(key):
                result.input_tokens += n(_compact(body[key]))
                result.missing.append("the exact form in which tools are put to the model")
        if _is_schema(body.get("response_format")):
            result.input_tokens += n(_compact(body["response_format"]))
            result.missing.append("the exact form in which the schema is put to the model")
    if answer is None:
        result.output_tokens = 0 if result.input_tokens is not None else None
        return
    result.output_tokens = 0
    for choice in _maps(answer.get("choices")):
        message = choice.get("message")
        if isinstance(message, Mapping):
            result.output_tokens += sum(n(text) for text in _strings(message, ("content", "refusal")))
            result.output_tokens += _calls(result, n, message)
    _note_reasoning(result, family)


def _message(result: Count, n: Counter, family: str, message: Any) -> int:
    if not isinstance(message, Mapping):
        return 0
    tokens = PER_MESSAGE + n(str(message.get("role") or message.get("type") or ""))
    tokens += _content(result, n, message.get("content"))
    if isinstance(name := message.get("name"), str):
        tokens += 1 + n(name)
    if family == "gpt5" and message.get("role") == "assistant":
        tokens += ASSISTANT_GPT5
    if message.get("role") in ("tool", "function"):
        result.missing.append("the exact form in which results of calls are put to the model")
    return tokens + _calls(result, n, message)


def _content(result: Count, n: Counter, content: Any) -> int:
    """Text parts are joined with nothing between them."""
    if isinstance(content, str):
        return n(content)
    texts = []
    for part in _maps(content):
        text = part.get("text") or part.get("refusal")
        if isinstance(text, str):
            texts.append(text)
        else:
            result.missing.append(f"the {part.get('type') or 'unknown'} part of a message")
    return n("".join(texts))


def _calls(result: Count, n: Counter, message: Mapping[str, Any]) -> int:
    calls = [*_maps(message.get("tool_calls")), *_maps([message.get("function_call")])]
    tokens = 0
    for call in calls:
        function = call.get("function") or call.get("custom") or call
        if isinstance(function, Mapping):
            tokens += sum(n(text) for text in _strings(function, ("name", "arguments", "input")))
    if calls:
        result.missing.append("the exact form in which the model makes calls")
    return tokens


def _count_completions(result: Count, n: Counter, body: Any, answer: Any) -> None:
    """The legacy endpoint adds nothing to its texts."""
    if body is not None:
        result.input_tokens = _count_prompt(n, body.get("prompt"))
        if isinstance(suffix := body.get("suffix"), str):
            result.input_tokens = (result.input_tokens or 0) + n(suffix)
        if (body.get("best_of") or 1) != (body.get("n") or 1):
            result.missing.append("the answers that best_of did not choose")
    choices = _maps(answer.get("choices")) if answer is not None else []
    result.output_tokens = sum(n(text) for choice in choices for text in _strings(choice, ("text",)))
    if body is not None and body.get("echo") is True and result.input_tokens:
        # The answer repeats the prompt, which is not generated again.
        result.output_tokens = max(0, result.output_tokens - result.input_tokens * max(1, len(choices)))


def _count_prompt(n: Counter, prompt: Any) -> int | None:
    """A text, token ids, or a list of either; None for anything else."""
    if isinstance(prompt, str):
        return n(prompt)
    if not isinstance(prompt, list):
        return None
    if all(isinstance(item, int) for item in prompt):
        return len(prompt)
    return sum(_count_prompt(n, item) or 0 for item in prompt)


def _count_responses(result: Count, n: Counter, family: str, body: Any, answer: Any) -> None:
    if body is not None:
        _count_response_input(result, n, family, body)
    if answer is None:
        result.output_tokens = 0 if result.input_tokens is not None else None
        return
    texts = assemble_responses.texts(answer)
    result.output_tokens = sum(n(text) for text in texts)
    if texts and answer.get("status") == "completed":
        result.output_tokens += RESPONSE_END[family]
    for item in _maps(answer.get("output")):
        if item.get("type") in ("function_call", "custom_tool_call"):
            result.output_tokens += sum(n(text) for text in _strings(item, ("name", "arguments", "input")))
            result.missing.append("the exact form in which the model makes calls")
        elif item.get("type") not in ("message", "reasoning"):
            result.missing.append(f"the work of {item.get('type')}")
    _note_reasoning(result, family)


def _count_response_input(result: Count, n: Counter, family: str, body: Mapping[str, Any]) -> None:
    tokens = PRIMER[family]
    if isinstance(instructions := body.get("instructions"), str):
        tokens += PER_MESSAGE + n("system") + n(instructions)
    given = body.get("input")
    if isinstance(given, str):
        tokens += PER_MESSAGE + n("user") + n(given)
    for item in _maps(given):
        if item.get("type", "message") == "message":
            tokens += _message(result, n, family, item)
        else:
            tokens += sum(n(text) for text in _strings(item, ("name", "arguments", "output", "input")))
            result.missing.append(f"the exact form in which {item.get('type')} is put to the model")
    if body.get("tools"):
        tokens += n(_compact(body["tools"]))
        result.missing.append("the exact form in which tools are put to the model")
    text = body.get("text")
    if isinstance(text, Mapping) and _is_schema(text.get("format")):
        tokens += n(_compact(text["format"]))
        result.missing.append("the exact form in which the schema is put to the model")
    for key in ("previous_response_id", "conversation", "prompt"):
        if body.get(key):
            result.missing.append(f"what the server holds ({key})")
    result.input_tokens = tokens


def _note_reasoning(result: Count, family: str) -> None:
    if family != "old":
        result.missing.append("hidden reasoning")


def _is_schema(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("type") == "json_schema"


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _strings(value: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    return [text for key in keys if isinstance(text := value.get(key), str)]


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
