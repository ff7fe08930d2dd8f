"""What is read over HTTP: usage, budgets, calls."""

from __future__ import annotations

import csv
import io
import time
from typing import Any

import pytest

from store.tokens import limits
from store.usage.rollups import FIGURES, KEY, Line, RollUps
from tests.addons.management_api.conftest import Served, body
from tests.cases import PRICED
from tests.store.engines import add_row

HOUR = 493_000
"""2026-03-29T16:00Z"""
DAY = {"since": "2026-03-29", "until": "2026-03-30"}


def use(served: Served, hour: int, usd: int, **key: str) -> None:
    names = dict.fromkeys(KEY[1:], "") | key
    amounts = dict.fromkeys(FIGURES, 0) | {"calls": 1, "nano_usd": usd * 10**9}
    with served.store.connection.transaction():
        line = Line((hour, *(names[name] for name in KEY[1:])), amounts)  # type: ignore[arg-type]
        RollUps().add(served.store.connection, [line])


def event(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": "llm_proxy_usage",
        "event_id": f"e{number:03}",
        "request_id": f"r{number:03}",
        "timestamp": f"2026-03-29T16:00:{number % 60:02}.000Z",
        "outcome": "ok",
        "status": 200,
        "model": "gpt-4o",
        "endpoint": "chat",
        "request": {"body": {"messages": "a prompt"}},
        "response": {"body": "an answer"},
        **fields,
    }


def test_usage(served: Served) -> None:
    acme = served.store.create_project("acme", "sk-real-12345678")
    use(served, HOUR, usd=3, project_id=acme.id, model="a")
    use(served, HOUR - 24, usd=1, project_id=acme.id, model="b")
    found = served.get("/usage", **DAY)
    assert [(row["project"], row["project_name"], row["usd"]) for row in found["data"]] == [
        (acme.id, "acme", "3")
    ]
    assert found["data"][0].keys() == {"project", "project_name", "rest", *found["total"]}
    both = served.get("/usage", by="day,model", tz="Europe/Berlin", project_id="acme", **DAY, compare="true")
    assert [(row["day"], row["model"]) for row in both["data"]] == [("2026-03-29", "a")]
    assert (both["before"]["total"]["usd"], both["since"]) == ("1", "2026-03-28T23:00:00.000Z")
    assert served.get("/usage", by="", project_id="acme")["total"]["usd"] == "4"
    text = served.client.get("/usage", params={"by": "model", "format": "csv", "compare": "true", **DAY})
    assert text.headers["content-type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(text.text))
    assert (row["model"], row["rest"], row["usd"], row["before_usd"]) == ("a", "false", "3", "0")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"by": "colour"}, "'colour'"),
        ({"by": "label:"}, "label:NAME"),
        ({"tz": "Mars/Olympus"}, "time zone"),
        ({"tz": "../../etc/passwd"}, "time zone"),
        ({"compare": "true"}, "since when"),
        ({"compare": "maybe"}, "true"),
        ({"format": "xml"}, "json or csv"),
        ({"top": "0"}, "1 to 1000"),
        ({"since": "soon"}, "since"),
        ({"colour": "x"}, "unknown"),
    ],
)
def test_what_usage_does_not_take(served: Served, params: dict[str, str], said: str) -> None:
    assert said in served.get("/usage", 400, **params)["error"]["message"]
    assert served.get("/usage", 404, project_id="none")


def test_budgets_come_in_pages(served: Served) -> None:
    daily = limits.of({"budgets": {"usd": {"day": "5"}}})
    served.store.create_project("acme", "sk-real-12345678", limits=daily)
    ids = [served.store.create_token("acme", limits=daily)[0].id for _ in range(3)]
    first = served.get("/budgets", limit=3)
    rest = served.get("/budgets", limit=3, after=first["next"])
    assert (len(first["data"]), rest["next"]) == (3, None)
    assert {row["token"] for row in first["data"] + rest["data"]} == {None, *ids}
    assert (rest["data"][0]["left"], rest["data"][0]["project_name"]) == ("5", "acme")
    assert served.get("/budgets", project_id="acme")["data"]
    served.get("/budgets", 404, project_id="none")


def test_csv_is_no_formula(served: Served) -> None:
    use(served, HOUR, usd=1, model="=1+1")
    text = served.client.get("/usage", params={"by": "model", "format": "csv", **DAY}).text
    assert "'=1+1" in text
    assert body(served.client.get("/usage", params={"by": "model", **DAY}))["data"][0]["model"] == "=1+1"


def test_a_cost_is_worked_out_line_by_line(served: Served) -> None:
    usage = {
        "input_tokens": 2_000_000,
        "output_tokens": 1000,
        "input_tokens_details": {"cached_tokens": 1_000_000},
        "source": "api",
    }
    served.write(event(1, usage=usage, host="api.openai.com", path="/v1/chat/completions"), event(2))
    bill = served.get("/calls/e001")["bill"]
    assert bill["usd"] == "3.76"
    assert bill["lines"] == [
        {"what": "input", "per": 1_000_000, "count": "1000000", "rate": "2.5", "usd": "2.5"},
        {"what": "cached input", "per": 1_000_000, "count": "1000000", "rate": "1.25", "usd": "1.25"},
        {"what": "output", "per": 1_000_000, "count": "1000", "rate": "10", "usd": "0.01"},
    ]
    assert served.get("/calls/e002")["bill"] is None


def test_prices(served: Served) -> None:
    use(served, int(time.time()) // 3600, usd=1, model="gpt-4o")
    use(served, int(time.time()) // 3600, usd=1, model="ours")
    found = served.get("/prices")
    assert (found["list"], found["own"]) == (None, None)
    assert [(row["model"], row["state"], row["calls"]) for row in found["data"]] == [
        ("gpt-4o", "priced", 1),
        ("ours", "model_unknown", 1),
    ]
    assert found["data"][0]["rates"]["input_mtok"] == "2.5"
    (one,) = served.get("/prices", model="gpt-4o-mini", tier="batch")["data"]
    assert one["calls"] == 0
    if PRICED:
        assert one["rates"]["output_mtok"] == "0.3"


def test_explain(served: Served) -> None:
    served.store.create_project("acme", "sk-real-12345678")
    only = limits.of({"models": ["gpt-5*"]})
    token = served.store.create_token("acme", limits=only)[0]
    refused = served.post("/explain", token_id=token.id, model="gpt-4o")
    assert (refused["allowed"], refused["refusal"]["code"]) == (False, "model_not_found")
    assert served.post("/explain", token_id=token.id, model="gpt-5")["allowed"] is True
    for fields in ({}, {"token_id": token.id, "endpoint": "nothing"}, {"token_id": token.id, "client": "x"}):
        served.post("/explain", 400, **fields)
    served.post("/explain", 404, token_id="none")


def test_health(served: Served) -> None:
    found = served.get("/health")
    assert found.keys() == {"incidents", "proxies", "totals", "spool", "other_spools"}
    (served.spool / "dispatchers").mkdir()
    (served.spool / "dispatchers" / "file.json").write_text('{"error": "no such host"}')
    (served.spool / "cursors").mkdir()
    (served.spool / "cursors" / "file.json").write_text("{}")
    assert [one["what"] for one in served.get("/health")["incidents"]] == ["dispatcher"]


def test_pages_of_tokens_go_on_behind_damaged_ones(served: Served) -> None:
    """A list that ended at one would hide all that come after it."""
    acme = served.store.create_project("acme", "sk-real-12345678")
    limited = limits.of({"budgets": {"usd": {"day": "5"}}})
    made = [served.store.create_token(acme.id, limits=limited)[0].id for _ in range(6)]
    for damaged in (made[1], made[2]):
        served.store.connection.run("UPDATE tokens SET limits = 'not json' WHERE id = :id", id=damaged)
    seen: list[str] = []
    after = ""
    while after is not None:
        page = served.get("/tokens", limit=2, after=after)
        seen += [token["id"] for token in page["data"]]
        after = page["next"]
    whole = [made[0], *made[3:]]
    assert seen == whole
    assert [row["token"] for row in served.get("/budgets")["data"]] == whole


def test_a_session_of_an_agent(served: Served) -> None:
    acme = served.store.create_project("acme", "sk-real-12345678")
    token, _ = served.store.create_token(acme.id)
    for number, thread in ((1, "root"), (2, "child"), (3, "root")):
        place = {"id": "s1", "thread": thread, "source": "user" if thread == "root" else "subagent"}
        served.write(event(number, token_id=token.id, session=place, cost={"usd": "0.5"}))
    served.write(event(4, token_id=token.id, session={"id": "s2"}), event(5, session={"id": "s1"}))
    found = served.get(f"/sessions/{token.id}%2Fs1")
    assert (found["id"], found["session"], found["token"]) == (f"{token.id}/s1", "s1", token.id)
    assert found["total"] is None, "no call of it is counted"
    assert [call["event_id"] for call in found["calls"]] == ["e001", "e002", "e003"]
    assert [(one["thread"], one["calls"], one["usd"]) for one in found["threads"]] == [
        ("root", 2, "1.0"),
        ("child", 1, "0.5"),
    ]
    assert (found["usd"], found["calls_read"], found["whole"], found["use"]) == ("1.5", 3, True, [])
    assert served.get("/sessions/none%2Fs1", 404)
    assert served.get("/sessions/s1", 404), "nothing is counted of a session of this name"


def test_calls_of_a_session_on_other_machines_are_among_its_calls(served: Served) -> None:
    token, _ = served.store.create_token(served.store.create_project("acme", "sk-real-12345678").id)
    mine = {"token_id": token.id, "session": {"id": "s1"}, "cost": {"usd": "0.5"}}
    served.write(event(1, **mine), event(4, **mine))
    served.record(*(event(number, **mine) for number in (1, 2, 3, 5)))
    served.record(event(6, session={"id": "s1"}), event(7, **mine | {"session": {"id": "s2"}}))
    found = served.get(f"/sessions/{token.id}%2Fs1")
    assert [call["event_id"] for call in found["calls"]] == ["e001", "e002", "e003", "e004", "e005"]
    assert (found["usd"], found["whole"]) == ("2.5", True)


def test_calls_that_name_no_session_are_one_of_their_token(served: Served) -> None:
    token, _ = served.store.create_token(served.store.create_project("acme", "sk-real-12345678").id)
    served.write(event(1, token_id=token.id), event(2, token_id=token.id, session={"id": "s"}), event(3))
    found = served.get(f"/sessions/{token.id}")
    assert (found["id"], found["session"]) == (token.id, "")
    assert [call["event_id"] for call in found["calls"]] == ["e001"]


def count_session(served: Served, project: str, token: str, name: str, at: int, **figures: int) -> None:
    key = {"project_id": project, "token_id": token, "name": name}
    amounts = dict.fromkeys(("calls", "refused", "failed", "tokens", "nano_usd"), 0) | figures
    add_row(served.store.connection, "sessions", key, {"first_at": at - 60, "last_at": at, **amounts})


def test_sessions_in_pages(served: Served) -> None:
    acme, other = (served.store.create_project(name, "sk-real-12345678") for name in ("acme", "other"))
    one, two = (served.store.create_token(project.id)[0] for project in (acme, other))
    for number in range(5):
        count_session(
            served, acme.id, one.id, f"s{number}", 1_774_800_000 + number // 2, calls=3, nano_usd=10**8
        )
    count_session(served, acme.id, one.id, "a, b/c", 1_774_800_000, calls=1)
    count_session(served, other.id, two.id, "s0", 1_774_800_000, calls=7, refused=1, tokens=9)
    whole = served.get("/sessions")
    assert (len(whole["data"]), whole["next"]) == (7, None)
    (row,) = served.get("/sessions", project_id="other")["data"]
    assert row == {
        "id": f"{two.id}/s0",
        "session": "s0",
        "project": other.id,
        "project_name": "other",
        "token": two.id,
        "token_name": None,
        "first_at": "2026-03-29T15:59:00.000Z",
        "last_at": "2026-03-29T16:00:00.000Z",
        "calls": 7,
        "refused": 1,
        "failed": 0,
        "tokens": 9,
        "usd": "0",
    }
    seen: list[dict[str, Any]] = []
    asked: dict[str, Any] = {"limit": 2}
    while True:
        page = served.get("/sessions", **asked)
        seen += page["data"]
        if page["next"] is None:
            break
        asked["after"] = page["next"]
    assert seen == whole["data"]
    assert [row["last_at"] for row in seen] == sorted((row["last_at"] for row in seen), reverse=True)
    assert [row["token"] for row in served.get("/sessions", session="s0")["data"]] == sorted([one.id, two.id])
    assert len(served.get("/sessions", token_id=one.id)["data"]) == 6
    assert [row["session"] for row in served.get("/sessions", since="2026-03-29T16:00:02Z")["data"]] == ["s4"]
    assert len(served.get("/sessions", until="2026-03-29T16:00:01Z")["data"]) == 4
    assert served.get("/sessions/s1")["total"]["usd"] == "0.1"
    assert "there are several" in served.get("/sessions/s0", 409)["error"]["message"]
    for bad in ({"after": "x"}, {"after": "1"}, {"limit": 0}, {"of": "x"}, {"since": "soon"}):
        assert served.get("/sessions", 400, **bad)["error"]["code"] == "invalid_value"
