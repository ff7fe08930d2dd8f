"""Limits of labels, and top-ups of one user's, address's or label's budget, over HTTP."""

from __future__ import annotations

from tests.addons.management_api.conftest import Served, body

KEY = "sk-real-0123456789abcdef"
TEAM = {"team": {"budgets": {"usd": {"day": "5"}}, "requests_per_minute": 60}}


def test_they_are_made_changed_and_removed(served: Served) -> None:
    made = served.post("/projects", 201, name="acme", api_key=KEY, label_limits=TEAM)
    assert made["label_limits"] == TEAM
    patch = {"label_limits": {"team": {"requests_per_minute": None}, "app": {"max_concurrent": 2}}}
    changed = body(served.client.patch("/projects/acme", json=patch))
    assert changed["label_limits"] == {
        "team": {"budgets": {"usd": {"day": "5"}}},
        "app": {"max_concurrent": 2},
    }
    changed = body(served.client.patch("/projects/acme", json={"label_limits": {"team": None}}))
    assert changed["label_limits"] == {"app": {"max_concurrent": 2}}
    for given in (
        {"a": {"models": ["x"]}},
        {"a/b": TEAM["team"]},
        {"a": 5},
        {"a": {"budgets": {"usd": {"total": "5"}}}},
    ):
        refused = served.client.patch("/projects/acme", json={"label_limits": given})
        assert refused.status_code == 400, refused.text
    token = served.post("/tokens", 201, project_id="acme", metadata={"app": "x"}, label_limits=TEAM)
    assert token["label_limits"] == TEAM
    use = served.get(f"/tokens/{token['id']}")["use"]
    assert [(row["side"], row["name"], row["limit"]) for row in use] == [
        ("label", "app=x", "max_concurrent"),
        ("label", "team=(none)", "requests_per_minute"),
        ("label", "team=(none)", "usd/day"),
    ]


def test_budgets_of_users_and_labels_are_topped_up(served: Served) -> None:
    daily = {"budgets": {"usd": {"day": "2"}}}
    served.post("/projects", 201, name="acme", api_key=KEY, label_limits=TEAM, user_limits=daily)
    token = served.post("/tokens", 201, project_id="acme", label_limits=TEAM)
    for path, named, allowed in (
        ("/projects/acme/topup", {"user": "ada"}, "3"),
        ("/projects/acme/topup", {"label": "team=a"}, "6"),
        (f"/tokens/{token['id']}/topup", {"label": "team=a"}, "6"),
    ):
        found = served.post(path, 201, amount="1usd/day", **named)
        assert named.items() <= found.items()
        (use,) = [row for row in found["use"] if row["limit"] == "usd/day"]
        assert (use["allowed"], use["name"]) == (allowed, next(iter(named.values())))
    for path, named, status in (
        ("/projects/acme/topup", {"user": "ada", "label": "team=a"}, 400),
        ("/projects/acme/topup", {"label": "team"}, 400),
        ("/projects/acme/topup", {"address": "192.0.2.7"}, 409),
        (f"/tokens/{token['id']}/topup", {"user": "ada"}, 400),
        ("/projects/other/topup", {"user": "ada"}, 404),
    ):
        served.post(path, status, amount="1usd/day", **named)


def test_explain_takes_what_headers_say(served: Served) -> None:
    served.post("/projects", 201, name="acme", api_key=KEY)
    token = served.post("/tokens", 201, project_id="acme", label_limits=TEAM, header_metadata=["team"])
    asked = {"token_id": token["id"], "model": "gpt-4o-mini", "request_metadata": {"team": "a"}}
    answer = served.post("/explain", **asked)
    assert {row["name"] for row in answer["limits"]} == {"team=a"}
    served.post("/explain", 400, token_id=token["id"], request_metadata={"team": 5})
