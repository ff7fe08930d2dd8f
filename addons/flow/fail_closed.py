"""Make hooks refuse the call when they fail.

mitmproxy logs an exception in a hook and sends the request on, unmodified; it also skips that hook in every
script loaded after. So no exception may leave one of our hooks.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from mitmproxy import http

from addons.flow import errors, flow_metadata, key_injection
from addons.flow.call import open_calls
from addons.mitm import internals as mitm
from store.core.errors import StoreError

logger = logging.getLogger(__name__)

under_way: Counter[str] = Counter()
"""Ids of the flows that a hook is still awaiting something for."""

Hook = TypeVar("Hook", bound=Callable[..., Any])


def refuse(flow: http.HTTPFlow, why: errors.Refusal) -> None:
    """Answer `flow` with a refusal: no key, no upstream, and the body that is still to come is not kept."""
    if call := open_calls.get(flow.id):
        call.refused = why.code
    flow.metadata.pop(flow_metadata.CLEARED, None)
    key_injection.forget(flow.request)
    flow.request.stream = False
    flow.response = why.response()
    mitm.discard_request_body(flow)


def fail_closed(hook: Hook) -> Hook:
    """Refuse the flow with 503 when the decorated request-phase hook raises."""

    def failed(addon: object, flow: http.HTTPFlow) -> None:
        error = sys.exception()
        trace = not isinstance(error, StoreError)  # whose text says all
        logger.error(
            "llmproxy: %s failed; the call is refused: %s", hook.__qualname__, error or "", exc_info=trace
        )
        refuse(flow, errors.INTERNAL)
        runtime = getattr(addon, "runtime", None)
        if runtime is not None and (call := open_calls.get(flow.id)):
            runtime.note_refused(call, errors.INTERNAL)

    if inspect.iscoroutinefunction(hook):

        @functools.wraps(hook)
        async def guarded_async(self: object, flow: http.HTTPFlow) -> None:
            under_way[flow.id] = under_way.get(flow.id, 0) + 1
            try:
                await cast(Callable[..., Awaitable[None]], hook)(self, flow)
            except Exception:
                failed(self, flow)
            finally:
                under_way[flow.id] -= 1
                if not under_way[flow.id]:
                    del under_way[flow.id]

        return cast(Hook, guarded_async)

    @functools.wraps(hook)
    def guarded(self: object, flow: http.HTTPFlow) -> None:
        try:
            hook(self, flow)
        except Exception:
            failed(self, flow)

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
