"""Which objects an answer makes, shows and takes away; and lists without what is another's."""

from __future__ import annotations

import gzip
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from addons.openai.objects.kinds import Ref, not_found
from addons.openai.objects.listing import next_query, widened, without
from addons.openai.objects.made import Made, deleted, made
from addons.openai.objects.watch import Watch


def test_what_answers_make() -> None:
    response = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "metadata": {"id": "file-x"},
        "output": [
            {"id": "rs_1", "type": "reasoning"},
            {"id": "ci_1", "type": "code_interpreter_call", "container_id": "cntr_1"},
        ],
    }
    assert made("POST", "/v1/responses", response) == [
        Made("response", "resp_1", passing=True),
        Made("item", "rs_1", passing=True),
        Made("item", "ci_1", passing=True),
        Made("container", "cntr_1"),
    ]
    assert made("POST", "/v1/responses", response | {"conversation": {"id": "conv_1"}})[0] == Made(
        "response", "resp_1"
    )
    background = made("POST", "/v1/responses", {"id": "resp_1", "status": "queued"}, {"background": True})
    assert background == [Made("response", "resp_1", due=True, passing=True)]
    assert not made("POST", "/v1/responses", response | {"store": False})[0].kept
    assert [one.kind for one in made("GET", "/v1/responses/resp_1", response)] == [
        "item",
        "item",
        "container",
    ]
    assert made("POST", "/v1/chat/completions", {"id": "chatcmpl-1"}) == []
    assert made("POST", "/v1/chat/completions", {"id": "chatcmpl-1"}, {"store": True})
    assert made("POST", "/v1/files", {"id": "file-1"}) == [Made("file", "file-1")]
    assert made("POST", "/v1/conversations/conv_1", {"id": "conv_9"}) == []
    assert made(
        "POST", "/v1/threads/thread_1/runs", {"id": "run_1", "object": "thread.run", "thread_id": "thread_1"}
    ) == [
        Made("thread.run", "run_1", due=True),
        Made("thread", "thread_1"),
    ]


def test_what_stands_beside_an_object() -> None:
    batch = {"id": "batch_1", "object": "batch", "status": "completed", "output_file_id": "file-2"}
    assert made("GET", "/v1/batches/batch_1", batch) == [
        Made("file", "file-2", parent="batch_1"),
        Made("batch", "batch_1", due=True, status="completed"),
    ]
    failed = {"id": "batch_1", "object": "batch", "status": "failed"}
    assert made("GET", "/v1/batches/batch_1", failed) == [Made("batch", "batch_1", status="failed")]
    job = {
        "id": "ftjob-1",
        "object": "fine_tuning.job",
        "fine_tuned_model": "ft:x",
        "result_files": ["file-1"],
    }
    assert made("GET", "/v1/fine_tuning/jobs", {"object": "list", "data": [job]}) == [
        Made("model", "ft:x"),
        Made("file", "file-1"),
    ]
    upload = {"id": "upload_1", "object": "upload", "file": {"id": "file-1"}}
    assert made("POST", "/v1/uploads/upload_1/complete", upload) == [Made("file", "file-1")]
    message = {"object": "thread.message", "content": [{"image_file": {"file_id": "file-1"}}]}
    assert made("GET", "/v1/threads/t/messages/m", message | {"role": "assistant"}) == [
        Made("file", "file-1")
    ]
    assert made("GET", "/v1/threads/t/messages/m", message | {"role": "user"}) == []


def test_what_is_deleted() -> None:
    assert deleted("DELETE", "/v1/files/file-1", {"deleted": True}) == "file-1"
    assert deleted("DELETE", "/v1/files/file-1", {"deleted": False}) is None
    assert deleted("DELETE", "/v1/vector_stores/vs_1/files/file-1", {"deleted": True}) is None
    assert deleted("GET", "/v1/files/file-1", {}) is None


def test_how_the_api_says_that_there_is_none() -> None:
    assert not_found(Ref("response", "resp_1")).message == "Response with id 'resp_1' not found."
    assert not_found(Ref("response", "r", "previous_response_id")).code == "previous_response_not_found"
    assert not_found(Ref("vector_store", "vs_1")).message == "Vector store with id 'vs_1' not found."
    assert len(not_found(Ref("file", "x" * 5000)).message) < 200


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: x\r\ndata: %b\r\n\r\n" % json.dumps(event).encode() for event in events)


@given(st.integers(1, 60))
def test_objects_of_a_stream_are_known_as_it_passes(size: int) -> None:
    created = {"id": "resp_1", "object": "response", "background": True, "instructions": "x" * 300}
    stream = sse(
        {"type": "response.created", "response": created},
        {"type": "response.output_text.delta", "delta": '"response.created" {"id": "resp_9"}'},
        {"type": "response.output_item.done", "item": {"id": "msg_1", "type": "message"}},
        {"type": "response.completed", "response": created | {"output": [{"id": "msg_1"}]}},
    )
    watch = Watch("POST", "/v1/responses", stream=True)
    found = [made for at in range(0, len(stream), size) for made in watch.feed(stream[at : at + size])]
    assert found == [Made("response", "resp_1", due=True, passing=True), Made("item", "msg_1", passing=True)]
    assert watch.finish() == []


def test_objects_of_a_coded_stream_and_of_a_run() -> None:
    run = {"id": "run_1", "object": "thread.run", "thread_id": "thread_1"}
    stream = gzip.compress(sse({"id": "thread_1", "object": "thread"}, run, run | {"status": "completed"}))
    watch = Watch("POST", "/v1/threads/runs", codings=["gzip"], stream=True)
    assert [(made.kind, made.id) for made in watch.feed(stream)] == [
        ("thread", "thread_1"),
        ("thread.run", "run_1"),
    ]
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "choices": [{"delta": {"audio": {"id": "audio_1"}}}],
    }
    watch = Watch("POST", "/v1/chat/completions", {"store": True}, stream=True)
    assert [made.id for made in watch.feed(sse(chunk, chunk))] == ["chatcmpl-1", "audio_1"]


def test_objects_of_a_plain_answer() -> None:
    watch = Watch("POST", "/v1/files")
    assert watch.feed(b'{"id": ') == watch.feed(b'"file-1"}') == []
    assert watch.finish() == [Made("file", "file-1")]
    watch = Watch("POST", "/v1/files")
    watch.feed(b"<html>")
    assert watch.finish() == []


def test_lists_without_what_is_anothers() -> None:
    page = {
        "object": "list",
        "data": [{"id": f"batch_{n}"} for n in range(5)],
        "first_id": "batch_0",
        "last_id": "batch_4",
        "has_more": True,
    }
    shown = without("batch", page, {"batch_1", "batch_3"})
    assert (shown["first_id"], shown["last_id"], shown["has_more"]) == ("batch_1", "batch_4", True)
    cut = without("batch", page | {"has_more": False}, {"batch_1", "batch_3"}, 1)
    assert ([one["id"] for one in cut["data"]], cut["last_id"], cut["has_more"]) == (
        ["batch_1"],
        "batch_1",
        True,
    )
    whole = without("batch", page | {"has_more": False}, {"batch_1", "batch_3"}, 2)
    assert (whole["last_id"], whole["has_more"]) == ("batch_3", False)
    assert without("batch", page, set())["first_id"] is None


def test_pages() -> None:
    assert widened("batch", "") == ("limit=100", 20)
    assert widened("batch", "limit=7&order=asc") == ("limit=100&order=asc", 7)
    for query in ("limit=100", "limit=x", "limit=1&limit=2", "before=batch_1"):
        assert widened("batch", query) is None
    assert widened("file", "") is None
    page = {"data": [{"id": "batch_1"}], "has_more": True}
    assert next_query("limit=5&after=batch_0", page) == "limit=5&after=batch_1"
    assert next_query("", page | {"has_more": False}) is None
    assert next_query("", {"data": [], "has_more": True}) is None
