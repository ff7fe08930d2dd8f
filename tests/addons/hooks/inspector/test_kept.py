from __future__ import annotations

from collections.abc import Iterator

import pytest
from mitmproxy import http
from mitmproxy.addons.view import View
from mitmproxy.test import taddons, tflow

from addons.flow import flow_metadata
from addons.hooks.inspector.figures import REFUSED
from addons.hooks.inspector.kept import Kept


@pytest.fixture
def view() -> Iterator[View]:
    view = View()
    with taddons.context(view):  # type: ignore[no-untyped-call]
        yield view


def begin(view: View, number: int) -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.request.timestamp_start = flow.timestamp_created = float(number)
    view.add([flow])
    return flow


def test_the_oldest_finished_flows_go(view: View) -> None:
    kept = Kept(view)
    flows = [begin(view, number) for number in range(10)]
    for flow in flows:
        kept.finished(flow, 4)
        flow.live = False
    assert [flow for flow in flows if view.get_by_id(flow.id)] == flows[6:]


def test_zero_keeps_all(view: View) -> None:
    kept = Kept(view)
    for number in range(5):
        kept.finished(begin(view, number), 0)
    assert view.store_count() == 5


def test_live_flows_stay_until_they_are_over(view: View) -> None:
    kept = Kept(view)
    flows = [begin(view, number) for number in range(3)]
    for flow in flows:
        kept.finished(flow, 1)
    assert view.store_count() == 3
    assert not any(flow.error for flow in flows), "none was killed"
    for flow in flows:
        flow.live = False
    kept.finished(begin(view, 4), 1)
    assert view.store_count() == 1


def test_a_users_mark_protects_and_ours_does_not(view: View) -> None:
    kept = Kept(view)
    theirs, refused, again = (begin(view, number) for number in range(3))
    theirs.marked = ":star:"
    refused.marked = refused.metadata[flow_metadata.MARK] = REFUSED
    again.marked, again.metadata[flow_metadata.MARK] = ":star:", REFUSED
    for flow in (theirs, refused, again):
        flow.live = False
        kept.finished(flow, 1)
    for number in range(3, 9):
        flow = begin(view, number)
        kept.finished(flow, 1)
        flow.live = False
    assert view.get_by_id(theirs.id)
    assert view.get_by_id(again.id)
    assert not view.get_by_id(refused.id)
    assert view.store_count() == 3, "marked ones do not take the place of others"
    theirs.marked = ""
    for number in range(9, 12):
        flow = begin(view, number)
        kept.finished(flow, 1)
        flow.live = False
    assert not view.get_by_id(theirs.id)
    assert view.store_count() == 2


def test_flows_that_somebody_deleted_are_no_hindrance(view: View) -> None:
    kept = Kept(view)
    flows = [begin(view, number) for number in range(6)]
    for flow in flows:
        flow.live = False
    view.clear()
    for flow in flows:
        kept.finished(flow, 2)
    assert view.store_count() == 0
