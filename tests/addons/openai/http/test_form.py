"""Multipart forms, however they are cut."""

from __future__ import annotations

import gzip
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.http.form import ENDS, FIELD_LIMIT, TEXT_LIMIT, Form, FormReader, read_form

TYPE = "multipart/form-data; boundary=XX"


def part(name: str, value: bytes, *, filename: str | None = None, kind: str | None = None) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"'
    head += f'; filename="{filename}"' if filename is not None else ""
    head += f"\r\nContent-Type: {kind}" if kind else ""
    return b"--XX\r\n" + head.encode() + b"\r\n\r\n" + value + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--XX--\r\n"


AUDIO = b"\r\n--X\r\n--Y\r\n-" + bytes(range(256)) * 40
UPLOAD = body(
    part("file", AUDIO, filename="a.wav", kind="audio/wav"),
    part("model", b"whisper-1"),
    part("timestamp_granularities[]", b"word"),
    part("timestamp_granularities[]", b"segment"),
    part("prompt", "Grüße".encode()),
)
SHOWN = {
    "file": {"filename": "a.wav", "bytes": len(AUDIO)},
    "model": "whisper-1",
    "timestamp_granularities[]": ["word", "segment"],
    "prompt": "Grüße",
}


def in_pieces(data: bytes, cuts: list[int], *, coding: str = "") -> FormReader:
    reader = FormReader(TYPE, coding)
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        assert reader.tap(data[start:end]) == data[start:end]
    return reader


@pytest.mark.parametrize("strict", [False, True])
def test_fields_are_kept_and_files_are_not(strict: bool) -> None:
    form = read_form(UPLOAD, TYPE, strict=strict)
    assert (form.as_dict(), form.problem) == (SHOWN, None)
    assert form.texts("model") == ["whisper-1"]


@given(st.lists(st.integers(0, len(UPLOAD)), max_size=30))
def test_cuts_change_nothing(cuts: list[int]) -> None:
    assert in_pieces(UPLOAD, cuts).form() == read_form(UPLOAD, TYPE)


@given(st.integers(1, 7))
def test_small_pieces_of_a_coded_form(size: int) -> None:
    coded = gzip.compress(UPLOAD, mtime=0)
    reader = in_pieces(coded, list(range(0, len(coded), size)), coding="gzip")
    assert reader.form().as_dict() == SHOWN
    assert reader.size == len(coded)


@given(st.integers(0, len(UPLOAD) - 3))
def test_a_form_that_breaks_off(length: int) -> None:
    form = read_form(UPLOAD[:length], TYPE, strict=True)
    assert form.problem
    for name, value in form.as_dict().items():
        assert value == SHOWN[name] or name == "timestamp_granularities[]"


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes(junk: bytes, strict: bool) -> None:
    assert isinstance(read_form(b"--XX\r\n" + junk, TYPE, strict=strict), Form)


def test_no_byte_of_a_file_is_kept() -> None:
    reader = FormReader(TYPE)
    reader.feed(b'--XX\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n')
    for _ in range(64):
        reader.feed(b"x" * 2**20)
        assert len(reader._parser._buffer) < 100  # type: ignore[union-attr]
        assert reader._text == b""
    reader.feed(b"\r\n--XX--\r\n")
    assert reader.form().as_dict() == {"file": {"filename": "big", "bytes": 64 * 2**20}}


def test_a_part_of_another_type_is_a_file_without_a_name() -> None:
    form = read_form(body(part("file", b"\xff\xfe", kind="audio/mpeg")), TYPE)
    assert form.as_dict() == {"file": {"filename": None, "bytes": 2}}


def test_text_is_kept_up_to_a_limit() -> None:
    form = read_form(body(part("prompt", b"x" * (TEXT_LIMIT + 1)), part("model", b"gpt-image-1")), TYPE)
    assert len(form.texts("prompt")[0]) == TEXT_LIMIT
    assert form.problem


def test_a_form_of_a_million_parts() -> None:
    form = read_form(body(*[part("x", b"")] * (FIELD_LIMIT + 1)), TYPE)
    assert form.problem
    assert len(form.fields) <= FIELD_LIMIT


@pytest.mark.parametrize(
    "data",
    [
        b"text before\r\n" + UPLOAD,
        UPLOAD + b"text behind",
        UPLOAD + UPLOAD,
        b'{"model": "gpt-4o"}',
        UPLOAD.replace(b'name="model"', b'name="file"; name="model"'),
        UPLOAD.replace(b'name="model"', b"name=\"file\"; name*=utf-8''model"),
        UPLOAD.replace(b"\r\n\r\nwhisper", b"\r\nContent-Disposition: form-data; name=x\r\n\r\nwhisper"),
        UPLOAD.replace(b"\r\n\r\nwhisper", b"\r\nContent-Transfer-Encoding: base64\r\n\r\nwhisper"),
        UPLOAD.replace(b"\r\n\r\nwhisper", b"\r\nContent-Type: text/plain; charset=utf-16\r\n\r\nwhisper"),
        UPLOAD.replace(b"whisper-1", b"whisper-\xff"),
        UPLOAD.replace(b"\r\n", b"\n"),
    ],
)
def test_what_another_parser_may_read_otherwise(data: bytes) -> None:
    assert read_form(data, TYPE, strict=True).problem


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=XX",
        "multipart/form-data; boundary=YY; boundary=XX",
    ],
)
def test_types_that_do_not_say_how_to_read_them(content_type: str) -> None:
    assert read_form(UPLOAD, content_type, strict=True).problem


def test_a_recording_with_other_line_ends() -> None:
    text = body(part("model", b"whisper-1"), part("file", b"abc", filename="a")).replace(b"\r\n", b"\n")
    assert read_form(text, TYPE).as_dict() == {
        "model": "whisper-1",
        "file": {"filename": "a", "bytes": 3},
    }


def test_a_form_shown_again_can_be_read_again() -> None:
    shown = read_form(UPLOAD, TYPE).as_bytes(TYPE)
    assert bytes(range(256)) not in shown
    again = read_form(shown, TYPE, strict=True)
    assert again.problem is None
    assert again.as_dict() | {"file": None} == SHOWN | {"file": None}


def read_in_pieces(data: bytes, length: int) -> Form:
    reader = FormReader(TYPE)
    for at in range(0, len(data), length):
        reader.feed(data[at : at + length])
    return reader.form()


@pytest.mark.parametrize("length", [1000, ENDS, 10**6])
@pytest.mark.parametrize("size", [0, 5, ENDS - 1, ENDS, ENDS + 1, 5 * ENDS + 3])
def test_the_ends_of_the_file_are_kept(size: int, length: int) -> None:
    sound = random.Random(size).randbytes(size)
    form = read_in_pieces(body(part("file", sound, filename="a"), part("model", b"whisper-1")), length)
    [file] = form.files("file")
    assert (file.head, file.tail, file.size) == (sound[:ENDS], sound[-ENDS:], size)
    assert form.as_dict() == {"file": {"filename": "a", "bytes": size}, "model": "whisper-1"}


def test_of_other_files_nothing_is_kept() -> None:
    files = (
        part("image", b"1", filename="a"),
        part("file", b"2", filename="b"),
        part("file", b"3", filename="c"),
    )
    form = read_form(body(*files, part("file", b"text")), TYPE)
    assert [(one.head, one.tail) for one in form.fields] == [(b"", b""), (b"2", b"2"), (b"", b""), (b"", b"")]
    assert "b'2'" not in repr(form)


def test_of_a_recording_that_was_kept_as_text_no_bytes_are_left() -> None:
    text = body(part("file", b"abc", filename="a")).replace(b"\r\n", b"\n")
    assert [one.head for one in read_form(text, TYPE).files("file")] == [b""]
