"""Transcriptions whose answer does not tell how long the recording was: its file, captions, or neither."""

from __future__ import annotations

from typing import Any

import pytest

from addons.openai import Request, Response, Summary, summarize
from tests.addons.openai.counting.test_sound import FRAME, riff, wav

TYPE = [("content-type", "multipart/form-data; boundary=XX")]
TEXT = [("content-type", "text/plain")]
JSON = [("content-type", "application/json")]
HEARD = wav(2.5)
SHORT = riff(
    b"fmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0", b"data\x40\x1f\0\0", bytes(8000 + 2**19)
)
"""Says that it has a second, and has more than a minute."""


def part(name: str, value: bytes, file: str = "") -> bytes:
    return b'--XX\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (
        name.encode(),
        file.encode(),
        value,
    )


def heard(
    files: list[bytes],
    answer: bytes = b"Hello",
    *,
    model: str = "whisper-1",
    headers: Any = TEXT,
    prompt: str | None = None,
    ends: bytes = b"--XX--\r\n",
    status: int = 200,
) -> Summary:
    parts = [part("model", model.encode()), *(part("file", one, '; filename="a"') for one in files)]
    if prompt is not None:
        parts.append(part("prompt", prompt.encode()))
    request = Request("POST", "/v1/audio/transcriptions", TYPE, b"".join(parts) + ends)
    return summarize(request, Response(status, headers, answer))


def shown(summary: Summary) -> dict[str, Any] | None:
    if summary.usage is None:
        return None
    figures = summary.usage.as_dict()
    return {
        key: figures[key]
        for key in ("seconds", "source", "complete", "missing", "approximate")
        if key in figures
    }


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        (JSON, b'{"text": "Hello"}'),
        (TEXT, b"Hello"),
        (TEXT, b""),
        (TEXT, b"1\n00:00:00,000 --> 00:00:02,000\nHello"),
        (TEXT, b"WEBVTT\n\n00:00.000 --> 00:03.000\nHello"),
    ],
)
@pytest.mark.parametrize("model", ["whisper-1", "gpt-transcribe"])
def test_the_file_tells(headers: Any, answer: bytes, model: str) -> None:
    found = heard([HEARD], answer, headers=headers, model=model)
    assert shown(found) == {"seconds": 2.5, "source": "counted"}
    assert found.usage_missing_code == "other_unit"


def test_what_the_answer_says_goes_first() -> None:
    found = heard([HEARD], b'{"text": "Hello", "duration": 2.25}', headers=JSON)
    assert shown(found) == {"seconds": 2.25, "source": "counted"}


def test_captions_that_the_file_cannot_hold() -> None:
    found = heard([HEARD], b"1\n00:00:00,000 --> 00:00:09,000\nHello")
    assert shown(found) == {"seconds": 9.0, "source": "counted", "complete": False, "missing": ["audio"]}


def test_an_estimate_and_a_lower_bound_say_so() -> None:
    assert shown(heard([FRAME * 100])) == {
        "seconds": 7.2,
        "source": "estimate",
        "complete": True,
        "approximate": ["audio"],
    }
    assert shown(heard([SHORT])) == {
        "seconds": 1.0,
        "source": "estimate",
        "complete": False,
        "missing": ["audio"],
    }


@pytest.mark.parametrize("files", [[], [b"xxxxxxxx"], [HEARD, HEARD], [b""]])
@pytest.mark.parametrize(
    ("model", "code"), [("whisper-1", "length_unknown"), ("gpt-4o-transcribe", "no_usage")]
)
def test_nothing_tells(files: list[bytes], model: str, code: str) -> None:
    found = heard(files, model=model)
    assert (found.usage, found.usage_missing_code) == (None, code)


def test_an_upload_that_broke_off_does_not_tell() -> None:
    assert heard([HEARD], ends=b"").usage is None


def test_a_call_that_failed_heard_nothing() -> None:
    assert heard([HEARD], b'{"error": {"message": "no"}}', headers=JSON, status=400).usage is None


def test_a_model_that_is_billed_by_tokens_hears_ten_in_a_second() -> None:
    usage = heard([HEARD], model="gpt-4o-mini-transcribe", prompt="Hello world").usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.seconds) == (27, None, 2.5)
    assert usage.input_tokens_details == {"audio_tokens": 25, "text_tokens": 2}
    assert (usage.source, usage.approximate) == ("estimate", ("audio",))
