"""Call mitmproxy's hooks from flat lists, in place of a walk over all addons for each of them.

mitmproxy asks each of some forty addons, for each of eight events of a call, whether it has that hook,
through two generators and a context manager. Half of what a call costs goes there. Here that question is
asked once for each kind of event, and again after addons or options change.

What is called, in which order, and what an exception does is the same: it ends the hooks of its element of
the chain and is logged, AddonHalt ends the event. This relies on how mitmproxy's AddonManager is written;
:func:`install` steps aside where that is not as it was when this was written.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from mitmproxy import exceptions, flow, hooks
from mitmproxy.addonmanager import AddonManager, safecall, traverse

logger = logging.getLogger(__name__)

REPLACED = ("trigger_event", "handle_lifecycle", "invoke_addon", "_iter_hooks", "register", "remove", "clear")
"""Methods of AddonManager whose behaviour is repeated or listened to here."""
KNOWN = frozenset({"20f68e9e"})
"""Fingerprints of those methods: mitmproxy 11.0.2 to 12.3."""

Hook = Callable[..., Any]


def digest(parts: Iterable[Any]) -> str:
    """Digest the text of functions and classes; indentation, blank lines and comments do not count."""
    found = hashlib.sha256()
    for part in parts:
        for line in inspect.getsource(part).splitlines():
            if (code := line.strip()) and not code.startswith("#"):
                found.update(code.encode() + b"\n")
    return found.hexdigest()[:8]


def fingerprint() -> str:
    """Digest the text of the methods."""
    return digest([*(getattr(AddonManager, name) for name in REPLACED), traverse])


def install(manager: AddonManager) -> bool:
    """Have `manager` call hooks from flat lists; say so, and change nothing, where it is unknown."""
    try:
        found = fingerprint()
    except (OSError, AttributeError) as error:  # no source, or no such method
        found = repr(error)
    if found not in KNOWN or type(manager) is not AddonManager:
        logger.info(
            "llmproxy: this mitmproxy calls its hooks in a way that is not known (%s); left as it is.", found
        )
        return False
    if not isinstance(manager.__dict__.get("trigger_event"), FlatTrigger):
        FlatTrigger(manager).attach()
    return True


def uninstall(manager: AddonManager) -> None:
    """Give `manager` its own way back."""
    for name in ("trigger_event", "handle_lifecycle", "register", "remove", "clear"):
        manager.__dict__.pop(name, None)


class FlatTrigger:
    """Replaces AddonManager.trigger_event, from lists that are made when an event comes first."""

    def __init__(self, manager: AddonManager) -> None:
        self._manager = manager
        self._lists: dict[str, tuple[tuple[Hook, ...], ...]] = {}

    def attach(self) -> None:
        """Take the places of the manager's methods, and forget the lists whenever they may have changed."""
        manager = self._manager
        for name in ("register", "remove", "clear"):
            setattr(manager, name, self._forgetting(getattr(manager, name)))
        # After the manager's own handler, in which scripts are loaded and put in order.
        manager.master.options.changed.connect(self._forget_after_change)
        manager.trigger_event = self  # type: ignore[method-assign]
        manager.handle_lifecycle = self.handle_lifecycle  # type: ignore[method-assign]

    async def __call__(self, event: hooks.Hook) -> None:
        """Trigger an event across all addons."""
        lists = self._hooks(event.name)
        if not lists:
            return
        arguments = event.args()
        for element in lists:
            try:
                for hook in element:
                    result = hook(*arguments)
                    if result is not None and inspect.isawaitable(result):
                        await result
            except exceptions.AddonHalt:
                return
            except Exception:
                with safecall():
                    raise

    async def handle_lifecycle(self, event: hooks.Hook) -> None:
        """Handle a lifecycle event."""
        message = event.args()[0]
        await self(event)
        if isinstance(message, flow.Flow) and self._lists.get("update") != ():
            await self(hooks.UpdateHook([message]))

    def has(self, name: str) -> bool:
        """Tell whether any addon has the hook `name`."""
        return bool(self._hooks(name))

    def _hooks(self, name: str) -> tuple[tuple[Hook, ...], ...]:
        """Give the hooks `name`, those of an element of the chain together."""
        lists = self._lists.get(name)
        if lists is None:
            found = (
                tuple(hook for addon in traverse([element]) if (hook := _hook(addon, name)) is not None)
                for element in self._manager.chain
            )
            lists = self._lists[name] = tuple(element for element in found if element)
        return lists

    def _forgetting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            try:
                return method(*arguments)
            finally:
                self._lists.clear()

        return call

    def _forget_after_change(self, updated: set[str]) -> None:  # noqa: ARG002 - the signal has it
        self._lists.clear()


def _hook(addon: Any, name: str) -> Hook | None:
    """Give the addon's handler of an event.

    Raises AddonManagerError, as mitmproxy does, for one that is none.
    """
    found = getattr(addon, name, None)
    if not found or isinstance(found, ModuleType):
        return None
    if not callable(found):
        raise exceptions.AddonManagerError(f"Addon handler {name} ({addon}) not callable")
    return found  # type: ignore[no-any-return]
