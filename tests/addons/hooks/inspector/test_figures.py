from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.utils.emoji import emoji

from addons.hooks.inspector import figures
from addons.hooks.inspector.figures import ABORTED, FAILED, REFUSED, comment, head, mark, spend
from store.core.event import UsageEvent
from tests.events import typed
from tests.screens.pages import matches


def event(**changes: Any) -> UsageEvent:
    fields = {
        "event_id": "01a2",
        "outcome": "ok",
        "status": 200,
        "error": None,
        "model": "gpt-4o-mini",
        "usage": {"input_tokens": 1204, "output_tokens": 356, "source": "api"},
        "cost": {"usd": "0.000394", "price_source": "genai-prices/0.2.3"},
        "duration_ms": 1934,
        "time_to_first_token_ms": 410,
        "project_name": "team-a",
        "token_id": "01b3",
        **changes,
    }
    return typed(fields)


COMMENTS: list[tuple[dict[str, Any], str]] = [
    ({}, "gpt-4o-mini · 1,204→356 tok · $0.0004 · 1.9 s · team-a"),
    (
        {"usage": None, "cost": {"usd": "0"}, "cache": "hit", "saved": {"usd": "0.000394"}},
        "gpt-4o-mini · cached, saves $0.0004 · 1.9 s · team-a",
    ),
    (
        {"usage": None, "cost": {"usd": "0"}, "cache": "hit", "saved": {"usd": None}},
        "gpt-4o-mini · cached · 1.9 s · team-a",
    ),
    (
        {
            "model": "gpt-5",
            "usage": {"input_tokens": 812, "output_tokens": None, "source": "estimate"},
            "cost": {"usd": "0.001", "missing": "the output"},
        },
        "gpt-5 · ~812→? tok · ≥$0.0010 · 1.9 s · team-a",
    ),
    (
        {"cost": {"usd": None, "reason": "unknown_model"}},
        "gpt-4o-mini · 1,204→356 tok · $? · 1.9 s · team-a",
    ),
    ({"usage": {"seconds": 12.5}, "model": "whisper-1"}, "whisper-1 · 12.5 s · $0.0004 · 1.9 s · team-a"),
    (
        {
            "outcome": "http_error",
            "status": 429,
            "error": {"code": "rate_limit_exceeded"},
            "usage": None,
            "cost": None,
        },
        "429 rate_limit_exceeded · gpt-4o-mini · 1.9 s · team-a",
    ),
    (
        {
            "outcome": "refused",
            "status": 401,
            "error": {"type": "refused", "code": "invalid_api_key"},
            "model": None,
            "usage": None,
            "cost": None,
            "project_name": None,
        },
        "refused invalid_api_key · 1.9 s",
    ),
    (
        {"outcome": "client_aborted", "error": {"type": "client_aborted", "code": None}},
        "client_aborted · gpt-4o-mini · 1,204→356 tok · $0.0004 · 1.9 s · team-a",
    ),
]


@pytest.mark.parametrize(("changes", "shown"), COMMENTS)
def test_comment(changes: dict[str, Any], shown: str) -> None:
    assert comment(event(**changes)) == shown


def test_the_page_shows_comments_as_they_are() -> None:
    page = (Path(__file__).parents[4] / "docs" / "mitmweb.md").read_text("utf-8")
    rows = page.split("| comment | of |")[1].split("\n\n")[0].splitlines()[2:]
    texts = [text for row in rows for text in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    assert len(texts) > 5
    assert [text for text in texts if not any(matches([text], [made]) for _, made in COMMENTS)] == []


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        ("ok", ""),
        ("refused", REFUSED),
        ("http_error", FAILED),
        ("upstream_aborted", FAILED),
        ("timeout", FAILED),
        ("client_aborted", ABORTED),
        ("shutdown", ABORTED),
    ],
)
def test_mark(outcome: str, shown: str) -> None:
    assert mark(event(outcome=outcome)) == shown


def test_marks_are_emoji_that_mitmproxy_knows() -> None:
    assert set(figures.MARKS.values()) <= emoji.keys()


def test_head_names_what_is_known() -> None:
    details = {
        "input_tokens_details": {"cached_tokens": 1024},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    said = {"request_metadata": {"session_id": "s-42"}, "user_claims": {"user": "eve"}}
    usage = {"input_tokens": 1204, "output_tokens": 356, "source": "api", **details}
    shown = "\n".join(head(event(usage=usage, token_metadata={"team": "ranking"}, **said)))
    assert "input cached_tokens 1,024" in shown
    assert "reasoning" not in shown
    assert "$0.000394 · genai-prices/0.2.3" in shown
    assert "first token 410 ms, whole 1,934 ms" in shown
    assert "01b3" in shown
    assert "team ranking" in shown
    assert "session_id s-42" in shown
    assert "user eve" in shown


def test_spend_puts_the_dearest_first_and_hides_no_gap() -> None:
    events = [
        event(),
        event(model="gpt-5", cost={"usd": "0.2"}, project_name="team-b"),
        event(model="gpt-5", cost={"usd": None}, token_id=None),
        event(model=None, usage=None, cost=None, outcome="refused"),
    ]
    assert spend(events, "model") == [
        "gpt-5: 2 calls · 2,408→712 tok · ≥$0.2000 · 1 unpriced",
        "gpt-4o-mini: 1 call · 1,204→356 tok · $0.0004",
        "unknown model: 1 call · 0→0 tok · $0.0000",
        "all: 4 calls · 3,612→1,068 tok · ≥$0.2004 · 1 unpriced",
    ]
    assert [line.split(":")[0] for line in spend(events, "project")] == ["team-b", "team-a", "all"]
    assert [line.split(":")[0] for line in spend(events, "token")] == ["01b3", "no token", "all"]


def test_dollars_keep_two_digits() -> None:
    assert figures.dollars(Decimal("0.00000123")) == "$0.0000012"
    assert figures.dollars(Decimal("1234.5")) == "$1,234.5000"
