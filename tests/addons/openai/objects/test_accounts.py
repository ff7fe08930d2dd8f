"""Whose usage an answer shows: its call's own, or that of an object which others may show again."""

from __future__ import annotations

from typing import Any

import pytest

from addons.openai.objects.accounts import shown_object

BACKGROUND = {"id": "resp_1", "object": "response", "background": True, "status": "queued"}


@pytest.mark.parametrize(
    ("method", "path", "answer", "shown"),
    [
        ("GET", "/v1/responses/resp_1", {"id": "resp_1", "object": "response"}, ("response", "resp_1")),
        ("POST", "/v1/responses", {"id": "resp_1", "object": "response"}, None),
        ("GET", "/v1/models/gpt-4o", {"id": "gpt-4o"}, None),
        ("GET", "/v1/threads/thread_1/runs/run_1", {"id": "run_1"}, ("thread.run", "run_1")),
        (
            "GET",
            "/v1/threads/thread_1/runs/run_1/steps/step_1",
            {"id": "step_1"},
            ("thread.run.step", "step_1"),
        ),
        ("GET", "/v1/threads/thread_1/runs/run_1", {"no": "id"}, None),
        ("GET", "/v1/live/sessions/sess_1", {"id": "sess_1"}, ("live.session", "sess_1")),
        ("POST", "/v1/live/sessions", {"id": "sess_1", "status": "in_progress"}, None),
        ("POST", "/v1/live/sessions", {"id": "sess_1", "status": "completed"}, ("live.session", "sess_1")),
        ("GET", "/v1/live/sessions/sess_1", "no object", None),
        ("GET", "/v1/nothing/known", {"id": "x"}, None),
    ],
)
def test_whose_usage_it_is(method: str, path: str, answer: Any, shown: tuple[str, str] | None) -> None:
    found = shown_object(method, path, None, answer)
    assert (None if found is None else (found.kind, found.id)) == shown


def test_a_background_response_has_an_account_of_its_own() -> None:
    found = shown_object("POST", "/v1/responses", {"background": True}, BACKGROUND)
    assert found is not None
    assert (found.kind, found.id) == ("response", "resp_1")
