"""Write bodies of the API as a conversation that a person can read.

Pure functions over what :mod:`addons.openai` makes of bodies. What is not known here is shown as JSON, so
that nothing is hidden because it is new. The shapes are those of OpenAI's API reference (chat, responses,
threads, images, audio, embeddings, realtime).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from addons.hooks.inspector.text import media, plain, pretty, pretty_arguments, shortened
from addons.openai.http.values import objects, text

Json = Mapping[str, Any]

TEXTS = frozenset({"text", "input_text", "output_text", "summary_text", "reasoning_text"})
SAID = frozenset({"messages", "input", "prompt", "instructions", "tools", "functions"})
"""Members of a request that are shown apart from its settings."""
REASONING = ("reasoning_content", "reasoning")
"""It says where compatible servers put the reasoning of a chat message."""
CALLS = frozenset({"function_call", "custom_tool_call", "mcp_call"})
RESULTS = frozenset({"function_call_output", "custom_tool_call_output"})


ONE_LINE = 80
"""Characters of a setting that are shown beside its name."""
LAST = 200
"""Messages of a WebSocket session that the view of the whole shows."""


def block(heading: str, body: str) -> str:
    """Give a part of the conversation under its heading."""
    return f"── {heading} ──\n{body}".rstrip() + "\n"


def request(body: Any) -> Iterator[str]:
    """Give the blocks of a request's body: settings, tools, then what was said so far."""
    if not isinstance(body, Mapping):
        yield _as_text(body)
        return
    settings = {key: value for key, value in body.items() if key not in SAID}
    yield "".join(f"{key}: {_inline(value)}\n" for key, value in settings.items())
    if tools := objects(body.get("tools")) or objects(body.get("functions")):
        yield block("tools", "\n".join(_tool(tool) for tool in tools))
    if body.get("instructions"):
        yield block("system", _content(body["instructions"]))
    yield from messages(body.get("messages"))
    for key in ("input", "prompt"):
        said = body.get(key)
        if isinstance(said, list) and objects(said):
            yield from items(said)
        elif said is not None:
            yield block(key, _content(said))


def answer(body: Any) -> Iterator[str]:
    """Give the blocks of an answer: the object that the call returned, reassembled where it was streamed."""
    if not isinstance(body, Mapping):
        yield _as_text(body)
        return
    if isinstance(body.get("error"), Mapping):
        yield block("error", pretty(body["error"]))
    if isinstance(body.get("choices"), list):
        yield from _choices(body["choices"])
    elif isinstance(body.get("output"), list):
        yield from items(body["output"])
    elif body.get("object") == "thread.run":
        for step in objects(body.get("steps")):
            yield block(f"step · {step.get('type')}", pretty(step.get("step_details")))
        yield from messages(body.get("messages"))
    elif isinstance(body.get("data"), list):
        yield from _data(body)
    elif isinstance(body.get("text"), str):
        yield block("transcript", shortened(body["text"]))
    elif isinstance(body.get("audio"), Mapping):
        yield block("audio", media("audio", body["audio"].get("data")))
    elif body.get("object") == "event_stream":
        yield from (block(text(event.get("type")) or "event", pretty(event)) for event in _events(body))
    elif not isinstance(body.get("error"), Mapping):
        yield pretty(body)


def event(body: Json) -> Iterator[str]:
    """Give the blocks of one message of a WebSocket session."""
    kind = text(body.get("type"))
    if isinstance(whole := body.get("response"), Mapping) and whole.get("output"):
        yield block(kind, "")
        yield from answer(whole)
        if whole.get("usage"):
            yield block("usage", pretty(whole["usage"]))
    elif isinstance(item := body.get("item"), Mapping):
        yield block(kind, "")
        yield from items([item])
    elif kind == "response.create":
        rest = {key: value for key, value in body.items() if key not in ("type", "response")}
        yield block(kind, "")
        yield from request({**rest, **(whole if isinstance(whole, Mapping) else {})})
    elif kind.endswith(".delta") and isinstance(body.get("delta"), str) and "audio.delta" not in kind:
        yield block(kind, shortened(body["delta"]))
    else:
        shown = plain(body)  # with its type, by which sound is told from text
        yield block(kind or "message", pretty({key: value for key, value in shown.items() if key != "type"}))


def messages(value: Any) -> Iterator[str]:
    """Yield chat messages, and those of threads."""
    for message in objects(value):
        yield from _message(message)


def items(value: Iterable[Any]) -> Iterator[str]:
    """Give what the Responses API takes as input and gives as output."""
    for item in value:
        if not isinstance(item, Mapping):
            yield block("input", _content(item))
            continue
        kind, name = text(item.get("type")), text(item.get("name"))
        if kind == "message" or (not kind and "role" in item):
            yield from _message(item)
        elif kind == "reasoning":
            parts = [*objects(item.get("summary")), *objects(item.get("content"))]
            hidden = " (encrypted)" if item.get("encrypted_content") else ""
            yield block(f"reasoning{hidden}", "\n".join(_part(part) for part in parts))
        elif kind in CALLS:
            yield _call(name, item.get("call_id"), item.get("arguments", item.get("input")))
            if item.get("output"):
                yield block(f"result of {name}", _content(item["output"]))
        elif kind in RESULTS:
            yield block(f"tool result · {item.get('call_id')}", _content(item.get("output")))
        elif kind == "image_generation_call":
            yield block("image", media(text(item.get("output_format")) or "image", item.get("result")))
        elif kind in TEXTS or kind.startswith(("input_", "image_url")):
            yield block("input", _part(item))
        else:
            yield block(kind or "item", pretty({k: v for k, v in item.items() if k not in ("type", "id")}))


def _message(message: Json) -> Iterator[str]:
    role = text(message.get("role")) or "assistant"
    label = " · ".join(filter(None, [role, text(message.get("name")), text(message.get("tool_call_id"))]))
    for key in REASONING:
        if isinstance(message.get(key), str) and message[key]:
            yield block("reasoning", shortened(message[key]))
            break
    said = [_content(message["content"])] if message.get("content") else []
    if message.get("refusal"):
        said.append(f"[refusal] {message['refusal']}")
    if isinstance(audio := message.get("audio"), Mapping):
        said.append(f"{media('audio', audio.get('data'))} {shortened(text(audio.get('transcript')))}")
    if isinstance(message.get("annotations"), list):
        said += _citations(message["annotations"])
    calls = objects(message.get("tool_calls"))
    if isinstance(message.get("function_call"), Mapping):
        calls = [*calls, {"function": message["function_call"]}]
    if said or not calls:
        yield block(label, "\n".join(said))
    for call in calls:
        what = call.get("function") or call.get("custom")
        what = what if isinstance(what, Mapping) else {}
        yield _call(text(what.get("name")), call.get("id"), what.get("arguments", what.get("input")))


def _call(name: str, call_id: object, arguments: object) -> str:
    known_as = f" · {call_id}" if isinstance(call_id, str) and call_id else ""
    return block(f"calls {name or 'a tool'}{known_as}", pretty_arguments(arguments))


def _content(content: Any) -> str:
    if isinstance(content, str):
        return shortened(content)
    if isinstance(content, list) and (parts := objects(content)):
        return "\n".join(_part(part) for part in parts)
    if isinstance(content, list) and content and all(isinstance(item, str) for item in content):
        return "\n".join(f"• {shortened(item)}" for item in content[:100])
    return pretty(content)


def _part(part: Json) -> str:
    """Give a part of a message: text, or what a file, an image or sound is."""
    kind = text(part.get("type"))
    said = part.get("text")
    if isinstance(said, Mapping):  # of a thread's message
        said = said.get("value")
    if (kind in TEXTS or not kind) and isinstance(said, str):
        return "\n".join([shortened(said), *_citations(part.get("annotations"))])
    if kind == "refusal":
        return f"[refusal] {shortened(text(part.get('refusal')))}"
    if kind in ("image_url", "input_image"):
        image = part.get("image_url") or part.get("file_id")
        return media("image", image.get("url") if isinstance(image, Mapping) else image)
    for name in ("input_audio", "output_audio", "audio"):
        if kind == name:
            held = part.get(name)
            sound: Json = held if isinstance(held, Mapping) else part
            kind_of = " ".join(filter(None, ["audio", text(sound.get("format"))]))
            data = sound.get("data") or (held if isinstance(held, str) else None)
            return f"{media(kind_of, data)} {shortened(text(sound.get('transcript')))}".rstrip()
    if kind in ("file", "input_file"):
        held = part.get("file")
        file: Json = held if isinstance(held, Mapping) else part
        name = text(file.get("filename")) or text(file.get("file_id")) or "file"
        return media(name, file.get("file_data") or file.get("file_url"))
    return pretty(part)


def _citations(annotations: Any) -> list[str]:
    found = []
    for annotation in objects(annotations):
        held = annotation.get("url_citation")
        cited: Json = held if isinstance(held, Mapping) else annotation
        if cited.get("url"):
            found.append(f"  ^ {text(cited.get('title'))} {shortened(text(cited.get('url')), 500)}")
    return found


def _choices(choices: list[Any]) -> Iterator[str]:
    for choice in objects(choices):
        if len(choices) > 1:
            yield block(f"choice {choice.get('index')} · {choice.get('finish_reason')}", "")
        if isinstance(choice.get("message"), Mapping):
            yield from _message(choice["message"])
        elif "text" in choice:
            yield block("completion", shortened(text(choice["text"])))


def _data(body: Json) -> Iterator[str]:
    """Yield what is listed: embeddings, images, and whatever else."""
    listed = objects(body["data"])
    if listed and all("embedding" in item for item in listed):
        numbers = listed[0]["embedding"]
        length = f"{len(numbers):,} numbers" if isinstance(numbers, list) else "base64"
        yield block("embeddings", f"{len(listed):,}, each of {length}")
        return
    kind = text(body.get("output_format")) or "image"
    for item in listed:
        if "b64_json" in item or ("url" in item and "object" not in item):
            shown = media(kind, item.get("b64_json") or item.get("url"))
            yield block("image", f"{shown} {shortened(text(item.get('revised_prompt')))}".rstrip())
        else:
            yield pretty(item) + "\n"
    if not listed:
        yield pretty(body)


def _tool(tool: Json) -> str:
    """Give one line: name, parameters, and what the tool is said to be for."""
    held = tool.get("function") or tool.get("custom")
    what: Json = held if isinstance(held, Mapping) else tool
    schema = what.get("parameters")
    names = schema.get("properties") if isinstance(schema, Mapping) else None
    shown = ", ".join(map(str, names)) if isinstance(names, Mapping) else ""
    name = text(what.get("name")) or text(tool.get("type"))
    about = " ".join(text(what.get("description")).split())
    return shortened(f"{name}({shown})" + (f"  {about}" if about else ""), 400)


def _events(body: Json) -> list[dict[str, Any]]:
    return objects(body.get("events"))[:LAST]


def _inline(value: Any) -> str:
    """Give the value of a setting: on one line where it fits."""
    if isinstance(value, str):
        return shortened(value, 2000)
    text = json.dumps(plain(value), ensure_ascii=False)
    return text if len(text) <= ONE_LINE else pretty(value)


def _as_text(body: Any) -> str:
    if body is None:
        return ""
    return shortened(body) if isinstance(body, str) else pretty(body)
