"""Run ``scripts/bench accuracy``: how right the usage of events is, against what the API itself reported.

Two questions. Is a reported usage read right, in every content coding? And where the report is taken away,
how near does the counter come? Nothing is random: the same file gives the same figures, but for the speed.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median

import click

from addons.openai import summarize, vocabulary
from addons.openai.counting import rules
from addons.openai.tokens import count
from scripts.benchmarks.recorded import kinds
from scripts.benchmarks.recorded.accuracy_report import Counted, Line, Rate, Report, as_object, show
from scripts.benchmarks.recorded.codings import CODINGS
from scripts.benchmarks.recorded.recordings import DEFAULT, Recording, Reported, read

COUNTED = frozenset({"chat", "responses", "completions", "embeddings"})
INVENTED = (3, 2.0)
"""So many unlike calls of one project, the longest so many times the shortest, with one usage: made up."""
OTHER_MAKERS = re.compile(
    r"claude|command|deepseek|gemini|gemma|glm|grok|kimi|llama|mistral|mixtral|nova|phi|qwen|sonar", re.I
)
"""In the names of models that hosts of OpenAI's API, Azure among them, also serve."""
INPUT_LINES = (
    ("input, text only, chat and Responses", ("chat, text", "Responses, text"), 0.97),
    ("input, embeddings", ("embeddings",), 1.0),
    ("input, legacy completions", ("completions",), 1.0),
    ("input, JSON schema", ("chat, JSON schema", "Responses, JSON schema"), 0.95),
    ("input, function tools", ("chat, function tools", "Responses, function tools"), 0.92),
    (
        "input, calls in the history",
        ("chat, function tools, calls in the history", "Responses, function tools, calls in the history"),
        0.80,
    ),
)
OUTPUT_LINES = (
    ("output, Responses text", ("Responses, text",), 0.95),
    ("output, chat text", ("chat, text",), 0.92),
    ("output, tool calls", ("chat, tool calls", "Responses, tool calls"), 0.80),
)
LEAST = {(False, "input"): 0.97, (True, "input"): 0.92, (False, "output"): 0.92, (True, "output"): 0.80}
"""It is that of a family: (with function tools, side)."""
BY_FAMILY_IN = "input of text, schema and function tools, by family"
BY_FAMILY_OUT = "output without hidden parts, by family"
IN_LINES = frozenset(kind for _, group, _ in (*INPUT_LINES, *OUTPUT_LINES) for kind in group)


@click.command()
@click.argument("recordings", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--misses", is_flag=True, help="Also list every call that was counted wrong.")
def main(recordings: Path | None, *, as_json: bool, misses: bool) -> None:
    """How right usage is: reported usage in every content coding, and counted usage by kind of call.

    RECORDINGS is a file of recorded exchanges in JSON Lines, gzipped or not (by default the one beside the
    repository). Only calls to OpenAI and Azure count for the requirements; other makers have other
    tokenizers. Exit code 1 where a requirement is not met.
    """
    path = recordings or DEFAULT
    try:
        exchanges = read(path)
    except (OSError, ValueError) as error:
        raise click.ClickException(
            f"{path}: {error}; give a file of recorded exchanges (JSON Lines)"
        ) from error
    for item in vocabulary.VOCABULARIES.values():
        if not item.is_in(vocabulary.cache_folder()):
            raise click.ClickException(f"{item.name} is not installed: run llmproxy tokenizers install")
    report = measure(exchanges)
    if as_json:
        click.echo(json.dumps(as_object(report), ensure_ascii=False))
    else:
        show(report, misses=misses)
    if not all(line.passed for line in report.lines):
        raise click.exceptions.Exit(1)


def measure(exchanges: Iterable[Recording]) -> Report:
    """Measure everything that the benchmark prints."""
    exchanges = list(exchanges)
    report = Report()
    _measure_reported(report, exchanges)
    prose = _prose_speed()
    counted = list(_count_all(exchanges))
    _measure_counted(report, counted)
    report.speed = {
        "median_microseconds_per_call": round(median(one.seconds for one in counted) * 1e6) if counted else 0,
        "prose_megabytes_per_second": round(prose),
    }
    return report


# --- reported usage


def _measure_reported(report: Report, exchanges: list[Recording]) -> None:
    rates = {name: Rate() for name in CODINGS}
    for exchange in exchanges:
        if exchange.reported is None:
            continue
        for name, (header, encode) in CODINGS.items():
            body = encode(exchange.recorded.response_body)
            right = _reads_right(exchange, exchange.reported, header, body)
            rates[name].add(int(right), 1)
            if not right:
                report.wrong.append(f"{exchange.key} ({name})")
    report.codings = rates
    report.lines += [Line(f"reported usage, {name}", 1.0, rate) for name, rate in rates.items()]


def _reads_right(exchange: Recording, wanted: Reported, header: str, body: bytes) -> bool:
    usage = summarize(exchange.request, exchange.response(header, body)).usage
    if usage is None:
        return False
    if wanted.seconds is not None:
        return usage.seconds == wanted.seconds
    found = (usage.input_tokens, usage.output_tokens)
    same_total = wanted.total_tokens is None or usage.total_tokens == wanted.total_tokens
    return found == (wanted.input_tokens, wanted.output_tokens) and same_total


# --- counted usage


def _count_all(exchanges: list[Recording]) -> Iterator[Counted]:
    invented = _invented(exchanges)
    for exchange in exchanges:
        reported = exchange.reported
        if reported is None or reported.input_tokens is None:
            continue
        summary = summarize(exchange.request, exchange.response())
        body, answer = summary.request, summary.output
        if (
            summary.endpoint not in COUNTED
            or not isinstance(body, Mapping)
            or not isinstance(answer, Mapping)
        ):
            continue
        without = {key: value for key, value in answer.items() if key != "usage"}
        started = time.perf_counter()
        found = count(summary.endpoint, summary.model, body, without)
        seconds = time.perf_counter() - started
        if found.input_tokens is None:
            continue  # a stored answer that is read or changed, not a call
        yield Counted(
            exchange,
            summary.endpoint,
            summary.model,
            kinds.input_kind(summary.endpoint, body),
            kinds.output_kind(summary.endpoint, answer, thinks=rules.of(summary.model).reasons),
            tuple(kinds.features(summary.endpoint, body, answer, azure=exchange.host_kind == "azure")),
            (reported.input_tokens, reported.output_tokens or 0),
            found,
            seconds,
            _left_out(exchange, summary.model, invented),
        )


def _invented(exchanges: list[Recording]) -> set[tuple[str, Reported]]:
    """Give usages that one project wrote under unlike calls."""
    sizes: dict[tuple[str, Reported], set[int]] = defaultdict(set)
    for exchange in exchanges:
        if exchange.by and exchange.reported is not None and exchange.recorded.request_body:
            sizes[exchange.by, exchange.reported].add(len(exchange.recorded.request_body))
    number, spread = INVENTED
    return {key for key, found in sizes.items() if len(found) >= number and max(found) >= spread * min(found)}


def _left_out(
    exchange: Recording,
    model: str | None,
    invented: set[tuple[str, Reported]],
) -> str | None:
    known = vocabulary.encoding_name(model)[1]
    if OTHER_MAKERS.search(model or ""):
        return "another maker's model"
    if exchange.host_kind == "compatible":
        return "another host" if known else "another host, a model of an unknown name"
    if not known and exchange.host_kind != "azure":
        return "a model whose vocabulary is not known or not installed"
    if exchange.reported is not None and (exchange.by, exchange.reported) in invented:
        return "one project's same usage under unlike calls"
    return None


def _measure_counted(report: Report, counted: list[Counted]) -> None:
    judged = [one for one in counted if one.left_out is None]
    others = [one for one in counted if one.left_out is not None]
    report.left_out = dict(Counter(str(one.left_out) for one in others))
    inputs = _rates(judged, lambda one: [one.kind], 0)
    outputs = _rates(judged, lambda one: [one.answer_kind], 1)
    report.tables = {
        "input, by kind": inputs,
        "output, by kind": outputs,
        BY_FAMILY_IN: _rates(_in_lines(judged), _families, 0),
        BY_FAMILY_OUT: _rates([one for one in judged if one.answer_kind in IN_LINES], _families, 1),
        "input, by feature": _rates(_in_lines(judged), lambda one: one.features, 0),
        "output, by feature": _rates(
            [one for one in judged if one.answer_kind in IN_LINES], lambda one: one.features, 1
        ),
        "input where everything was in view": _rates(
            [one for one in judged if "input_tokens" not in one.count.lower_bound],
            lambda one: [one.endpoint],
            0,
        ),
        "left out, input": _rates(others, lambda one: [str(one.left_out)], 0),
        "left out, output": _rates(others, lambda one: [str(one.left_out)], 1),
    }
    for lines, found in ((INPUT_LINES, inputs), (OUTPUT_LINES, outputs)):
        report.lines += [Line(name, wanted, _sum(found, group)) for name, group, wanted in lines]
    report.below = [
        line
        for side, title in (("input", BY_FAMILY_IN), ("output", BY_FAMILY_OUT))
        for name, rate in report.tables[title].items()
        if not (line := Line(f"{side}, {name}", LEAST["tools" in name, side], rate)).passed
    ]
    report.misses = [
        {
            "id": one.recording.key,
            "model": one.model,
            "side": side,
            "kind": kind,
            "reported": one.reported[at],
            "counted": figure,
            "missing": one.count.missing,
        }
        for one in judged
        for at, (side, kind, figure) in enumerate(
            (
                ("input", one.kind, one.count.input_tokens),
                ("output", one.answer_kind, one.count.output_tokens),
            )
        )
        if kind in IN_LINES and figure != one.reported[at]
    ]


def _in_lines(counted: list[Counted]) -> list[Counted]:
    return [one for one in counted if one.kind in IN_LINES]


def _families(one: Counted) -> list[str]:
    tools = ", function tools" if "tools" in one.kind else ""
    return [f"{kinds.family(one.model)}{tools}"]


def _rates(counted: list[Counted], groups: Callable[[Counted], Iterable[str]], side: int) -> dict[str, Rate]:
    found: dict[str, Rate] = defaultdict(Rate)
    for one in counted:
        figure = one.count.output_tokens if side else one.count.input_tokens
        for group in groups(one):
            found[group].add(figure, one.reported[side])
    return dict(sorted(found.items()))


def _sum(found: Mapping[str, Rate], group: Iterable[str]) -> Rate:
    whole = Rate()
    for kind in group:
        part = found.get(kind, Rate())
        whole.n += part.n
        whole.exact += part.exact
        whole.within_1 += part.within_1
        whole.within_2_percent += part.within_2_percent
    return whole


def _prose_speed() -> float:
    """Give the megabytes a second of one long text. Loads the vocabularies, so that no call has to."""
    for item in vocabulary.VOCABULARIES:
        vocabulary.load(item)
    prose = "The quick brown fox jumps over the lazy dog, and 12 others follow it. " * 15_000
    body = {"messages": [{"role": "user", "content": prose}]}
    started = time.perf_counter()
    count("chat", "gpt-4o", body, None)
    return len(prose) / 1e6 / (time.perf_counter() - started)
