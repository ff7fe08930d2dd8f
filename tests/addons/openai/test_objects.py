"""What requests refer to, and what answers make."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai import endpoints
from addons.openai.form import read_form
from addons.openai.objects import (
    Ref,
    in_body,
    in_target,
    made,
    place_of,
    referenced_ids,
)
from addons.openai.objects.kinds import ROOTS
from addons.openai.objects.references import BY_NAME, USERS_OWN
from tests import corpus


def ids(value: Any) -> set[str]:
    return {ref.id for ref in referenced_ids(value)}


@pytest.mark.parametrize(
    ("path", "kind", "id_"),
    [
        ("/v1/responses/resp_1", "response", "resp_1"),
        ("/v1/responses/resp%5F1/input_items", "response", "resp_1"),
        ("/responses/resp_1/cancel", "response", "resp_1"),
        ("/v1/chat/completions/chatcmpl-1/messages", "chat.completion", "chatcmpl-1"),
        ("/v1/conversations/conv_1/items/msg_1", "conversation", "conv_1"),
        ("/v1/files/file-1/content", "file", "file-1"),
        ("/v1/uploads/upload_1/complete", "upload", "upload_1"),
        ("/v1/batches/batch_1/cancel", "batch", "batch_1"),
        ("/v1/assistants/asst_1", "assistant", "asst_1"),
        ("/v1/threads/thread_1/runs/run_1/steps/step_1", "thread", "thread_1"),
        ("/v1/vector_stores/vs_1/files/file-1", "vector_store", "vs_1"),
        ("/v1/containers/cntr_1/files/cfile_1/content", "container", "cntr_1"),
        ("/v1/fine_tuning/jobs/ftjob-1/events", "fine_tuning.job", "ftjob-1"),
        ("/v1/fine_tuning/checkpoints/ft:gpt-4o:a::1/permissions", "model", "ft:gpt-4o:a::1"),
        ("/v1/models/ft:gpt-4o:a::1", "model", "ft:gpt-4o:a::1"),
        ("/v1/videos/video_1/remix", "video", "video_1"),
        ("/v1/videos/characters/char_1", "video.character", "char_1"),
        ("/v1/evals/eval_1/runs/evalrun_1", "eval", "eval_1"),
        ("/v1/skills/skill_1/versions/1", "skill", "skill_1"),
        ("/v1/chatkit/threads/cthr_1/items", "chatkit.thread", "cthr_1"),
        ("/v1/realtime/calls/rtc_1/hangup", "realtime.call", "rtc_1"),
        ("/v1/audio/voice_consents/cons_1", "voice.consent", "cons_1"),
        ("/openai/v1/files/file-1", "file", "file-1"),
        ("/openai/files/assistant-1", "file", "assistant-1"),
    ],
)
def test_an_object_in_a_path(path: str, kind: str, id_: str) -> None:
    assert in_target(path, "limit=2&after=file-9") == [Ref(kind, id_)]


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/responses", "/v1/responses/compact", "/v1/responses/input_tokens", "/v1/threads/runs"),
        *("/v1/models", "/v1/models/gpt-4o", "/v1/embeddings", "/v1/videos/edits", "/v1/files/"),
    ],
)
def test_paths_without_an_object(path: str) -> None:
    assert in_target(path) == []


def test_objects_in_a_query_and_in_unknown_paths() -> None:
    assert in_target("/v1/realtime", "call_id=rtc_1&model=ft:gpt-4o:a") == [
        Ref("realtime.call", "rtc_1", "call_id"),
        Ref("model", "ft:gpt-4o:a", "model"),
    ]
    assert [ref.id for ref in in_target("/v9/shelves/file-0123456789/x")] == ["file-0123456789"]


def test_every_route_below_which_objects_are_has_a_kind() -> None:
    """Whoever adds a route to the table is told that its ids have an owner."""
    elsewhere = "organization projects dashboard usage completions embeddings moderations images"
    # Of these only some paths have objects.
    partly = "realtime chatkit audio content_provenance_checks"
    free = {*elsewhere.split(), *partly.split()}
    known = {root.split("/")[0] for root in ROOTS}
    for route in endpoints.ROUTES:
        first = re.split(r"[/(]", route.path.removeprefix("(?:"))[0]
        assert set(first.rstrip(")").split("|")) - free <= known, route.path


REQUESTS: list[tuple[dict[str, Any], set[str]]] = [
    ({"model": "gpt-4o", "input": "hi", "previous_response_id": "resp_1"}, {"resp_1"}),
    ({"input": [], "conversation": "conv_1"}, {"conv_1"}),
    ({"input": [], "conversation": {"id": "conv_1"}}, {"conv_1"}),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}, {"file-1"}),
    ({"input": [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_2"}]}, {"msg_1", "msg_2"}),
    ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, {"rs_1"}),
    ({"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}]}, set()),
    ({"input": [{"type": "message", "id": "msg_1", "role": "assistant", "content": []}]}, set()),
    ({"input": [{"type": "image_generation_call", "id": "ig_1"}]}, {"ig_1"}),
    (
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]}, {"container": "cntr_1"}]},
        {"vs_1", "vs_2", "cntr_1"},
    ),
    ({"tools": [{"container": {"type": "auto", "file_ids": ["file-1"]}}]}, {"file-1"}),
    ({"tools": [{"environment": {"type": "container_reference", "container_id": "cntr_1"}}]}, {"cntr_1"}),
    (
        {"tools": [{"environment": {"skills": [{"type": "skill_reference", "skill_id": "skill_1"}]}}]},
        {"skill_1"},
    ),
    ({"tools": [{"type": "function", "parameters": {"file_id": "x", "properties": {"file_id": {}}}}]}, set()),
    ({"metadata": {"file_id": "x", "previous_response_id": "y"}}, set()),
    ({"prompt": {"id": "pmpt_1", "variables": {"file_id": "x", "doc": {"file_id": "file-1"}}}}, {"file-1"}),
    ({"messages": [{"content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}, {"file-1"}),
    ({"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, {"audio_1"}),
    ({"audio": {"voice": "alloy", "format": "wav"}}, set()),
    ({"voice": {"id": "voice_1"}}, {"voice_1"}),
    ({"input_file_id": "file-1", "endpoint": "/v1/embeddings"}, {"file-1"}),
    (
        {"training_file": "file-1", "validation_file": "file-2", "model": "ft:gpt-4o:a"},
        {"file-1", "file-2", "ft:gpt-4o:a"},
    ),
    (
        {"assistant_id": "asst_1", "thread": {"messages": [{"attachments": [{"file_id": "file-1"}]}]}},
        {"asst_1", "file-1"},
    ),
    (
        {
            "tool_resources": {
                "code_interpreter": {"file_ids": ["file-1"]},
                "file_search": {"vector_store_ids": ["vs_1"]},
            }
        },
        {"file-1", "vs_1"},
    ),
    ({"data_source": {"source": {"type": "file_id", "id": "file-1"}}}, {"file-1"}),
    ({"data_source": {"source": {"type": "stored_completions", "metadata": {}}}}, {"stored_completions"}),
    ({"video": {"id": "video_1"}, "prompt": "x"}, {"video_1"}),
    ({"image": [{"file_id": "file-1"}]}, {"file-1"}),
    ({"Previous_Response_ID": "resp_1"}, {"resp_1"}),
]


@pytest.mark.parametrize(("body", "expected"), REQUESTS)
def test_objects_in_a_body(body: dict[str, Any], expected: set[str]) -> None:
    assert ids(body) == expected
    found = in_body([], json.dumps(body).encode())
    assert ({ref.id for ref in found.refs}, found.unclear) == (expected, None)


def test_a_realtime_session_has_ids_of_its_own() -> None:
    event = {
        "type": "response.create",
        "response": {"conversation": "none", "input": [{"type": "item_reference", "id": "i"}]},
    }
    assert referenced_ids(event, session=True) == []
    assert referenced_ids({"type": "response.cancel", "response_id": "resp_1"}, session=True) == []
    assert ids({"item": {"content": [{"file_id": "file-1"}]}}) == {"file-1"}


def test_bodies_that_hide_a_reference() -> None:
    twice = b'{"previous_response_id": "resp_1", "previous_response_id": "resp_2"}'
    assert {ref.id for ref in in_body([], twice).refs} == {"resp_1", "resp_2"}
    escaped = b'{"previous\\u005fresponse\\u005fid": "resp_1"}'
    assert {ref.id for ref in in_body([], escaped).refs} == {"resp_1"}
    wide = '{"previous_response_id": "resp_1"}'.encode("utf-16")
    assert {ref.id for ref in in_body([], wide).refs} == {"resp_1"}
    coded = gzip.compress(escaped)
    assert {ref.id for ref in in_body([("content-encoding", "gzip")], coded).refs} == {"resp_1"}
    assert in_body([("content-encoding", "rot13")], coded).unclear
    assert in_body([], b'{"file_id": ').unclear


def test_bodies_that_need_not_be_parsed() -> None:
    def found(body: bytes) -> set[str]:
        return {ref.id for ref in in_body([], body, endpoint="chat").refs}

    assert found(b'{"messages": [{"content": "hi", "tool_call_id": "x"}]}') == set()
    assert found(b'{"messages": [{"content": [{"file": {"FILE_ID": "file-1"}}]}]}') == {"file-1"}
    assert found(b'{"messages": [{"file\\u005fid": "file-1"}]}') == {"file-1"}
    assert found('{"model": "ft:gpt-4o:a"}'.encode("utf-16")) == {"ft:gpt-4o:a"}
    assert found(b'{"messages": [{"audio": {"id": "audio_1"}}]}') == {"audio_1"}


def test_objects_in_a_form() -> None:
    def form(name: str, value: str) -> set[str]:
        body = f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--B--\r\n'
        read = read_form(body.encode(), "multipart/form-data; boundary=B")
        return {ref.id for ref in in_body([], b"", read).refs}

    assert form("video[id]", "video_1") == {"video_1"}
    assert form("characters[][id]", "char_1") == {"char_1"}
    assert form("input_reference", '{"file_id": "file-1"}') == {"file-1"}
    assert form("file_ids[]", "file-1") == {"file-1"}
    assert form("consent", "cons_1") == {"cons_1"}
    assert form("prompt", '{"file_id": "file-1"}') == set()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "input", "tools", "content", "id", "type", "variables"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from(sorted(BY_NAME)), st.text("abc_", min_size=6, max_size=9))
def test_a_reference_is_found_at_any_depth(value: Any, name: str, id_: str) -> None:
    body = {"outer": [value, {"inner": {name: id_}}]}
    assert id_ in ids(body)
    assert id_ in {ref.id for ref in in_body([], json.dumps(body).encode()).refs}


@given(JSON, st.sampled_from(sorted(USERS_OWN)))
def test_what_users_call_so_is_none(value: Any, name: str) -> None:
    before = ids({"x": value})
    assert ids({"x": value, name: {"file_id": "zzz", "deep": {"conversation": "zzz"}}}) == before


@given(st.binary(max_size=60))
def test_no_body_is_too_strange(data: bytes) -> None:
    asked = [*in_body([], data).refs, *in_target("/" + data.decode("latin-1"), data.decode("latin-1"))]
    assert all(ref.id and isinstance(ref.id, str) for ref in asked)


def test_the_recorded_traffic() -> None:
    """Every id in a path is found; no exchange is too strange; and a session's own are never asked for."""
    found = made_ids = 0
    for exchange in corpus.load():
        target = urlsplit(exchange["url"])
        refs = in_target(target.path, target.query)
        place = place_of(target.path)
        assert [ref.id for ref in refs][:1] == (
            [place.id] if place and place.id else [ref.id for ref in refs][:1]
        )
        headers = [(name, str(value)) for name, value in dict(exchange.get("request_headers") or {}).items()]
        body = in_body([h for h in headers if h[0].lower() == "content-type"], corpus.request_body(exchange))
        found += len(refs) + len(body.refs)
        output = corpus.summary(exchange).output
        made_ids += len(made(exchange["method"], target.path, output, None))
    assert found > 200
    assert made_ids > 300
