"""The lines of a batch's output, summed."""

from __future__ import annotations

import gzip
import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.usage import batch_output
from addons.openai.usage.batch_output import PART_TOKENS, BatchLines, BatchSum


def line(
    inputs: int = 10,
    outputs: int = 2,
    model: str = "gpt-4o-mini",
    status: int = 200,
) -> bytes:
    usage = {"input_tokens": inputs, "output_tokens": outputs, "total_tokens": inputs + outputs}
    usage["input_tokens_details"] = {"cached_tokens": inputs // 2}  # type: ignore[assignment]
    body = {"id": "resp_1", "model": model, "usage": usage, "output": [{"text": 'x "usage": 9\n'}]}
    response = {"status_code": status, "request_id": "r", "body": body}
    return json.dumps({"id": "b", "custom_id": "c", "response": response, "error": None}).encode()


def read(data: bytes, *codings: str, size: int = 1000) -> BatchSum:
    lines = BatchLines(codings)
    for at in range(0, len(data), size):
        lines.feed(data[at : at + size])
    return lines.finish()


@given(st.integers(1, 3000), st.booleans())
def test_lines_in_pieces_of_any_size(size: int, ends: bool) -> None:
    data = b"\n".join([line(), line(20, 4), b"", line(status=400), b"{nonsense", b'{"response": null}'])
    found = read(data + b"\n" * ends, size=size)
    assert (found.lines, found.failed, found.unread, found.problem) == (5, 1, 2, None)
    assert found.model == "gpt-4o-mini"
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (30, 6, 36)
    assert found.usage.input_tokens_details == {"cached_tokens": 15}


def test_codings() -> None:
    data = b"\n".join([line()] * 1000)
    for coded, name in ((gzip.compress(data), "gzip"), (zstandard.compress(data), "zstd")):
        found = read(coded, name)
        assert (found.lines, found.problem) == (1000, None)
    assert read(gzip.compress(data)[:50] + b"broken" * 9, "gzip").problem


def test_many_short_inputs_are_not_one_long_one() -> None:
    found = read(b"\n".join([line(30_000)] * 10 + [line(500_000)]))
    assert [part.tokens for part in found.parts] == [90_000, 90_000, 90_000, 30_000, 500_000]
    assert max(part.tokens for part in found.parts[:-1]) <= PART_TOKENS


def test_several_models_and_other_shapes() -> None:
    embedding = {"model": "text-embedding-3-small", "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    data = [line(), json.dumps({"response": {"status_code": 200, "body": embedding}}).encode()]
    found = read(b"\n".join(data))
    assert {part.model for part in found.parts} == {"gpt-4o-mini", "text-embedding-3-small"}
    assert found.model == "gpt-4o-mini"
    assert read(b"").usage is None


def test_a_line_beyond_all_bounds_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_output, "LONGEST_LINE", 1000)
    found = read(b"\n".join([line(), b"x" * 5000, line(20, 4)]))
    assert found.problem == "a line is longer than 1000 bytes"
    assert found.usage is not None
    assert found.usage.input_tokens == 30
