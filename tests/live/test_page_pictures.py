"""Pictures of the page with two months of calls behind it: each view in both colours, wide and on a phone.

``LLMPROXY_PICTURES=docs .venv/bin/python -m pytest tests/live/test_page_pictures.py`` writes those of docs/.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store.tokens import limits
from store.tokens.calendar import USUAL
from store.tokens.management_tokens import ManagementTokens
from store.tokens.store import TokenStore
from store.usage.rollups import FIGURES, Line, RollUps
from tests.live.browser import ENTER, Browser, browser, missing
from tests.live.conftest import REAL_KEY, Running
from tests.live.test_management import address
from tests.live.test_page import PHONE, TOKEN, ask
from tests.store.engines import add_row

HOURS = 60 * 24
PROJECTS = {"search": (180, 0.8), "support-bot": (90, 0.5), "checkout": (40, 0.2), "research": (250, 1.0)}
"""Dollars a month, and how busy each is."""
MODELS = {"gpt-4o": 12_000_000, "gpt-4o-mini": 2_500_000, "text-embedding-3-small": 300_000}
"""Billionths of a dollar that a call costs, about."""
WIDE = {"width": 1180, "height": 1417, "deviceScaleFactor": 1, "mobile": False}
VIEWS = ("overview", "projects", "project", "token", "calls", "call", "sessions", "audit", "access")
PICTURES = {"page-overview": ("overview", "light"), "page-token": ("token", "dark")}
"""Those of docs/."""


class World:
    """Projects, tokens, budgets, and what was called in the last sixty days."""

    def __init__(self, store: TokenStore) -> None:
        self.store, self.chance = store, random.Random(17)
        self.tokens: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self.projects: dict[str, str] = {}
        for name, (usd, _) in PROJECTS.items():
            monthly = limits.of({"budgets": {"usd": {"month": str(usd)}}})
            project = store.create_project(name, REAL_KEY, limits=monthly)
            self.projects[name] = project.id
            own = limits.of({"budgets": {"usd": {"day": "6", "month": "150"}}, "requests_per_minute": 60})
            token, text = store.create_token(
                project.id, name=f"{name}-prod", metadata={"team": name, "user_id": "ada"}, limits=own
            )
            self.tokens[name], self.texts[name] = token.id, text.reveal()
        now = int(time.time()) // 3600
        with store.connection.transaction():
            RollUps().add(store.connection, self.lines(now))

    def lines(self, now: int) -> Iterator[Line]:
        for hour in range(now - HOURS, now + 1):
            at = time.gmtime(hour * 3600)
            busy = (0.2 if at.tm_wday > 4 else 1) * (1.3 if 7 <= at.tm_hour <= 18 else 0.4)
            for name, (_, share) in PROJECTS.items():
                for model, cost in MODELS.items():
                    calls = round(self.chance.uniform(0, 8) * busy * share)
                    if calls:
                        yield self.line(
                            hour, name, model, calls, round(calls * cost * self.chance.uniform(0.7, 1.4))
                        )

    def line(self, hour: int, name: str, model: str, calls: int, nano_usd: int) -> Line:
        chance = self.chance
        tokens = calls * chance.randint(600, 2200)
        figures = dict.fromkeys(FIGURES, 0) | {
            "calls": calls,
            "failed": int(chance.random() < 0.02),
            "refused": int(chance.random() < 0.02),
            "unpriced": int(chance.random() < 0.002),
            "unreported": int(chance.random() < 0.002),
            "input_tokens": tokens * 3 // 4,
            "output_tokens": tokens // 4,
            "total_tokens": tokens,
            "nano_usd": nano_usd,
            "cache_hits": int(chance.random() < 0.1),
            "saved_nano_usd": nano_usd // 10,
        }
        durations = [chance.choice((750, 1000, 1000, 1500, 2000, 3000, 7500)) for _ in range(calls)]
        times = [("duration", each) for each in durations] + [
            ("first_token", max(200, each // 3 // 100 * 100)) for each in durations if each >= 1000
        ]
        within = [(measure, 350 if each in (300, 333) else each) for measure, each in times]
        for subject in (self.projects[name], self.tokens[name]):
            for period in ("day", "month"):
                key = {"subject": subject, "period": period, "starts_at": USUAL.start(period, hour * 3600)}
                added = {"requests": calls, "tokens": tokens, "nano_usd": nano_usd, "assumed": 0}
                add_row(self.store.connection, "spend", key, added)
        user = chance.choice(("ada", "grace", "linus"))
        key = (hour, self.projects[name], self.tokens[name], user, model, "chat")
        return Line(key, figures, within)


def test_each_view_is_in_its_place(start_shared: Callable[..., Running], tmp_path: Path) -> None:
    if why := missing():
        pytest.skip(why)
    running = start_shared(
        "llm_management=127.0.0.1:0", "llm_capture=all", environment={"LLMPROXY_MANAGEMENT_TOKEN": TOKEN}
    )
    world = World(running.tenant.store)
    made = ManagementTokens(running.tenant.store.connection, running.tenant.store.audit)
    made.create("finance", "read")
    made.create("search-team", "project", projects=[world.projects["search"]])
    for _ in range(12):
        assert ask(running, world.texts["search"]).status_code == 200
    call = running.proxy.wait_calls(12)[0]["event_id"]
    asked = {
        "overview": ("#/overview", "Proxies and dispatchers"),
        "projects": ("#/projects", "support-bot"),
        "project": (f"#/projects/{world.projects['search']}", "History"),
        "token": (f"#/tokens/{world.tokens['search']}", "History"),
        "calls": ("#/calls", "gpt-4o-mini"),
        "call": (f"#/calls/{call}", "Line by line"),
        "sessions": ("#/sessions", "night-run"),
        "audit": ("#/audit", "token.create"),
        "access": ("#/access", "finance"),
    }
    assert tuple(asked) == VIEWS
    base = f"{address(running.proxy)}/page/"
    with browser(tmp_path, WIDE["width"], WIDE["height"]) as page:
        page.emulate("Emulation.setTimezoneOverride", timezoneId="UTC")
        page.open(base)
        page.labelled("Management token", TOKEN + ENTER)
        page.wait_text("Overview", "h1")
        for name, (view, text) in asked.items():
            page.open("about:blank")  # else the former view may still be the one that is seen
            page.open(base + view)
            page.wait_text(text, "main")
            if name == "overview":
                page.run(
                    """const span = document.querySelector("[name=span]"); span.value = "month";
                    span.dispatchEvent(new Event("change", {bubbles: true}))"""
                )
                page.wait_text("Spend by project, 30 days", "figcaption")
            page.run("document.activeElement.blur()")
            for size, screen in (("screen", WIDE), ("phone", PHONE)):
                page.emulate("Emulation.setDeviceMetricsOverride", **screen)
                assert page.run("return document.documentElement.scrollWidth") <= screen["width"], (
                    name,
                    size,
                )
                assert cut_off(page) == [], (name, size)
                for colours in ("light", "dark"):
                    scheme = [{"name": "prefers-color-scheme", "value": colours}]
                    page.emulate("Emulation.setEmulatedMedia", features=scheme)
                    take(page, tmp_path / f"{name}-{size}-{colours}.png", whole=size == "phone")
    keep(tmp_path)


def cut_off(page: Browser) -> list[str]:
    """Texts that are wider than where they are, outside of what scrolls."""
    found = page.run(
        """return [...document.querySelectorAll("main *, header *")].filter(one => one.checkVisibility()
        && !one.closest(".scroll, pre, svg, .hidden") && one.scrollWidth > one.clientWidth + 1
        && getComputedStyle(one).display !== "inline").map(one => one.outerHTML.slice(0, 120))"""
    )
    return list(found)


def take(page: Browser, path: Path, *, whole: bool) -> None:
    page.screenshot(path, whole=whole)
    assert path.stat().st_size > 5000


def keep(folder: Path) -> None:
    """Write the pictures where ``LLMPROXY_PICTURES`` says: those of docs/, or all of them beside them."""
    place = os.environ.get("LLMPROXY_PICTURES")
    if not place:
        return
    for name, (view, colours) in PICTURES.items():
        (Path(place) / f"{name}.png").write_bytes((folder / f"{view}-screen-{colours}.png").read_bytes())
    if os.environ.get("LLMPROXY_PICTURES_ALL"):
        for path in folder.glob("*-*-*.png"):
            (Path(place) / path.name).write_bytes(path.read_bytes())
