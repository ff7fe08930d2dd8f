"""Event streams: the rules of the HTML standard, on streams cut anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.http.sse import Event, Parser, parse


def events(*pieces: bytes) -> list[Event]:
    """Without the end of the stream."""
    parser = Parser()
    return [event for piece in pieces for event in parser.feed(piece)]


def data(found: Sequence[Event]) -> list[str]:
    return [event.data for event in found]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", ["a"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a\n\n", [" a"]),  # one space belongs to the syntax
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data\n\n", [""]),
        (b"data:\ndata:\n\n", ["\n"]),
        (b": comment\n\n", []),
        (b":\ndata: a\n: more\n\n", ["a"]),
        (b"event: x\n\n", []),  # nothing to dispatch
        (b"unknown: field\ndata: a\n\n", ["a"]),
        (b" data: a\n\n", []),  # a field's name begins the line
        (b"data: a\n\n\n\ndata: b\n\n", ["a", "b"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),  # just one byte order mark is skipped
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", ["a", "b", "c"]),
        (b"data: a\xff\n\n", ["a\ufffd"]),
        (b"data: caf\xc3\xa9 \xe2\x80\xa8 x\n\n", ["café \u2028 x"]),  # no line end but CR and LF
        (b"data: a\x0b\x0c\x85b\n\n", ["a\x0b\x0c\ufffdb"]),
        (b"data: never finished", []),
        (b"data: never finished\n", []),
        (b"", []),
    ],
)
def test_rules(stream: bytes, expected: list[str]) -> None:
    assert data(events(stream)) == expected
    assert data(events(*(stream[at : at + 1] for at in range(len(stream))))) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_objects_that_are_parted_by_one_line_end(end: str) -> None:
    lines = [
        'data: {"a": 1}',
        "event: x",
        'data: {"b": 2}',
        'data:  {"c": 3} ',
        "data: [DONE]",
        "data: rest",
        "",
    ]
    found = events(*(bytes([byte]) for byte in end.join(lines).encode()))
    assert found == [
        Event("message", '{"a": 1}'),
        Event("x", '{"b": 2}'),
        Event("message", ' {"c": 3} '),
        Event("message", "[DONE]"),
    ]


def test_an_object_on_several_lines_is_one_event() -> None:
    stream = b'data: {"a":\ndata: 1}\n\ndata: {"b": "}\ndata: {"\ndata: }\n\n'
    assert data(events(stream)) == ['{"a":\n1}', '{"b": "}\n{"\n}']


def test_types_and_ids() -> None:
    stream = b"event: one\nid: 7\ndata: a\n\ndata: b\n\nid: x\0y\nid\nevent:\ndata: c\n\n"
    assert events(stream) == [
        Event("one", "a", "7"),
        Event("message", "b", "7"),  # the id stays, the type does not
        Event("message", "c", ""),
    ]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_the_end_of_a_stream_gives_what_it_cuts_off(end: bytes) -> None:
    assert data(list(parse(b"data: a\n\ndata: b" + end))) == ["a", "b"]


def test_a_character_that_is_cut_off_by_the_end() -> None:
    assert data(list(parse("data: é".encode()[:-1]))) == ["\ufffd"]


LINES = st.lists(
    st.one_of(
        st.text("ab: \ufeffé🙂\0", max_size=8).map(lambda text: f"data:{text}"),
        st.sampled_from(["", "", "data", ":comment", "event: e", "id: 1", "retry: 5", "data: x"]),
    ),
    max_size=12,
)


@given(LINES, st.sampled_from(["\n", "\r", "\r\n"]), st.booleans(), st.data())
def test_cuts_and_line_ends_change_nothing(
    lines: list[str], end: str, bom: bool, draw: st.DataObject
) -> None:
    """The standard's algorithm, written down a second time for whole streams, gives the same events."""
    stream = ("\ufeff" if bom else "").encode() + "".join(line + end for line in lines).encode()
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    if not bom and lines and lines[0].startswith("\ufeff"):
        lines = [lines[0][1:], *lines[1:]]
    assert events(*pieces) == reference(lines)


def reference(lines: list[str]) -> list[Event]:
    found: list[Event] = []
    kind, identity, parts = "", "", list[str]()
    for line in lines:
        if not line:
            if parts:
                found.append(Event(kind or "message", "\n".join(parts), identity))
            kind, parts = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            parts.append(value)
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            identity = value
    return found
