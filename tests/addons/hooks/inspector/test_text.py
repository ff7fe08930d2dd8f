from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.hooks.inspector.text import LONGEST, media, plain, pretty, pretty_arguments, shortened

PICTURE = base64.b64encode(bytes(range(256)) * 30).decode()


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("image", f"data:image/webp;base64,{PICTURE}", "[image/webp, 7,680 bytes]"),
        ("audio wav", PICTURE, "[audio wav, 7,680 bytes]"),
        ("audio", {"bytes": 1234}, "[audio, 1,234 bytes]"),
        ("image", "https://example.com/a.png", "[image] https://example.com/a.png"),
        ("image", None, "[image]"),
    ],
)
def test_media_is_shown_as_size_and_type(kind: str, data: object, shown: str) -> None:
    assert media(kind, data) == shown


@pytest.mark.parametrize(
    "value",
    [
        {"unknown": {"deep": [{"payload": PICTURE}]}},
        {"url": f"data:image/png;base64,{PICTURE}"},
        {"type": "response.output_audio.delta", "delta": "UklGRiQAAABXQVZF"},
        {"type": "input_audio_buffer.append", "audio": "UklGRiQAAABXQVZF"},
    ],
)
def test_base64_is_shown_nowhere(value: Any) -> None:
    shown = pretty(value)
    assert PICTURE[:40] not in shown
    assert "UklGR" not in shown
    assert " bytes]" in shown


def test_prose_without_spaces_is_no_base64() -> None:
    path = "/".join(["home"] * 200)
    assert plain({"path": path, "text": "word " * 200}) == {"path": path, "text": "word " * 200}


def test_long_values_keep_their_ends_and_name_what_is_left_out() -> None:
    long = "a" + "ü " * LONGEST + "z"
    shown = plain({"text": long})["text"]
    assert shown.startswith("aü")
    assert shown.endswith(" z")
    assert f"{len(long) - LONGEST:,} characters are not shown" in shown
    assert plain(list(range(100))) == "[100 numbers]"
    assert plain(["x"] * 201)[-1] == "[1 more are not shown here]"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_json_holds_can_be_shown(value: Any) -> None:
    assert isinstance(pretty(value), str)


def test_depth_is_bounded() -> None:
    value: Any = "core"
    for _ in range(900):
        value = [value]
    assert "nested too deeply" in pretty(value)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ('{"city":"Köln"}', '{\n  "city": "Köln"\n}'),
        ('{"city":', '{"city":'),
        ("SELECT 1", "SELECT 1"),
        ({"a": 1}, '{\n  "a": 1\n}'),
    ],
)
def test_arguments_are_pretty_where_they_are_json(arguments: object, shown: str) -> None:
    assert pretty_arguments(arguments) == shown


def test_short_text_stays() -> None:
    assert shortened("x" * LONGEST) == "x" * LONGEST
    assert json.loads(pretty({"a": [1, 2]})) == {"a": [1, 2]}
