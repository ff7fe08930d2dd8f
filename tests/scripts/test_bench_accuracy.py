"""``scripts/bench accuracy``: right and wrong recordings of our own; the corpus, where it is here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from scripts.benchmarks.__main__ import main
from scripts.benchmarks.recorded import accuracy, kinds
from scripts.benchmarks.recorded.recordings import read
from tests import corpus
from tests.vocabularies import needs_vocabularies

pytestmark = needs_vocabularies()
HI = [{"role": "user", "content": "Hi"}]
WEATHER = {"name": "f", "parameters": {}}


def exchange(inputs: int, outputs: int, **fields: Any) -> dict[str, Any]:
    """A chat call that costs 8 and 2 tokens, and what is claimed."""
    return {
        "url": "https://api.openai.com/v1/chat/completions",
        "status": 200,
        "request_body": json.dumps({"model": "gpt-4o", "messages": HI}),
        "response_body": json.dumps(
            {
                "model": "gpt-4o-2024-08-06",
                "choices": [{"message": {"content": "Hello there"}, "finish_reason": "stop"}],
                "usage": {
                    "prompt_tokens": inputs,
                    "completion_tokens": outputs,
                    "total_tokens": inputs + outputs,
                },
            }
        ),
        **fields,
    }


def run(tmp_path: Path, *exchanges: dict[str, Any], arguments: tuple[str, ...] = ()) -> Result:
    file = tmp_path / "recordings.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in exchanges))
    return CliRunner().invoke(main, ["accuracy", str(file), *arguments])


def requirements(result: Result) -> dict[str, tuple[int, int, bool]]:
    found = json.loads(result.stdout)["requirements"]
    return {line["name"]: (line["exact"], line["n"], line["passed"]) for line in found}


def test_right_and_wrong_figures_are_told_apart(tmp_path: Path) -> None:
    result = run(tmp_path, exchange(8, 2), exchange(9, 2, id="off"), arguments=("--json",))
    assert result.exit_code == 1  # there are also requirements without a single call
    found = requirements(result)
    assert found["input, text only, chat and Responses"] == (1, 2, False)
    assert found["output, chat text"] == (2, 2, True)
    assert found["reported usage, gzip, br"] == (2, 2, True)
    misses = json.loads(result.stdout)["misses"]
    assert [(miss["id"], miss["reported"], miss["counted"]) for miss in misses] == [("off", 9, 8)]


def test_the_table_for_people(tmp_path: Path) -> None:
    result = run(tmp_path, exchange(8, 2), arguments=("--misses",))
    assert "PASS  input, text only, chat and Responses: 1 of 1 exact (100.0 %, wanted 97 %)" in result.stdout
    assert "FAIL  input, embeddings: 0 of 0 exact" in result.stdout


def test_a_usage_that_is_read_wrong_fails(tmp_path: Path) -> None:
    """The recording says that the stream's last usage is another one than is read."""
    stream = (
        'data: {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}}\n\n'
    )
    wrong = {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11}
    headers = {"content-type": "text/event-stream"}
    one = exchange(0, 0, response_body=stream, response_headers=headers, usage=wrong)
    result = run(tmp_path, one, arguments=("--json",))
    assert requirements(result)["reported usage, zstd"] == (0, 1, False)
    assert result.exit_code == 1


def test_other_hosts_and_makers_are_shown_apart(tmp_path: Path) -> None:
    gateway = exchange(99, 2, url="https://gateway.example/v1/chat/completions")
    result = run(tmp_path, exchange(8, 2), gateway, arguments=("--json",))
    assert requirements(result)["input, text only, chat and Responses"] == (1, 1, True)
    assert json.loads(result.stdout)["left_out"] == {"another host": 1}


@pytest.mark.parametrize("content", [b"not JSON\n", b'{"method": "GET"}\n'])
def test_a_file_of_something_else_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    result = CliRunner().invoke(main, ["accuracy", str(tmp_path / "x")])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path / 'x'}: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"messages": HI}, "chat, text"),
        ({"messages": HI, "response_format": {"type": "json_schema"}}, "chat, JSON schema"),
        ({"messages": HI, "functions": [WEATHER]}, "chat, function tools"),
        ({"messages": HI, "tools": [{"type": "custom"}]}, "chat, custom tools"),
        ({"messages": [{"role": "tool"}]}, "chat, function tools, calls in the history"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "chat, images, audio or files"),
    ],
)
def test_kinds_of_chat_input(body: dict[str, Any], kind: str) -> None:
    assert kinds.input_kind("chat", body) == kind


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o-mini", "gpt-4o"),
        ("gpt-4o-audio-preview", "gpt-audio"),
        ("gpt-4.1-nano", "gpt-4.1"),
        ("gpt-4-0613", "gpt-3.5, gpt-4"),
        ("gpt-5.1-2025-11-13", "gpt-5, 5.1"),
        ("gpt-5.6-sol", "gpt-5.2 and later"),
        ("o4-mini", "o1, o3, o4"),
        ("my-deployment", "other names"),
    ],
)
def test_families(model: str, family: str) -> None:
    assert kinds.family(model) == family


@pytest.mark.once
@pytest.mark.slow
def test_the_corpus_meets_every_requirement() -> None:
    """Half a minute."""
    corpus.load()
    report = accuracy.measure(read(corpus.FILE))
    assert [line.name for line in report.lines if not line.passed] == []
    assert report.wrong == []
    assert report.lines[0].rate.n > 500
