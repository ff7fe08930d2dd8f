"""Hooks that refuse the call when they fail.

mitmproxy logs an exception in a hook and sends the request on, unmodified; it also skips that hook in every
script loaded after. So no exception may leave one of our hooks.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from mitmproxy import http

from addons import marks, mitm, refusal, wire

logger = logging.getLogger(__name__)

Hook = TypeVar("Hook", bound=Callable[..., Any])


def refuse(flow: http.HTTPFlow, why: refusal.Refusal) -> None:
    """Answer `flow` with a refusal: no key, no upstream, and the body that is still to come is not kept."""
    flow.metadata.pop(marks.CLEARED, None)
    wire.forget(flow.request)
    flow.request.stream = False
    flow.response = why.response()
    mitm.discard_request_body(flow)


def fail_closed(hook: Hook) -> Hook:
    """Refuse the flow with 503 when the decorated request-phase hook raises."""

    def failed(flow: http.HTTPFlow) -> None:
        logger.exception("llmproxy: %s failed; the call is refused", hook.__qualname__)
        refuse(flow, refusal.INTERNAL)

    if inspect.iscoroutinefunction(hook):

        @functools.wraps(hook)
        async def guarded_async(self: object, flow: http.HTTPFlow) -> None:
            try:
                await cast(Callable[..., Awaitable[None]], hook)(self, flow)
            except Exception:
                failed(flow)

        return cast(Hook, guarded_async)

    @functools.wraps(hook)
    def guarded(self: object, flow: http.HTTPFlow) -> None:
        try:
            hook(self, flow)
        except Exception:
            failed(flow)

    return cast(Hook, guarded)


def observe_only(hook: Hook) -> Hook:
    """Log, and change nothing, when the decorated response-phase hook raises: the client's answer goes on."""

    def failed() -> None:
        logger.exception("llmproxy: %s failed; the client's answer is not affected", hook.__qualname__)

    if inspect.iscoroutinefunction(hook):

        @functools.wraps(hook)
        async def guarded_async(self: object, *args: Any) -> None:
            try:
                await cast(Callable[..., Awaitable[None]], hook)(self, *args)
            except Exception:
                failed()

        return cast(Hook, guarded_async)

    @functools.wraps(hook)
    def guarded(self: object, *args: Any) -> None:
        try:
            hook(self, *args)
        except Exception:
            failed()

    return cast(Hook, guarded)
