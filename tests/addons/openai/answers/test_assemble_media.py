"""Streams of audio and images, event by event (whole exchanges: tests/scenarios)."""

from __future__ import annotations

from typing import Any

from addons.openai.answers.assemble_media import images, speech, transcription


def test_a_transcription_without_its_end_has_what_was_said() -> None:
    events: list[Any] = [
        {"type": "transcript.text.delta", "delta": "Hel", "logprobs": [{"token": "Hel"}]},
        {"type": "transcript.text.delta", "delta": "lo", "logprobs": None},
        {"type": "other"},
    ]
    assert transcription(events) == {"text": "Hello", "logprobs": [{"token": "Hel"}]}
    end = {"type": "transcript.text.done", "text": "Hello.", "usage": {"type": "duration", "seconds": 1}}
    assert transcription([*events, end]) == {
        "text": "Hello.",
        "usage": {"type": "duration", "seconds": 1},
        "logprobs": [{"token": "Hel"}],
    }


def test_segments_make_the_text_where_no_deltas_do() -> None:
    segments = [{"type": "transcript.text.segment", "text": text} for text in (" One.", " Two.")]
    found = transcription(segments)
    assert found is not None
    assert found["text"] == "One. Two."
    assert found["segments"] == segments


def test_a_stream_of_something_else_is_none_of_them() -> None:
    other = [{"type": "response.created"}, {"no": "type"}]
    assert transcription(other) is speech(other) is images(other) is None


def test_speech_is_joined() -> None:
    assert speech([{"type": "speech.audio.delta", "audio": "QUJD"}, {"type": "speech.audio.delta"}]) == {
        "audio": {"data": "QUJD"}
    }


def test_usages_of_several_images_are_summed_each_of_their_kind() -> None:
    usage = {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}
    events = [
        {
            "type": f"image_generation.{kind}",
            "b64_json": "QUJD",
            "size": "1024x1024",
            "created_at": 7,
            **({"usage": usage, "svg_usage": usage} if kind == "completed" else {"partial_image_index": 0}),
        }
        for kind in ("partial_image", "completed", "completed")
    ]
    found = images(events)
    assert found is not None
    assert (found["created"], found["size"]) == (7, "1024x1024")
    assert found["data"] == [{"b64_json": "QUJD"}, {"b64_json": "QUJD"}]
    assert found["usage"]["total_tokens"] == found["svg_usage"]["total_tokens"] == 60


def test_of_an_image_that_never_came_whole_the_last_partial_one_is_there() -> None:
    partial = [
        {"type": "image_edit.partial_image", "b64_json": text, "partial_image_index": at}
        for at, text in enumerate(("QQ==", "QUI="))
    ]
    assert images(partial) == {"data": [{"b64_json": "QUI=", "partial_image_index": 1}]}
