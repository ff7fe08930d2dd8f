"""Headers of ours: which are kept, how they are read, and that none stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http

from addons.flow.request_metadata import NAMED, NONE, take
from store.tokens.validation import METADATA_VALUE, header_metadata

KEY = "sk-llmp-K8c-BV2bLnE7ekDfYN-wrnJaLxgesjAo5bPOToyDE2U"


def headers(*fields: tuple[str, str | bytes]) -> http.Headers:
    return http.Headers(
        [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in fields]
    )


def test_allowed_names_are_kept_and_others_named() -> None:
    given_ = headers(
        ("Content-Type", "application/json"),
        ("X-LLMProxy-Metadata-Session-Id", " s-42 "),
        ("x-llmproxy-metadata-team", "red"),
        ("X-LLMProxy-Anything", "1"),
        ("X-Llmproxy", "not ours: the name ends too early"),
    )
    found = take(given_, {"session_id"})
    assert found.pairs == {"session_id": "s-42"}
    assert found.dropped == ("team", "x_llmproxy_anything")
    assert list(given_) == ["Content-Type", "X-Llmproxy"]


def test_nothing_to_take() -> None:
    given_ = headers(("accept", "*/*"))
    assert take(given_, {"team"}) is NONE
    assert list(given_) == ["accept"]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("X-LLMProxy-Metadata-Session-Id", True),
        ("x-llmproxy-metadata-SESSION_ID", True),
        ("X_LLMProxy_Metadata_session_id", True),
        ("X-LLMProxy-Metadata-", False),
        ("X-LLMProxy-Metadata-session-id2", False),
        ("X-LLMProxy-Session-Id", False),
        ("X-LLMProxy-x-llmproxy-metadata-session-id", False),
    ],
)
def test_names(name: str, kept: bool) -> None:
    given_ = headers((name, "v"))
    found = take(given_, {"session_id"})
    assert found.pairs == ({"session_id": "v"} if kept else {})
    assert bool(found.dropped) is not kept
    assert not given_


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("Zoë".encode(), "Zoë"),
        ("Zoë".encode("latin-1"), "Zoë"),
        (b"a\tb\x00c\x7f", "a b c"),
        (b"", None),
        (b" \t ", None),
        (f"it is {KEY}".encode(), "it is [redacted]"),
        (b"Bearer abcdefghijklmnop", "[redacted]"),
    ],
)
def test_values(value: bytes, kept: str | None) -> None:
    found = take(headers(("X-LLMProxy-Metadata-Team", value)), {"team"})
    assert found.pairs.get("team") == kept
    assert not found.dropped


def test_a_long_value_is_cut_and_says_so() -> None:
    found = take(headers(("X-LLMProxy-Metadata-Team", "é" * 600)), {"team"})
    assert found.pairs == {"team": "é" * METADATA_VALUE}
    assert found.truncated == ("request_metadata.team: its first 512 of 600 characters",)


def test_a_name_twice_is_one_value() -> None:
    found = take(
        headers(("X-LLMProxy-Metadata-Team-A", "x"), ("x-llmproxy-metadata-team_a", "y")), {"team_a"}
    )
    assert found.pairs == {"team_a": "x, y"}


def test_names_that_are_not_allowed_are_bounded_and_hold_no_key() -> None:
    many = [(f"X-LLMProxy-Metadata-N{number}", "v") for number in range(NAMED + 5)]
    assert take(headers(*many), ()).dropped[-1] == "and 5 more"
    found = take(headers((f"X-LLMProxy-Metadata-{KEY}", "v"), (f"X-LLMProxy-{'n' * 200}", "v")), ())
    assert found.dropped[0] == "[redacted]"
    assert len(found.dropped[1]) == 64


TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@given(
    fields=st.lists(
        st.tuples(
            st.sampled_from(["X-LLMProxy-", "x-llmproxy-metadata-", "X_LLMPROXY_Metadata-", "Other-"]),
            st.text(TOKEN, max_size=80),
            st.binary(max_size=600),
        ),
        max_size=20,
    ),
    allowed=st.lists(st.text("abcXYZ019-_", min_size=1, max_size=64), max_size=16),
)
def test_whatever_comes(fields: list[tuple[str, str, bytes]], allowed: list[str]) -> None:
    names = json.loads(header_metadata(allowed))
    given_ = http.Headers([((prefix + name).encode(), value) for prefix, name, value in fields])
    others = [field for field in given_.fields if field[0].startswith(b"Other-")]
    found = take(given_, names)
    assert list(given_.fields) == others
    assert found.pairs.keys() <= set(names)
    for text in found.pairs.values():
        assert 0 < len(text) <= METADATA_VALUE
        assert text.isprintable()
        json.dumps(text).encode()
    assert len(found.dropped) <= NAMED + 1
    assert not set(found.dropped) & set(names) or any(name.lower().startswith("x") for name in names)
