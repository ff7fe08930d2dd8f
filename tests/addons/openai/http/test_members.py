from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.http.members import last, members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(
    value=st.dictionaries(st.text(max_size=5), VALUES, max_size=6),
    indent=st.sampled_from([None, 0, 2]),
    escaped=st.booleans(),
)
def test_members_are_those_of_json_and_stand_where_they_say(
    value: dict[str, object], indent: int | None, escaped: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    found = members(f" \n{text}\t")
    assert {member.key: member.value for member in found} == value
    for member in found:
        assert json.loads("{" + f" \n{text}"[member.start : member.end] + "}") == {member.key: member.value}


def test_of_a_repeated_key_the_last_counts() -> None:
    found = members('{"a":1,"\\u0061":2}')
    assert [member.value for member in found] == [1, 2]
    counting = last(found, "a")
    assert counting is not None
    assert counting.value == 2
    assert last(found, "b") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "{}x",
        '{"a"}',
        '{"a":1,}',
        "{a:1}",
        '{"a":1 "b":2}',
        '{"a":NaN}',
        "{,}",
        '{"a":1}{}',
        "null",
    ],
)
def test_what_is_not_one_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        members(text)


def test_deep_nesting_is_no_crash() -> None:
    with pytest.raises(RecursionError):
        members('{"a":' + "[" * 200_000)
