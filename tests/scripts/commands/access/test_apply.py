"""``llmproxy apply`` makes what a file declares, once; ``export`` writes such a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from scripts.cli import main

DECLARED = """
projects:
  - name: search
    api_key: env:SEARCH_KEY
    limits: {budgets: {usd: {month: "50"}}, requests_per_minute: 600}
    label_limits: {team: {budgets: {usd: {day: "5"}}}}
    metadata: {dept: r-and-d}
    tokens:
      - name: ranking
        metadata: {team: ranking}
        expires_at: "2999-01-01"
      - name: eval
        max_requests: 100
  - name: ads
    api_key: env:ADS_KEY
    active: false
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEARCH_KEY", "sk-real-search-00000000")
    monkeypatch.setenv("ADS_KEY", "sk-real-ads-00000000")
    (tmp_path / "declared.yaml").write_text(DECLARED)
    return tmp_path


def invoke(place: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--store", str(place / "store.db"), *arguments])


def apply(place: Path, *arguments: str, text: str = DECLARED) -> list[dict[str, Any]]:
    (place / "declared.yaml").write_text(text)
    done = invoke(place, "apply", "-f", str(place / "declared.yaml"), "--json", *arguments)
    assert done.exit_code == 0, done.output
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def outline(rows: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    return [(row["action"], row["project"], row["token"]) for row in rows]


def listed(place: Path, *what: str) -> Any:
    return json.loads(invoke(place, *what, "--json").stdout)


def test_it_is_made_and_then_nothing_differs(place: Path) -> None:
    rows = apply(place)
    assert outline(rows) == [
        ("create", "search", None),
        ("create", "search", "ranking"),
        ("create", "search", "eval"),
        ("create", "ads", None),
        ("deactivate", "ads", None),
    ]
    texts = [row["text"] for row in rows if row["text"]]
    assert [text.startswith("sk-llmp-") for text in texts] == [True, True]
    project = listed(place, "project", "show", "search")
    assert project["limits"]["budgets"] == {"usd": {"month": "50"}}
    assert listed(place, "token", "show", "eval")["max_requests"] == 100
    assert listed(place, "project", "show", "ads")["active"] is False
    assert apply(place) == []


def test_what_differs_is_changed_and_the_rest_stays(place: Path) -> None:
    apply(place)
    invoke(place, "token", "update", "ranking", "--metadata", "more=kept")
    changed = DECLARED.replace("600", "700").replace("max_requests: 100", "max_requests: null")
    planned = apply(place, "--dry-run", text=changed)
    assert outline(planned) == [("update", "search", None), ("update", "search", "eval")]
    assert planned[1]["changes"] == {"max_requests": {"from": 100, "to": None}}
    assert listed(place, "token", "show", "eval")["max_requests"] == 100, "--dry-run changes nothing"
    assert outline(apply(place, text=changed)) == outline(planned)
    assert listed(place, "token", "show", "eval")["max_requests"] is None
    assert listed(place, "token", "show", "ranking")["metadata"] == {"team": "ranking", "more": "kept"}
    assert listed(place, "project", "show", "search")["limits"]["requests_per_minute"] == 700


def test_what_the_file_does_not_name_is_ended_only_when_asked(place: Path) -> None:
    apply(place)
    invoke(place, "token", "create", "--project", "search", "--metadata", "made=by-hand")
    less = DECLARED.partition("      - name: eval")[0]
    assert apply(place, text=less) == []
    assert outline(apply(place, "--prune", text=less)) == [("revoke", "search", "eval")]
    tokens = listed(place, "token", "list", "--project", "search")
    assert sorted(str(token["name"]) for token in tokens if token["active"]) == ["None", "ranking"]
    only_ads = "projects: [{name: ads, active: false}]"
    assert outline(apply(place, "--prune", text=only_ads)) == [("deactivate", "search", None)]


def test_an_export_is_such_a_file(place: Path) -> None:
    apply(place)
    exported = invoke(place, "export").stdout
    assert "sk-" not in exported
    assert apply(place, "--prune", text=exported) == []
    fresh = place / "fresh"
    fresh.mkdir()
    assert len(apply(fresh, text=exported)) == 5
    assert invoke(fresh, "export").stdout == exported


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("projects: [", "is not YAML"),
        ("[]", "write one list, called projects"),
        ("projects: [{name: a, api_key: sk-real-0000}]", "projects[0].api_key: name where the key is kept"),
        ("projects: [{name: a}]", "project 'a' is new: write its api_key"),
        ("projects: [{name: a, colour: red}]", "projects[0]: colour: unknown"),
        ("projects: [{name: a}, {name: a}]", "projects: 'a' is there twice"),
        ("projects: [{name: a, api_key: env:A, tokens: [{metadata: {}}]}]", "projects[0].tokens[0]: name"),
        ("projects: [{name: a, api_key: env:A, limits: {rpm: 1}}]", "project 'a': limit 'rpm'"),
    ],
)
def test_slips_are_named_and_nothing_is_done(place: Path, text: str, said: str) -> None:
    (place / "declared.yaml").write_text(text)
    done = invoke(place, "apply", "-f", str(place / "declared.yaml"))
    assert done.exit_code == 2
    assert said in done.output.splitlines()[-1]
    assert not (place / "store.db").exists() or listed(place, "project", "list") == []
