"""What of a request decides what becomes of its answer."""

from __future__ import annotations

from typing import Any

import pytest

from addons.openai.objects.switches import switches

WINDOW = {"completion_window": "8h"}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"background": True, "store": False, "input": "x"}, {"background": True, "store": False}),
        ({"store": "true", "background": None}, {}),
        ({"service_tier": "flex", "background_options": {**WINDOW, "x": 1}}, None),
        ({"service_tier": "no tier", "background_options": {"completion_window": 8}}, {}),
        ({"service_tier": "x" * 41, "background_options": []}, {}),
        ({"audio": {"voice": "alloy"}}, {"audio": True}),
        ({"modalities": ["text", "audio"]}, {"audio": True}),
        ({"modalities": "audio", "audio": None, "messages": [{"audio": {"id": "a"}}]}, {}),
        (None, {}),
        ([], {}),
    ],
)
def test_only_members_of_the_request_itself_count(value: Any, found: dict[str, Any] | None) -> None:
    wanted = {"service_tier": "flex", "background_options": WINDOW} if found is None else found
    assert switches(value) == wanted
