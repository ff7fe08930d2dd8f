"""Hooks from flat lists are called as mitmproxy itself calls them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from mitmproxy import exceptions
from mitmproxy.addonmanager import AddonManager
from mitmproxy.addons.stickycookie import StickyCookie
from mitmproxy.proxy.layers.http import HttpRequestHook
from mitmproxy.test import taddons, tflow

from addons.mitm import hook_dispatch
from addons.mitm.hook_dispatch import KNOWN, FlatTrigger, fingerprint, install, uninstall


def test_this_mitmproxy_is_a_known_one() -> None:
    """If not: read what changed in mitmproxy/addonmanager.py, then add the new one to KNOWN."""
    assert fingerprint() in KNOWN


class Noting:
    """Writes down that it was called."""

    def __init__(self, name: str, seen: list[str], *inner: Any, error: Exception | None = None) -> None:
        self.name, self.seen, self.addons, self.error = name, seen, list(inner), error

    def request(self, flow: object) -> None:
        self.seen.append(self.name)
        if self.error:
            raise self.error


class Waiting(Noting):
    async def request(self, flow: object) -> None:  # type: ignore[override]
        self.seen.append(self.name)


class Updated(Noting):
    def update(self, flows: list[object]) -> None:
        self.seen.append(f"{self.name} update {len(flows)}")


Chain = Callable[[list[str]], list[Noting]]
CHAINS: dict[str, Chain] = {
    "in order, inner ones after their outer one": lambda seen: [
        Noting("a", seen, Noting("a1", seen), Waiting("a2", seen)),
        Waiting("b", seen),
    ],
    "an exception ends its element only": lambda seen: [
        Noting("a", seen, Noting("a1", seen, error=ValueError("broken")), Noting("a2", seen)),
        Noting("b", seen),
    ],
    "a halt ends the event": lambda seen: [
        Noting("a", seen, error=exceptions.AddonHalt()),
        Noting("b", seen),
    ],
    "an update for those who want it": lambda seen: [Updated("a", seen), Noting("b", seen)],
}


async def called(make: Chain, *, flat: bool, caplog: pytest.LogCaptureFixture) -> tuple[list[str], list[str]]:
    """What was called, and what was logged."""
    seen: list[str] = []
    caplog.clear()
    with taddons.context(*make(seen)) as context:
        manager = context.master.addons
        if flat:
            FlatTrigger(manager).attach()
        await manager.handle_lifecycle(HttpRequestHook(tflow.tflow()))
    return seen, [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("name", CHAINS)
async def test_as_mitmproxy_itself(name: str, caplog: pytest.LogCaptureFixture) -> None:
    own = await called(CHAINS[name], flat=False, caplog=caplog)
    assert own[0], "the chain was called"
    assert await called(CHAINS[name], flat=True, caplog=caplog) == own


async def test_an_options_error_leaves_the_event(caplog: pytest.LogCaptureFixture) -> None:
    def make(seen: list[str]) -> list[Noting]:
        return [Noting("a", seen, error=exceptions.OptionsError("no")), Noting("b", seen)]

    for flat in (False, True):
        with pytest.raises(exceptions.OptionsError):
            await called(make, flat=flat, caplog=caplog)


async def test_addons_that_come_and_go_are_noticed() -> None:
    seen: list[str] = []
    first, second = Noting("a", seen), Noting("b", seen)
    with taddons.context(first) as context:
        manager = context.master.addons
        FlatTrigger(manager).attach()
        event = HttpRequestHook(tflow.tflow())
        await manager.trigger_event(event)
        manager.add(second)
        await manager.trigger_event(event)
        manager.remove(first)
        await manager.trigger_event(event)
        assert seen == ["a", "a", "b", "b"]
        inner = Noting("c", seen)
        second.addons.append(inner)
        manager.register(inner)  # as the loader of scripts does
        await manager.trigger_event(event)
        assert seen[4:] == ["b", "c"]


async def test_an_order_that_options_change_is_noticed() -> None:
    seen: list[str] = []
    outer = Noting("a", seen, Noting("b", seen), Noting("c", seen))
    with taddons.context(outer, StickyCookie()) as context:
        manager = context.master.addons
        FlatTrigger(manager).attach()
        event = HttpRequestHook(tflow.tflow())
        await manager.trigger_event(event)
        outer.addons.reverse()
        context.options.update(stickycookie="~d example.com")
        await manager.trigger_event(event)
        assert seen == ["a", "b", "c", "a", "c", "b"]


def test_a_manager_that_is_not_the_known_one_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hook_dispatch, "KNOWN", frozenset({"another"}))
    caplog.set_level(logging.INFO)
    with taddons.context() as context:
        assert not install(context.master.addons)
        assert "trigger_event" not in vars(context.master.addons)
    assert "is not known" in caplog.text


def test_installed_once_and_taken_back() -> None:
    with taddons.context() as context:
        manager = context.master.addons
        if type(manager) is not AddonManager:  # the one of the tests' context
            manager = AddonManager(context.master)
        assert install(manager)
        first = manager.trigger_event
        assert install(manager)
        assert manager.trigger_event is first
        uninstall(manager)
        assert manager.trigger_event.__func__ is AddonManager.trigger_event  # type: ignore[attr-defined]


def test_hooks_that_are_none_are_not_called() -> None:
    class Odd:
        name = "odd"
        request = "text"

    with taddons.context() as context:
        manager = context.master.addons
        manager.chain.append(Odd())
        flat = FlatTrigger(manager)
        with pytest.raises(exceptions.AddonManagerError):
            flat.has(HttpRequestHook.name)
