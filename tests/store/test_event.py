"""Records as types: nothing that another version wrote, or a disk changed, stops who reads them."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.tokens import Count
from addons.openai.usage import usage as usages
from addons.openai.usage.missing import CODES
from scripts import event_docs
from store.core.codes import Outcome, UsageMissing
from store.core.event import SESSION_TYPE, USAGE_TYPE, Cost, SessionRecord, Usage, UsageEvent
from store.core.event_fields import read_call, read_record, to_fields
from store.ledger.finished import finished_of
from store.spool.segment import encode_object, parse
from tests import golden

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
FIELDS = [field.name for field in msgspec.structs.fields(UsageEvent) if field.name != "type"]
LINES = golden.EVENTS.read_bytes().splitlines()


@pytest.mark.parametrize("line", LINES, ids=[json.loads(line)["event_id"] for line in LINES])
def test_what_is_read_is_written_again(line: bytes) -> None:
    fields = parse(line)
    assert fields is not None
    kind = {each().type: each for each in event_docs.RECORDS}[fields["type"]]
    if fields["event_id"].startswith("died"):
        return  # it has what another version said of it
    assert encode_object(read_record(fields, kind)) == line


def test_every_line_is_by_the_schema() -> None:
    validator = jsonschema.Draft202012Validator(event_docs.schema())
    for line in LINES:
        validator.validate(json.loads(line))
    event = json.loads(LINES[0])
    for wrong in ({**event, "usage": 5}, {**event, "type": "other"}, {**event, "outcome": "fine"}):
        assert not validator.is_valid(wrong)
    del event["cost"]
    assert not validator.is_valid(event)


def test_another_version_may_say_more_and_other_things() -> None:
    read = read_record(
        {
            "outcome": "paused",
            "usage": {"input_tokens": 5, "output_tokens": "many", "moods": 3, "source": "guess"},
            "cost": {"usd": 0.5, "reason": "lower_bound"},
            "user": "ann",
            "finish_reasons": ["stop", 5],
            "status": True,
            "writer": 7,
            "a_new_field": {"x": 1},
        },
        UsageEvent,
    )
    assert (read.outcome, str(read.outcome)) == ("paused", "paused")
    assert read.usage is not None
    assert (read.usage.input_tokens, read.usage.output_tokens, read.usage.source) == (5, None, "guess")
    assert read.cost == Cost(reason="lower_bound")
    assert (read.user, read.finish_reasons, read.status, read.writer) == (None, [], None, msgspec.UNSET)


def test_codes_of_this_version_are_themselves() -> None:
    read = read_record({"outcome": "refused", "usage_missing_code": "cut"}, UsageEvent)
    assert read.outcome is Outcome.REFUSED
    assert read.usage_missing_code is UsageMissing.CUT


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.sampled_from([USAGE_TYPE, SESSION_TYPE]))
def test_anything_can_be_read_and_charged(fields: dict[str, Any], kind: str) -> None:
    read = read_call({**fields, "type": kind})
    assert isinstance(read, UsageEvent | SessionRecord)
    finished = finished_of(read)
    assert finished.request == (kind == USAGE_TYPE)
    assert isinstance(parse(encode_object(read)), dict)


@pytest.mark.parametrize("kind", ["llm_proxy_writer", "llm_proxy_open", "of_a_newer_version", None, 5, []])
def test_what_is_no_call_is_read_as_none(kind: object) -> None:
    assert read_call({"type": kind}) is None
    assert read_call({}) is None


def test_the_codes_are_those_of_the_api_part() -> None:
    """That part imports nothing of ours, and so has them as text; of a proxy that died it can't know."""
    assert {str(code) for code in UsageMissing} == {*CODES, "proxy_died", "not_sent", "cached"}


def test_whatever_is_told_of_a_usage_has_its_field() -> None:
    whole = usages.Usage(
        1, 2, 3, {}, {}, 1.5, 5, 1, "1x1", "hd", {"x": 1}, {"y": 2}, "api", ["cut"], ["audio"], True
    )
    counted = Count(1, 2, ["cut"], ["input_tokens"], ["images"])
    assert all(getattr(whole, field.name) for field in fields(whole) if "details" not in field.name)
    for found in (whole, counted):
        assert to_fields(Usage(**found.as_dict())) == found.as_dict()
