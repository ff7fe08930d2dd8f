"""What is refused unparsed, and what is read elsewhere."""

from __future__ import annotations

import json

import pytest

from addons.openai.http import json_bounds
from addons.openai.http.json_bounds import (
    FEW_BYTES,
    FREE_BYTES,
    MOST_BYTES,
    MOST_NODES,
    decoded_limit,
    is_heavy,
    is_light,
    problem_of,
)


@pytest.mark.parametrize(
    ("data", "heavy"),
    [
        (b"", False),
        (json.dumps({"input": "x" * 10_000}).encode(), False),
        (b'{"input":"' + b"x" * FEW_BYTES + b'"}', True),
        (b"[" + b"{}," * 30_000 + b"{}]", True),
        (b"[" * 30_000, True),
        (b"[" + b"1," * 30_000 + b"1]", True),
    ],
)
def test_what_is_heavy(data: bytes, heavy: bool) -> None:
    assert is_heavy(data) is heavy


@pytest.mark.parametrize(
    ("data", "light"),
    [
        (json.dumps({"input": "a word, and " * 20_000}).encode(), False),
        (json.dumps({"input": "a word " * 30_000}).encode(), True),
        (json.dumps({"input": "a word " * 60_000}).encode(), False),
        (b"[" + b"{}," * 3_000 + b"{}]", False),
        (b"[" + b"{}," * 1_000 + b"{}]", True),
    ],
)
def test_what_is_light(data: bytes, light: bool) -> None:
    assert is_light(data) is light


@pytest.mark.parametrize("piece", [b"{},", b"[],", b"1,", b'"",', b'{"a":1},', b'"\\\\",', b'"\\"",'])
def test_more_values_than_are_read(piece: bytes) -> None:
    assert problem_of(b"[" + piece * (MOST_NODES + 1) + b"1]") == "it has more than 1,000,000 values"


def test_marks_within_texts_are_no_values() -> None:
    code = json.dumps({"input": 'a["b"], {c},\\ "' * 400_000}).encode()
    assert len(code) < MOST_BYTES
    assert problem_of(code) is None


def test_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_bounds, "MOST_BYTES", 2**20)
    assert problem_of(b" " * 2**20) is None
    assert problem_of(b" " * (2**20 + 1)) == "it has more than 1 MiB"


def test_a_coded_body_has_a_ratio() -> None:
    assert decoded_limit(20_000) == 2_000_000
    assert decoded_limit(10) == FREE_BYTES
    assert decoded_limit(2**30) == MOST_BYTES
