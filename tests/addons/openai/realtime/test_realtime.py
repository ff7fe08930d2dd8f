"""Sessions taken apart: each answer once, in whatever order the frames come."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.realtime.client_events import models_named, read_head
from addons.openai.realtime.realtime import KEPT, Frame, Turn, Turns

USAGE = {"total_tokens": 3, "input_tokens": 2, "output_tokens": 1}


def frame(kind: str, *, client: bool = False, at: float = 1.0, **rest: Any) -> Frame:
    return Frame(client, json.dumps({"type": kind, **rest}).encode(), at)


def created(id_: str) -> Frame:
    return frame("response.created", response={"id": id_, "status": "in_progress"})


def done(id_: str, status: str = "completed") -> Frame:
    return frame("response.done", response={"id": id_, "status": status, "usage": USAGE})


def heard(id_: str) -> Frame:
    usage = {"type": "duration", "seconds": 2}
    return frame(
        "conversation.item.input_audio_transcription.completed", item_id=id_, transcript="x", usage=usage
    )


def over(frames: list[Frame], *, sequential: bool = False) -> list[Turn]:
    turns = Turns(sequential=sequential)
    return [turn for one in frames for turn in turns.take(one) if turn.over] + turns.rest()


def test_interleaved_answers_keep_their_events() -> None:
    def said(id_: str, text: str) -> Frame:
        return frame("response.output_audio_transcript.delta", response_id=id_, delta=text)

    frames = [created("a"), created("b"), said("a", "one"), said("b", "two"), done("b"), done("a")]
    second, first = over(frames)
    assert (first.id, second.id) == ("a", "b")
    assert b"one" in first.answer()[1]
    assert b"two" not in first.answer()[1]
    assert (first.whole, first.usage) == (True, USAGE)


def test_requests_lead_to_answers_in_their_order() -> None:
    frames = [frame("response.create", client=True, response={"metadata": {"n": n}}) for n in ("one", "two")]
    found = over([*frames, created("a"), created("b"), created("unasked"), done("a"), done("b")])
    assert [b"one" in found[0].asked, b"two" in found[1].asked, found[2].asked] == [True, True, b""]
    assert [turn.whole for turn in found] == [True, True, False]


def test_a_request_that_failed_is_no_answer() -> None:
    assert over([frame("response.create", client=True), frame("error", error={"code": "active"})]) == []
    (left,) = over([frame("response.create", client=True)])
    assert not left.whole


def test_an_error_ends_the_answer_of_a_sequential_session() -> None:
    frames = [frame("response.create", client=True), frame("error", error={"code": "no"})]
    (failed,) = over(frames, sequential=True)
    assert failed.whole
    assert b"no" in failed.answer()[1]


def test_an_error_that_names_a_request_of_realtime_ends_that_one() -> None:
    asked = [frame("response.create", client=True, event_id=name) for name in ("one", "two")]
    found = over([*asked, frame("error", error={"event_id": "one"}), created("a"), done("a")])
    assert [(turn.id, turn.asked_id) for turn in found] == [("a", "two")]


def test_an_error_is_about_the_answer_that_it_is_numbered_in() -> None:
    asked = [frame("response.create", client=True, input=text) for text in ("one", "two")]
    numbered = frame("error", sequence_number=7, message="it broke")
    (running,) = over([asked[0], created("a"), asked[1], numbered], sequential=True)[:1]
    assert (running.id, running.whole) == ("a", True)
    (waiting,) = over([asked[0], created("a"), asked[1], frame("error", status=400)], sequential=True)[:1]
    assert waiting.id is None
    assert b"two" in waiting.asked


LANES = ["", "a", "b"]
ANSWERS = st.tuples(st.sampled_from(LANES), st.sampled_from(["completed", "failed", "refused", "steered"]))


@given(st.lists(ANSWERS, max_size=8), st.randoms(use_true_random=False))
def test_requests_in_lanes_keep_their_answers(asked: list[tuple[str, str]], random: Any) -> None:
    """Of a server that serves each lane in its order, and the lanes in any."""
    script: dict[str, list[Frame]] = {lane: [] for lane in LANES}
    frames, wanted = [], []

    def lane_of(lane: str) -> dict[str, str]:
        return {"stream_id": lane} if lane else {}

    def answer(lane: str, id_: str, kind: str, previous: str | None = None) -> list[Frame]:
        begun = {"id": id_, "previous_response_id": previous}
        ended = {"id": id_, "usage": USAGE, "model": id_}
        return [
            frame("response.created", response=begun, **lane_of(lane)),
            frame("response.output_text.delta", delta=f"text of {id_}", **lane_of(lane)),
            frame(f"response.{kind}", response=ended, **lane_of(lane)),
        ]

    for number, (lane, how) in enumerate(asked):
        frames.append(frame("response.create", client=True, input=f"request {number}", **lane_of(lane)))
        if how == "refused":
            script[lane].append(frame("error", status=400, error={"code": "no"}, **lane_of(lane)))
            wanted.append((f"request {number}", None))
            continue
        steered = how == "steered"
        script[lane] += answer(lane, f"r{number}", "incomplete" if steered else how)
        wanted.append((f"request {number}", f"r{number}"))
        if steered:
            frames.append(
                frame(
                    "response.steer", client=True, previous_response_id=f"r{number}", input=f"more {number}"
                )
            )
            script[lane] += answer(lane, f"s{number}", "completed", f"r{number}")
            wanted.append((f"more {number}", f"s{number}"))
    while any(script.values()):
        lane = random.choice([lane for lane in LANES if script[lane]])
        frames.append(script[lane].pop(0))
    turns = over(frames, sequential=True)
    assert sorted((json.loads(turn.asked)["input"], turn.id) for turn in turns) == sorted(
        wanted, key=lambda pair: (pair[0], pair[1] or "")
    )
    for turn in turns:
        assert turn.whole
        if turn.id:
            assert turn.usage == USAGE
            assert f'text of {turn.id}"'.encode() in turn.answer()[1]


def test_models_of_a_session() -> None:
    session = {"model": "gpt-realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    beta = {"input_audio_transcription": {"model": "gpt-4o-transcribe"}}
    answer, transcription, later = over(
        [
            frame("session.created", session=session),
            created("a"),
            done("a"),
            heard("i"),
            frame("session.updated", session=beta),
            heard("j"),
        ]
    )
    assert [turn.model for turn in (answer, transcription, later)] == [
        "gpt-realtime",
        "whisper-1",
        "gpt-4o-transcribe",
    ]


def test_a_live_session_has_one_usage_and_that_of_the_answers_it_had_made() -> None:
    """What is reported again and again is never summed; delegated answers and decisions are billed apart."""
    decision = {"answers": [], "model": "gpt-6-luna", "usage": {"input_tokens": 5, "output_tokens": 0}}
    session = {"id": "live_1", "model": "gpt-live-1"}

    def nested(event: Frame) -> Frame:
        return frame("response.event", event=json.loads(event.data))

    turns = Turns(sequential=False)
    seen: list[Turn] = []
    for each in (
        frame("session.started", session=session),
        frame("session.usage.updated", usage={"seconds": 10}),
        nested(created("resp_1")),
        nested(done("resp_1")),
        frame("decision.event", event={"type": "decision.completed", "decision": decision}),
        frame("session.usage.updated", usage={"seconds": 25}),
        frame("session.closed", session=session, usage={"seconds": 31}),
    ):
        seen += [turn for turn in turns.take(each) if turn.over]
    answer, decided, whole = seen
    assert (answer.id, decided.model, decided.usage) == ("resp_1", "gpt-6-luna", decision["usage"])
    assert (whole.usage, whole.whole) == ({"seconds": 31}, True)
    kind, body = whole.answer()
    assert (kind, json.loads(body)["id"], json.loads(body)["model"]) == (
        "application/json",
        "live_1",
        "gpt-live-1",
    )
    assert turns.rest() == []


def test_a_live_session_that_breaks_off_has_used_what_it_said_last() -> None:
    turns = Turns(sequential=False)
    begun = turns.take(frame("session.usage.updated", usage={"seconds": 10}))
    assert [(turn.begun, turn.over) for turn in begun] == [(True, False)]
    assert turns.take(frame("session.usage.updated", usage={"seconds": 20})) == []
    assert [(turn.usage, turn.whole, turn.over) for turn in turns.rest()] == [({"seconds": 20}, True, True)]


def test_what_is_kept_of_an_answer_is_bounded_and_without_sound() -> None:
    asked = {"input": [{"type": "message", "content": [{"type": "input_audio", "audio": "QUJD" * 99}]}]}
    frames = [
        frame("response.create", client=True, response=asked),
        created("a"),
        *[frame("response.output_audio.delta", response_id="a", delta="QUJD" * 99) for _ in range(9)],
        *[frame("response.output_text.delta", response_id="a", delta="x" * 2**18) for _ in range(9)],
        done("a"),
    ]
    (turn,) = over(frames)
    assert sum(map(len, turn.events)) < KEPT + 2**12
    assert b"QUJD" not in turn.asked + turn.answer()[1]
    assert b"usage" in turn.events[-1]


IDS = ["a", "b", "c"]
FRAMES = st.one_of(
    st.builds(created, st.sampled_from(IDS)),
    st.builds(done, st.sampled_from(IDS), st.sampled_from(["completed", "cancelled", "failed"])),
    st.builds(heard, st.sampled_from(["i", "j"])),
    st.just(frame("response.create", client=True)),
    st.just(frame("error", error={})),
    st.builds(Frame, st.booleans(), st.binary(max_size=20)),
    st.sampled_from([b"[]", b'{"type": 1}', b'{"type": "response.done", "response": 1}', b"\xff"]).map(
        lambda data: Frame(False, data)
    ),
)


@given(st.lists(FRAMES, max_size=30))
def test_frames_in_any_order(frames: list[Frame]) -> None:
    found = over(frames)
    by_id = Counter(turn.id for turn in found if turn.id and not turn.transcription)
    assert all(count == 1 for count in by_id.values())
    ended = {read_response(one) for one in frames} - {None}
    assert ended == {turn.id for turn in found if turn.whole and not turn.transcription and turn.id}
    assert sum(turn.transcription for turn in found) == sum(b"transcription" in one.data for one in frames)


ODD: st.SearchStrategy[Any] = st.sampled_from(["a", "b", "", None, 1, {}, [], {"id": "a"}, {"id": 1}])
KINDS = ["response.create", "response.steer", "response.created", "response.completed", "response.x", "error"]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(KINDS), ODD, ODD, ODD, ODD), max_size=20))
def test_whatever_responses_say_each_answer_is_there_once(said: list[tuple[Any, ...]]) -> None:
    turns, seen = Turns(sequential=True), []
    for client, kind, response, lane, previous, number in said:
        event = {"stream_id": lane, "previous_response_id": previous, "sequence_number": number}
        seen += turns.take(frame(kind, client=client, response=response, **event))
    ended = [turn for turn in seen if turn.over and turn.whole]
    left = turns.rest()
    assert len({id(turn) for turn in [*ended, *left]}) == len({id(turn) for turn in ended}) + len(left)
    assert {id(turn) for turn in seen} == {id(turn) for turn in [*ended, *left]}, "none is lost"
    assert not turns.full


def read_response(one: Frame) -> str | None:
    if one.from_client or read_head(one.data).get("type") != "response.done":
        return None
    response = json.loads(one.data)["response"]
    return response["id"] if isinstance(response, dict) else None


@pytest.mark.parametrize(
    ("data", "models"),
    [
        (b'{"type": "input_audio_buffer.append", "audio": "AAAA"}', []),
        (b'{"session": {"model": "a", "audio": {"input": {"transcription": {"model": "b"}}}}}', ["a", "b"]),
        (b'{"session": {"mod\\u0065l": "a"}}', ["a"]),
        (b'{"response": {"model": "a", "tools": [{"parameters": {"model": {}}}]}}', ["a"]),
        (b'{"session": {"Model": "a"}}', [None]),
        (b'{"session": {"model": ["a"]}}', [None]),
        (b'{"session": {"model": "a"}', [None]),
        ('{"session": {"model": "a"}}'.encode("utf-16"), [None]),
        (b'{"type": "conversation.item.create", "item": {"model": "x"}}', []),
    ],
)
def test_models_that_an_event_names(data: bytes, models: list[str | None]) -> None:
    assert sorted(asked.model or "" for asked in models_named(data)) == sorted(m or "" for m in models)
    assert all((asked.model is None) == (asked.unknown is not None) for asked in models_named(data))
