from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields, merged
from store.core.errors import Invalid
from store.tokens import label_limits
from store.tokens.limits import NONE
from store.tokens.limits import of as limits_of


def fields(value: Any) -> Fields:
    return Fields.of_body(json.dumps(value).encode(), ("a", "b"))


def test_an_empty_body_is_an_empty_object() -> None:
    assert "a" not in Fields.of_body(b" \n", ("a",))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b'{"c": 1}', "c: unknown; use a, b"),
    ],
)
def test_bad_bodies(body: bytes, said: str) -> None:
    with pytest.raises(ApiError, match=said) as caught:
        Fields.of_body(body, ("a", "b"))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("reader", "good", "bad"),
    [
        ("text", ["x", "", None], [1, True, [], {}]),
        ("required", ["x"], ["", None, 1]),
        ("flag", [True, False, None], [1, "true"]),
        ("required_flag", [True, False], [None, 0]),
        ("whole", [0, -1, 2**60, None], [1.0, "1", True]),
        ("object", [{}, {"x": 1}, None], ["x", []]),
        ("names", [[], ["x"], None], [["x", 1], "x", {}]),
        ("duration", ["1h", None], ["soon", 5, "1 h"]),
        ("natural", ["0", "17", None], ["-1", "x", "1.0", 5, "9" * 19]),
        ("limit", ["1", "1000", None], ["0", "1001", 5]),
        ("past", ["2h", "2027-01-31", None], ["soon", 5]),
        ("expiry", ["never", "30d", "2099-01-31", None], ["soon", 5, "2027-13-01", "999999w", "2020-01-31"]),
    ],
)
def test_readers(reader: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        getattr(fields({"a": value}), reader)("a")
    for value in bad:
        with pytest.raises(ApiError) as caught:
            getattr(fields({"a": value}), reader)("a")
        assert (caught.value.status, caught.value.param) == (400, "a")


def test_times() -> None:
    found = fields({"a": "12h", "b": "never"})
    assert found.duration("a") == timedelta(hours=12)
    assert found.expiry("b") is None
    expiry = found.expiry("a")
    assert expiry is not None
    assert timedelta(hours=11, minutes=59) < expiry - datetime.now(UTC) <= timedelta(hours=12)


def test_patches_of_pairs_and_limits() -> None:
    present = {"team": "a", "env": "test"}
    assert fields({"a": {"team": None, "x": "y"}}).pairs("a")(present) == {"env": "test", "x": "y"}
    assert fields({"a": None}).pairs("a")(present) == {}
    limits = fields({"a": {"budgets": {"usd": {"day": "5"}}, "requests_per_minute": 10}}).limits("a")(NONE)
    changed = fields({"a": {"budgets": {"usd": {"month": "50"}}, "requests_per_minute": None}}).limits("a")
    assert changed(limits).as_dict() == {"budgets": {"usd": {"day": "5", "month": "50"}}}
    assert fields({"a": None}).limits("a")(limits) == NONE


def test_patches_of_limits_of_labels() -> None:
    given = {"team": {"requests_per_minute": 10}, "app": {"budgets": {"usd": {"day": "5"}}}}
    present = fields({"a": given}).label_limits("a")({})
    assert label_limits.as_dict(present) == given
    patch = {"team": None, "app": {"budgets": {"usd": {"month": "50"}}, "max_concurrent": 2}}
    changed = fields({"a": patch}).label_limits("a")(present)
    assert label_limits.as_dict(changed) == {
        "app": {"budgets": {"usd": {"day": "5", "month": "50"}}, "max_concurrent": 2}
    }
    assert fields({"a": None}).label_limits("a")(present) == {}
    with pytest.raises(Invalid, match="write its limits as an object"):
        fields({"a": {"team": 5}}).label_limits("a")(present)


def test_a_project_that_has_ended_gets_other_limits_but_no_other_end_in_the_past() -> None:
    ended = limits_of({"expires_at": "2020-01-31T00:00:00Z"})
    changed = fields({"a": {"requests_per_minute": 10}}).limits("a")(ended)
    assert (changed.requests_per_minute, changed.expires_at) == (10, ended.expires_at)
    with pytest.raises(ApiError, match="in the past"):
        fields({"a": {"expires_at": "2020-02-01"}}).limits("a")


REFERENCES = ["env:SEARCH_KEY", "file:/run/secrets/openai", "aws-sm:prod/openai", "aws-ssm:/prod/openai"]


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_is_taken_only_where_an_option_allows_it(reference: str) -> None:
    found = fields({"a": reference})
    for globs in ([], ["env:OTHER_*", "file:/etc/*", "aws-sm:test/*", "aws-ssm:/test/*"]):
        with pytest.raises(ApiError, match="llm_management_keys") as caught:
            found.api_key("a", globs)
        assert (caught.value.status, caught.value.param) == (400, "a")
        assert reference not in caught.value.message
    allowed = ["env:*_KEY", "file:/run/secrets/*", "aws-sm:prod/*", "aws-ssm:/prod/*"]
    assert found.api_key("a", allowed) == reference


def test_no_path_leads_out_of_a_folder_that_is_allowed() -> None:
    found = fields({"a": "file:/run/secrets/../../etc/shadow"})
    with pytest.raises(ApiError):
        found.api_key("a", ["file:/run/secrets/*"])


def test_a_key_itself_needs_no_option() -> None:
    assert fields({"a": "sk-real"}).api_key("a", []) == "sk-real"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text("ab", max_size=2), json_values, max_size=3)


@given(present=objects, patch=objects)
def test_merge_patch(present: dict[str, Any], patch: dict[str, Any]) -> None:
    """By the definition in RFC 7396, section 2."""

    def rfc(target: Any, patch: Any) -> Any:
        if not isinstance(patch, dict):
            return patch
        result = dict(target) if isinstance(target, dict) else {}
        for name, value in patch.items():
            if value is None:
                result.pop(name, None)
            else:
                result[name] = rfc(result.get(name), value)
        return result

    before = json.dumps(present)
    assert merged(present, patch) == rfc(present, patch)
    assert json.dumps(present) == before
