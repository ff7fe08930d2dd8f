"""Recorded streams, cut: always an event, with the text so far, and with a usage where there was any text."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.flow.capture import Body, Capture
from tests import corpus
from tests.addons.recording.test_event_builder import exchange
from tests.codings import CODINGS
from tests.events import fields_of
from tests.scenarios import SCENARIOS

STREAMS = 200
SEED = 20_260_501
EVERY_BOUNDARY = 24
"""Events of a stream up to which it is cut after each; a longer one is cut after as many, drawn by lot."""
RANDOM_CUTS = 3
"""Of each stream, at any byte."""

END = re.compile(rb"\r?\n\r?\n")


def streams() -> list[dict[str, Any]]:
    """A fixed choice, the rare kinds first: a seed would leave most of them out."""
    found = [
        one for one in corpus.load() if corpus.response_body(one).startswith((b"data:", b"event:", b":"))
    ]
    assert len(found) > 2 * STREAMS
    random.Random(SEED).shuffle(found)
    return sorted(found, key=lambda one: one["endpoint"] in ("chat", "responses"))[:STREAMS]


def cuts(body: bytes, rng: random.Random) -> list[int]:
    """Where to cut: after events, and anywhere."""
    boundaries = [match.end() for match in END.finditer(body)]
    if len(boundaries) > EVERY_BOUNDARY:
        boundaries = rng.sample(boundaries, EVERY_BOUNDARY)
    return sorted({0, *boundaries, *(rng.randrange(len(body)) for _ in range(RANDOM_CUTS))})


def said(body: bytes) -> Iterator[tuple[Any, str | list[str]]]:
    """The pieces of text in the whole events of a body, read by hand: which text they belong to, and they.

    In a list: the text as a whole, which in some recordings is not what its pieces are.
    """
    for block in END.split(body)[:-1]:
        lines = [line[5:].strip() for line in block.splitlines() if line.startswith(b"data:")]
        try:
            event = json.loads(b"".join(lines))
        except ValueError:
            continue
        for choice in event.get("choices") or []:
            text = (choice.get("delta") or {}).get("content") or choice.get("text")
            if isinstance(text, str) and text:
                yield choice["index"], text
        if event.get("type") == "response.created":
            yield None, ""  # a second answer in the same stream
        if event.get("type") in ("response.output_text.delta", "transcript.text.delta"):
            yield (event.get("output_index"), event.get("content_index")), event["delta"]
        if event.get("type") == "response.output_text.done":
            yield (event.get("output_index"), event.get("content_index")), [event["text"]]
        if event.get("object") == "thread.message.delta":
            for part in event["delta"].get("content") or []:
                yield event["id"], (part.get("text") or {}).get("value") or ""


def texts(body: bytes) -> list[str]:
    found: dict[Any, str] = {}
    for key, text in said(body):
        if key is None:
            found.clear()
        found[key] = text[0] if isinstance(text, list) else found.get(key, "") + text
    return [text for text in found.values() if text]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(item)


@pytest.mark.slow
def test_cut_streams() -> None:
    rng = random.Random(SEED)
    made = with_text = 0
    for one in streams():
        body = corpus.response_body(one)
        recorded = one.get("response_headers") or {}
        headers = [("content-type", str(recorded.get("content-type") or "text/event-stream"))]
        for at in cuts(body, rng):
            cut = exchange(
                method=one["method"],
                url=one["url"].partition("://")[2].partition("/")[2].join(["/", ""]),
                host=one["host"],
                outcome="client_aborted",
                request_headers=corpus.JSON_TYPE,
                request_body=Body(corpus.request_body(one)),
                status=one["status"],
                response_headers=headers,
                response_body=Body(body[:at], chunks=[body[:at]], times=[100.5]),
            )
            where = f"{one['id']} cut at {at}"
            event = fields_of(cut)
            assert event["usage_missing_code"] != "unread", where  # no exception
            made += 1
            there = list(strings(event["response"]["body"]))
            for text in texts(body[:at]):
                with_text += 1
                assert any(text in string for string in there), (where, text)
                if event["usage_missing_code"] == "unbilled":
                    assert one["method"] == "GET"  # another call's answer, read once more
                    continue
                if event["usage_missing_code"] == "later":
                    # It goes on, and is counted when it is over.
                    assert (
                        "/runs" in one["url"] or b'"background": true' in body or b'"background":true' in body
                    )
                    continue
                assert event["usage"], where
                assert event["usage"]["output_tokens"], where
    assert made > 2000
    assert with_text > 1000


@given(
    st.sampled_from([name for name, scenario in SCENARIOS.items() if scenario.is_stream]),
    st.sampled_from(["identity", "gzip", "br", "zstd", "gzip, br"]),
    st.sampled_from([300, 2000, 100_000]),
    st.lists(st.floats(0, 1), max_size=20),
)
def test_splitting_changes_nothing(name: str, coding: str, limit: int, where: list[float]) -> None:
    """Whatever pieces a body comes in, and whether or not all of it is kept: the event is the same."""
    header, encode = CODINGS[coding]
    scenario = SCENARIOS[name]
    body = encode(scenario.response.body)
    places = [0, *sorted(round(part * len(body)) for part in where), len(body)]

    def event_in(pieces: Sequence[bytes]) -> dict[str, Any]:
        capture = Capture(header, limit)
        for piece in pieces:
            assert capture.tap(piece) == piece
        return fields_of(
            exchange(
                url=scenario.request.url,
                request_body=Body(scenario.request.body),
                response_headers=[*scenario.response.headers, ("content-encoding", header)],
                response_body=capture.body(),
            ),
            capture="all",
        )

    split, whole = event_in([body[a:b] for a, b in itertools.pairwise(places)]), event_in([body])
    for event in (split, whole):
        del event["time_to_first_token_ms"]
    assert split == whole


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_a_cut_before_the_first_event(at: int) -> None:
    body = b'data: {"id":"c","object":"chat.completion.chunk","model":"gpt-4o-mini","choices":[]}\n\n'[:at]
    event = fields_of(
        exchange(
            outcome="client_aborted",
            response_headers=[("content-type", "text/event-stream")],
            response_body=Body(body),
        ),
        capture="all",
    )
    assert (event["outcome"], event["usage_missing_code"]) == ("client_aborted", "cut")
    assert event["usage"]["input_tokens"] > 0
    assert not event["usage"]["output_tokens"]
