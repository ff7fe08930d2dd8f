"""What requests refer to, and what answers make."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai import endpoints
from addons.openai.http.form import read_form
from addons.openai.http.members import object_of
from addons.openai.objects.fields import ANYWHERE, CHAT, RESPONSES, SESSION, USERS_OWN, Field
from addons.openai.objects.kinds import ROOTS, Ref, place_of
from addons.openai.objects.made import made
from addons.openai.objects.references import (
    References,
    in_event,
    in_form,
    in_target,
    in_value,
    referenced_ids,
)
from tests import corpus


def ids(value: Any, named: Field = ANYWHERE) -> set[str]:
    return {ref.id for ref in referenced_ids(value, named)}


def in_body(data: bytes, named: Field) -> References:
    try:
        return in_value(json.loads(data.decode(), object_pairs_hook=object_of), data, None, named)
    except (ValueError, RecursionError) as error:
        return in_value(None, data, str(error), named)


def fields_of(path: str) -> Field:
    return endpoints.resolve("POST", f"/v1{path}").objects


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
    elsewhere = "organization projects dashboard usage completions embeddings moderations images decisions"
    # Of these only some paths have objects.
    partly = "realtime chatkit audio content_provenance_checks"
    free = {*elsewhere.split(), *partly.split()}
    known = {root.split("/")[0] for root in ROOTS}
    for route in endpoints.ROUTES:
        if route.endpoint.risk == "administration":
            continue
        first = re.split(r"[/(]", route.path.removeprefix("(?:"))[0]
        assert set(first.rstrip(")").split("|")) - free <= known, route.path


REQUESTS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("/responses", {"model": "gpt-4o", "input": "hi", "previous_response_id": "resp_1"}, {"resp_1"}),
    ("/responses", {"input": [], "conversation": "conv_1"}, {"conv_1"}),
    ("/responses", {"input": [], "conversation": {"id": "conv_1"}}, {"conv_1"}),
    ("/responses", {"prompt_cache_options": {"comparison_response_id": "resp_1"}}, {"resp_1"}),
    (
        "/responses",
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
        {"file-1"},
    ),
    (
        "/responses",
        {
            "input": [
                {"type": "function_call_output", "output": [{"type": "input_image", "file_id": "file-1"}]}
            ]
        },
        {"file-1"},
    ),
    (
        "/responses",
        {"input": [{"type": "computer_call_output", "output": {"file_id": "file-1"}}]},
        {"file-1"},
    ),
    (
        "/responses",
        {"input": [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_2"}]},
        {"msg_1", "msg_2"},
    ),
    ("/responses", {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, {"rs_1"}),
    ("/responses", {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}]}, set()),
    ("/responses", {"input": [{"type": "message", "id": "msg_1", "role": "user", "content": []}]}, set()),
    ("/responses", {"input": [{"type": "image_generation_call", "id": "ig_1"}]}, {"ig_1"}),
    (
        "/responses",
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]}, {"container": "cntr_1"}]},
        {"vs_1", "vs_2", "cntr_1"},
    ),
    (
        "/responses",
        {"tools": [{"type": "namespace", "tools": [{"vector_store_ids": ["vs_1"]}]}]},
        {"vs_1"},
    ),
    ("/responses", {"tools": [{"container": {"type": "auto", "file_ids": ["file-1"]}}]}, {"file-1"}),
    (
        "/responses",
        {"tools": [{"environment": {"type": "container_reference", "container_id": "cntr_1"}}]},
        {"cntr_1"},
    ),
    (
        "/responses",
        {"tools": [{"environment": {"skills": [{"type": "skill_reference", "skill_id": "skill_1"}]}}]},
        {"skill_1"},
    ),
    ("/responses", {"input": [{"type": "code_interpreter_call", "container_id": "cntr_1"}]}, {"cntr_1"}),
    (
        "/responses",
        {
            "prompt": {
                "id": "pmpt_1",
                "variables": {"file_id": "x", "doc": {"type": "input_file", "file_id": "file-1"}},
            }
        },
        {"file-1"},
    ),
    ("/responses/compact", {"input": [{"id": "msg_1"}]}, {"msg_1"}),
    ("/responses/input_tokens", {"previous_response_id": "resp_1"}, {"resp_1"}),
    ("/responses", {"Previous_Response_ID": "resp_1"}, {"resp_1"}),
    ("/conversations/conv_1/items", {"items": [{"type": "item_reference", "id": "msg_1"}]}, {"msg_1"}),
    (
        "/chat/completions",
        {"messages": [{"content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        {"file-1"},
    ),
    ("/chat/completions", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, {"audio_1"}),
    ("/chat/completions", {"audio": {"voice": "alloy", "format": "wav"}}, set()),
    ("/chat/completions", {"audio": {"voice": {"id": "voice_1"}}}, {"voice_1"}),
    ("/completions", {"model": "ft:babbage-002:a"}, {"ft:babbage-002:a"}),
    ("/audio/speech", {"voice": {"id": "voice_1"}}, {"voice_1"}),
    ("/batches", {"input_file_id": "file-1", "endpoint": "/v1/embeddings"}, {"file-1"}),
    (
        "/fine_tuning/jobs",
        {"training_file": "file-1", "validation_file": "file-2", "model": "ft:gpt-4o:a"},
        {"file-1", "file-2", "ft:gpt-4o:a"},
    ),
    (
        "/threads/runs",
        {"assistant_id": "asst_1", "thread": {"messages": [{"attachments": [{"file_id": "file-1"}]}]}},
        {"asst_1", "file-1"},
    ),
    (
        "/assistants",
        {
            "tool_resources": {
                "code_interpreter": {"file_ids": ["file-1"]},
                "file_search": {"vector_store_ids": ["vs_1"]},
            }
        },
        {"file-1", "vs_1"},
    ),
    ("/threads/t/messages", {"content": [{"image_file": {"file_id": "file-1"}}]}, {"file-1"}),
    ("/vector_stores", {"file_ids": ["file-1"]}, {"file-1"}),
    ("/vector_stores/vs_1/files", {"file_id": "file-1"}, {"file-1"}),
    ("/vector_stores/vs_1/file_batches", {"files": [{"file_id": "file-1"}]}, {"file-1"}),
    ("/containers", {"file_ids": ["file-1"]}, {"file-1"}),
    ("/evals/e/runs", {"data_source": {"source": {"type": "file_id", "id": "file-1"}}}, {"file-1"}),
    (
        "/evals/e/runs",
        {"data_source": {"source": {"type": "stored_completions", "metadata": {}}}},
        {"stored_completions"},
    ),
    ("/videos/edits", {"video": {"id": "video_1"}, "prompt": "x"}, {"video_1"}),
    ("/images/edits", {"image": [{"file_id": "file-1"}]}, {"file-1"}),
    ("/realtime/client_secrets", {"session": {"audio": {"output": {"voice": {"id": "v_1"}}}}}, {"v_1"}),
    ("/new/thing", {"outer": [{"inner": {"file_id": "file-1"}}]}, {"file-1"}),
]


@pytest.mark.parametrize(("path", "body", "expected"), REQUESTS)
def test_objects_in_a_body(path: str, body: dict[str, Any], expected: set[str]) -> None:
    named = fields_of(path)
    assert ids(body, named) == expected
    found = in_body(json.dumps(body).encode(), named)
    assert ({ref.id for ref in found.refs}, found.unclear) == (expected, None)


NAMES = {
    **{"thread_id": "x", "session_id": "x", "turn_id": "x", "run_id": "x", "conversation_id": "x"},
    **{"file_id": "x", "file_ids": ["x"], "container": "x", "conversation": "x", "response_id": "x"},
    **{"previous_response_id": "x", "vector_store_ids": ["x"], "assistant_id": "x", "model": "ft:x"},
}
"""What clients and users call things of their own, as the API calls its objects elsewhere."""
OWN: list[tuple[str, dict[str, Any]]] = [
    ("/responses", {"client_metadata": NAMES}),
    ("/responses", {"metadata": NAMES}),
    ("/responses", {"thread_id": "x", "run_id": "x", "session_id": "x", "file_id": "x"}),
    ("/responses", {"tools": [{"type": "function", "parameters": {"properties": NAMES, **NAMES}}]}),
    ("/responses", {"tools": [{"type": "mcp", "headers": NAMES, "server_url": "x"}]}),
    ("/responses", {"tools": [{"type": "file_search", "filters": {"type": "eq", "key": "file_id"}}]}),
    ("/responses", {"text": {"format": {"type": "json_schema", "schema": NAMES}}}),
    ("/responses", {"prompt": {"id": "pmpt_1", "variables": {**NAMES, "free": NAMES}}}),
    ("/responses", {"input": [{"type": "function_call", "id": "fc_1", "arguments": json.dumps(NAMES)}]}),
    ("/responses", {"input": [{"type": "function_call_output", "output": json.dumps(NAMES)}]}),
    (
        "/responses",
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x", "m": NAMES}]}]},
    ),
    ("/responses", {"input": [{"type": "file_search_call", "id": "fs_1", "results": [{"file_id": "x"}]}]}),
    ("/responses", {"input": [{"role": "user", "content": [{"annotations": [{"file_id": "x"}]}]}]}),
    ("/responses", {"input": [{"type": "mcp_call", "id": "m_1", "arguments": NAMES, "status": "completed"}]}),
    (
        "/chat/completions",
        {"metadata": NAMES, "client_metadata": NAMES, "extra": NAMES, **NAMES, "model": "x"},
    ),
    ("/chat/completions", {"messages": [{"role": "tool", "content": json.dumps(NAMES)}]}),
    ("/chat/completions", {"messages": [{"tool_calls": [{"function": {"arguments": json.dumps(NAMES)}}]}]}),
    ("/chat/completions", {"tools": [{"function": {"parameters": {"properties": NAMES}}}]}),
    ("/chat/completions", {"response_format": {"json_schema": {"schema": NAMES}}}),
    ("/embeddings", {"input": "x", "metadata": NAMES, "file_id": "x"}),
    ("/vector_stores", {"metadata": NAMES}),
    ("/vector_stores/vs_1/files", {"attributes": NAMES}),
    ("/vector_stores/vs_1/search", {"query": "x", "filters": {"key": "file_id", "value": "x"}}),
    ("/conversations", {"metadata": NAMES}),
    ("/threads", {"metadata": NAMES, "thread_id": "x"}),
    ("/assistants", {"metadata": NAMES, "tools": [{"function": {"parameters": NAMES}}]}),
    ("/evals/e/runs", {"data_source": {"source": {"type": "file_content", "content": [{"item": NAMES}]}}}),
    ("/fine_tuning/jobs", {"integrations": [{"wandb": NAMES}], "metadata": NAMES}),
    ("/batches", {"metadata": NAMES}),
]


@pytest.mark.parametrize(("path", "body"), OWN)
def test_what_clients_call_things_of_their_own_is_no_object(path: str, body: dict[str, Any]) -> None:
    named = fields_of(path)
    assert (ids(body, named), in_body(json.dumps(body).encode(), named).unclear) == (set(), None)


@pytest.mark.parametrize("body", [{"type": "response.create", "client_metadata": NAMES, **OWN[1][1]}])
def test_the_same_in_an_event_of_a_socket(body: dict[str, Any]) -> None:
    named = endpoints.resolve("GET", "/v1/responses", upgrade=True).objects
    assert in_event(json.dumps(body).encode(), named).refs == ()


def test_a_realtime_session_has_ids_of_its_own() -> None:
    event = {
        "type": "response.create",
        "response": {"conversation": "none", "input": [{"type": "item_reference", "id": "i"}]},
    }
    assert referenced_ids(event, SESSION) == []
    assert referenced_ids({"type": "response.cancel", "response_id": "resp_1"}, SESSION) == []
    assert ids({"item": {"content": [{"file_id": "file-1"}]}}, SESSION) == {"file-1"}


def test_bodies_that_hide_a_reference() -> None:
    twice = b'{"previous_response_id": "resp_1", "previous_response_id": "resp_2"}'
    assert {ref.id for ref in in_body(twice, RESPONSES).refs} == {"resp_1", "resp_2"}
    escaped = b'{"previous\\u005fresponse\\u005fid": "resp_1"}'
    assert {ref.id for ref in in_body(escaped, RESPONSES).refs} == {"resp_1"}
    wide = '{"previous_response_id": "resp_1"}'.encode("utf-16")
    assert in_body(wide, RESPONSES).unclear
    assert in_body(b'{"file_id": ', RESPONSES).unclear


def test_bodies_that_need_not_be_parsed() -> None:
    def found(body: bytes) -> set[str]:
        return {ref.id for ref in in_body(body, CHAT).refs}

    assert found(b'{"messages": [{"content": "hi", "tool_call_id": "x"}]}') == set()
    assert found(b'{"messages": [{"content": [{"file": {"FILE_ID": "file-1"}}]}]}') == {"file-1"}
    assert found(b'{"messages": [{"content": [{"file\\u005fid": "file-1"}]}]}') == {"file-1"}
    assert in_body('{"model": "ft:gpt-4o:a"}'.encode("utf-16"), CHAT).unclear
    assert found(b'{"messages": [{"audio": {"id": "audio_1"}}]}') == {"audio_1"}


def test_objects_in_a_form() -> None:
    def form(name: str, value: str) -> set[str]:
        body = f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--B--\r\n'
        read = read_form(body.encode(), "multipart/form-data; boundary=B")
        return {ref.id for ref in in_form(read, ANYWHERE).refs}

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


@given(
    JSON,
    st.sampled_from(
        sorted(name for name, each in ANYWHERE.members.items() if each.kind and each.text and name != "model")
    ),
    st.text("abc_", min_size=6, max_size=9),
)
def test_a_reference_is_found_at_any_depth(value: Any, name: str, id_: str) -> None:
    body = {"outer": [value, {"inner": {name: id_}}]}
    assert id_ in ids(body)
    assert id_ in {ref.id for ref in in_body(json.dumps(body).encode(), ANYWHERE).refs}


@given(JSON, st.sampled_from(sorted(USERS_OWN)))
def test_what_users_call_so_is_none(value: Any, name: str) -> None:
    before = ids({"x": value})
    assert ids({"x": value, name: {"file_id": "zzz", "deep": {"conversation": "zzz"}}}) == before


@given(st.binary(max_size=60))
def test_no_body_is_too_strange(data: bytes) -> None:
    asked = [
        *in_body(data, ANYWHERE).refs,
        *in_target("/" + data.decode("latin-1"), data.decode("latin-1")),
    ]
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
        named = endpoints.guess(exchange["method"], target.path).objects
        body = in_body(corpus.request_body(exchange), named)
        found += len(refs) + len(body.refs)
        output = corpus.summary(exchange).output
        made_ids += len(made(exchange["method"], target.path, output, None))
    assert found > 200
    assert made_ids > 300


def test_what_cannot_be_read_is_unclear_and_not_harmless() -> None:
    """A message that may name objects, and is no JSON, must not pass as one that names none."""
    event = b'{"type": "response.create", "response": {"previous_response_id": "resp_1"'
    assert in_event(event, RESPONSES).unclear == "the event is no JSON"
    assert in_event(b"[" * 100_000 + b'"previous_response_id"', RESPONSES).unclear == "the event is no JSON"
    assert not in_event(b"{" * 10, RESPONSES).unclear, "nothing in it can name anything"


def test_a_field_of_a_form_that_only_looks_like_json_is_text() -> None:
    form = read_form(
        b"--b\r\nContent-Disposition: form-data; name=input_reference\r\n\r\n{file-1\r\n"
        b"--b\r\nContent-Disposition: form-data; name=file_id\r\n\r\nfile-2\r\n--b--\r\n",
        "multipart/form-data; boundary=b",
    )
    assert [ref.id for ref in in_form(form, ANYWHERE).refs] == ["file-2"]
