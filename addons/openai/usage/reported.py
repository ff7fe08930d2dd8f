"""Find the usage that an answer reports, or what its call is billed by instead, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from addons.openai.answers import assemble_threads, errors
from addons.openai.endpoint import Bills, Endpoint
from addons.openai.http.body import Opened
from addons.openai.http.form import Form
from addons.openai.http.messages import Response, Summary
from addons.openai.http.values import name, objects, text
from addons.openai.usage import usage as usages
from addons.openai.usage.missing import Missing, missing
from addons.openai.usage.places import usages_in
from addons.openai.usage.units import Billed, UsageReader
from addons.openai.usage.usage import Usage

BY_TOKENS = Bills.TOKENS | Bills.UNKNOWN
UNFINISHED = frozenset({"queued", "in_progress", "requires_action"})


def read_usage(
    endpoint: Endpoint, summary: Summary, answer: Opened, response: Response, form: Form | None = None
) -> tuple[Usage | None, Missing | None]:
    """Read the usage of an answer that is otherwise read; say why the answer itself reports none, if so.

    Both are set where a call is billed by something else that can be told, such as characters. `form` is the
    request's: it may show how long a recording is.
    """
    reader = endpoint.usage
    asked = summary.request if isinstance(summary.request, Mapping) else {}
    call = Billed(summary.model, asked, summary.output, answer.events is not None, form)
    found = _reported(reader, summary, answer)
    if found is not None and found.is_zero and (says_something(summary.output) or reader.zero_is_wrong):
        units = reader.units(call) if reader.units else None
        return (units, missing("other_unit")) if units else (None, missing("zero"))
    if found is not None:
        return _believed(endpoint, summary, found)
    if response.status >= 400 or summary.error is not None:
        return None, _why_missing(endpoint, call, summary, answer, response)
    call.units = reader.units(call) if reader.units else None
    why = _why_missing(endpoint, call, summary, answer, response)
    return reader.as_billed(call, why.code) if reader.as_billed else call.units, why


def _reported(reader: UsageReader, summary: Summary, answer: Opened) -> Usage | None:
    output = summary.output
    if not isinstance(output, Mapping):
        return None
    if output.get("object") == "event_stream":
        events = objects(output.get("events"))
        return usages.merge(usage for event in events for usage in usages_in(event))
    found = usages.merge(usages_in(output))
    if found is not None and output.get("other_turns"):
        return found.lacking("later")
    if found is not None and _differs_by_choice(found, output):
        return found.lacking(usages.UNREPORTED)
    if found is None and output.get("object") == "thread.run":
        steps = assemble_threads.usage_of_steps(dict(output))
        return steps.lacking("cut") if steps else None
    if found is not None and any(
        "partial_image_index" in image for image in objects(output.get("data"))[-1:]
    ):
        return found.lacking("cut")
    if found is not None and answer.tail and answer.events is not None and reader.in_parts:
        return found.lacking("cut")
    if found is not None and answer.events and summary.ended is False and "choices" in output:
        # Servers that report with every chunk report what there was until then; of an older report the input
        # alone holds.
        if any(map(usages.states_both, usages_in(answer.events[-1]))):
            return found.lacking("cut")
        return found.without("output_tokens") if found.input_tokens else None
    return found


def _differs_by_choice(found: Usage, output: Mapping[str, Any]) -> bool:
    """Tell whether choices have unlike usages, of which `found` is but one: sums, or parts of one."""
    held = (usages.read(choice.get("usage")) for choice in objects(output.get("choices")))
    told = {usage.output_tokens for usage in held if usage is not None}
    return len(told) > 1 and found.output_tokens in told


def _believed(endpoint: Endpoint, summary: Summary, found: Usage) -> tuple[Usage, Missing | None]:
    """Give the usage without figures that cannot be, and why the answer does not report all of them."""
    if not found.is_by_tokens or not endpoint.bills & BY_TOKENS:
        return found, None
    if not endpoint.bills_output:
        given = found.input_tokens or found.total_tokens
        found = replace(found, input_tokens=given, output_tokens=0, total_tokens=given)
    zeros = [side for side in usages.SIDES if getattr(found, side) == 0]
    if "output_tokens" in zeros and not (endpoint.bills_output and says_something(summary.output)):
        zeros.remove("output_tokens")
    for side in zeros if not found.is_zero else ():
        found = found.without(side)
    if zeros and found.unreported:
        return found, Missing("zero", f"zero is reported for {' and '.join(zeros)}, which cannot be")
    if sides := found.unreported:
        code = "cut" if summary.ended is False else "no_usage"
        return found, Missing(code, f"the answer does not report {' and '.join(sides)}")
    return found, None


SAYING = ("content", "summary", "arguments", "input", "code", "result", "action", "operation")
"""Fields of a response's items that say something."""


def says_something(output: Any) -> bool:
    """Tell whether an answer has any text, argument or audio: then a usage of zero is wrong."""
    if not isinstance(output, Mapping):
        return False
    # A response repeats the settings of its text under the same name.
    if text(output.get("text")) or output.get("audio") or assemble_threads.texts(dict(output)):
        return True
    if any(objects(output.get("data"))):
        return True
    for item in objects(output.get("output")):
        if any(item.get(key) for key in SAYING):
            return True
    for choice in objects(output.get("choices")):
        message = choice.get("message")
        if choice.get("text"):
            return True
        if isinstance(message, Mapping) and any(message[key] for key in message if key != "role"):
            return True
    return False


def said_beside(output: Any) -> str:
    """Give the text of a thread's run or a transcription.

    Its input is not in view: the text is all that can be counted.
    """
    if isinstance(output, str):
        return output
    if not isinstance(output, Mapping):
        return ""
    return "".join(assemble_threads.texts(dict(output))) or text(output.get("text"))


def _why_missing(
    endpoint: Endpoint, call: Billed, summary: Summary, answer: Opened, response: Response
) -> Missing:
    if summary.error is not None and summary.error.type == errors.UNREADABLE:
        return missing("unparsable")
    if response.status >= 400 or summary.error is not None:
        return missing("failed")
    if answer.undecoded:
        return missing("undecodable")
    if Bills.LATER in endpoint.bills:
        return missing("later", "the endpoint bills later, or elsewhere")
    if not endpoint.bills:
        return missing("unbilled", "the endpoint reports none")
    if not response.complete:
        return missing("cut", "the answer broke off")
    if summary.ended is False:
        return missing("cut", "the stream ended before its answer did")
    if answer.skipped:
        return missing("cut", "the part of the answer that has it was not kept")
    if endpoint.usage.reason and (found := endpoint.usage.reason(call)) is not None:
        return found
    if _is_unparsed(answer, response):
        return missing("unparsable")
    if isinstance(summary.output, Mapping) and name(summary.output.get("status")) in UNFINISHED:
        return missing("later", "the answer is not finished; its usage comes with a later call")
    if answer.events is not None and endpoint.stream.usage_when_asked and not _asks(call):
        return missing("not_asked")
    return missing("no_usage")


def _asks(call: Billed) -> bool:
    """Tell whether the request asked for the usage of its stream."""
    options = call.asked.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def _is_unparsed(answer: Opened, response: Response) -> bool:
    """Tell whether there is a body that is neither JSON nor a stream of JSON."""
    if answer.events is not None:
        return not answer.events and answer.unparsed > 0
    return answer.value is None and bool(response.body)
