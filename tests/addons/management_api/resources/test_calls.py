"""The latest calls over HTTP, from the store of all proxies or from the spool of this one."""

from __future__ import annotations

import time
from typing import Any

import pytest

from store.usage.recent_calls import Bounds
from tests.addons.management_api.conftest import Served
from tests.addons.management_api.test_reading import event

PLACES = pytest.mark.parametrize(
    "served", [{}, {"recent_calls": Bounds(calls=0)}], indirect=True, ids=["store", "spool"]
)


@PLACES
def test_the_latest_calls_come_in_pages_without_their_content(served: Served) -> None:
    served.write(*(event(number) for number in range(10)), {"type": "llm_proxy_writer"})
    served.write(event(10), event(11), segment="w2.host.2.000001.jsonl")
    first = served.get("/calls", limit=5)
    assert [one["event_id"] for one in first["data"]] == ["e011", "e010", "e009", "e008", "e007"]
    assert "request" not in first["data"][0]
    assert "response" not in first["data"][0]
    assert first["whole"] is True
    found, after = list(first["data"]), first["next"]
    while after:
        page = served.get("/calls", limit=5, after=after)
        found += page["data"]
        after = page["next"]
    assert [one["event_id"] for one in found] == [f"e{number:03}" for number in range(11, -1, -1)]
    served.write(event(12), segment="w2.host.2.000001.jsonl")
    newer = served.get("/calls", behind=first["newest"])
    shown = {one["event_id"] for one in found}  # the last seconds may be told again
    assert [one["event_id"] for one in newer["data"] if one["event_id"] not in shown] == ["e012"]


@PLACES
def test_calls_are_filtered(served: Served) -> None:
    acme = served.store.create_project("acme", "sk-real-12345678")
    served.write(
        event(1, project_id=acme.id, user={"id": "ada"}, session={"id": "s1"}),
        event(2, outcome="refused", status=401, error={"code": "invalid_api_key", "message": "no"}),
        event(3, outcome="http_error", status=400, error={"code": "bad", "message": "your prompt was ..."}),
    )

    def ids(**params: Any) -> list[str]:
        return [one["event_id"] for one in served.get("/calls", **params)["data"]]

    assert ids(project_id="acme") == ids(user="ada") == ids(session="s1") == ["e001"]
    assert ids(status="401") == ids(outcome="refused") == ids(request_id="r002") == ["e002"]
    assert ids(since="2026-03-29T16:00:02Z", until="2026-03-29T16:00:03Z") == ["e002"]
    assert ids(model="other") == []
    errors = {one["event_id"]: one["error"]["message"] for one in served.get("/calls")["data"][:2]}
    assert errors == {"e003": None, "e002": "no"}, "what the API said may quote a prompt"
    served.get("/calls", 400, after="x")
    served.get("/calls", 404, project_id="none")


@PLACES
def test_one_call_by_either_id(served: Served) -> None:
    served.write(event(1), event(2))
    for name in ("e001", "r001"):
        found = served.get(f"/calls/{name}")
        assert (found["event_id"], "response" in found) == ("e001", False)
    assert served.get("/calls/e001", content="true")["response"] == {"body": "an answer"}
    assert served.get("/calls/gpt-4o", 404)["error"]["code"] == "not_found"


@pytest.mark.parametrize("served", [{"recent_calls": Bounds(calls=0)}], indirect=True, ids=["spool"])
def test_of_a_large_spool_only_the_end_is_read(served: Served) -> None:
    """Forty million bytes of events; an answer that no filter cuts short comes from the last of them."""
    served.write(*(event(number, response={"body": "x" * 400_000}) for number in range(50)))
    began = time.monotonic()
    assert len(served.get("/calls", limit=3)["data"]) == 3
    found = served.get("/calls", limit=3, model="none")
    assert (found["data"], found["whole"], found["next"]) == ([], True, None)
    assert time.monotonic() - began < 10


def test_a_call_of_another_machine_is_shown_without_what_it_said(served: Served) -> None:
    served.record(event(1, session={"id": "s1"}))
    served.write(event(2))
    assert [one["event_id"] for one in served.get("/calls")["data"]] == ["e002", "e001"]
    away, here = (served.get(f"/calls/e00{number}", content="true") for number in (1, 2))
    assert (away["session"], "response" in away, "response" in here) == ({"id": "s1"}, False, True)
