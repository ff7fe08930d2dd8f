"""Keep the project's key from the client where upstream repeats it: in headers and in answers held whole.

Those that stream are seen to as they pass (:mod:`addons.flow.stream_scrub`).
"""

from __future__ import annotations

from mitmproxy import http

from addons.flow.call import open_calls
from addons.flow.fail_closed import observe_only
from addons.flow.stream_scrub import StreamScrub
from store.core.redaction import KnownSecrets

ERROR_BYTES = 2**20
"""Longest error that is held back to be looked through."""


class Redaction:
    """Stands before the recorder, so that events and saved flows have what the client gets."""

    name = "llmproxy-redaction"

    @observe_only
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        call = open_calls.get(flow.id)
        if call is None or call.refused or flow.response is None or not call.secrets:
            return
        response = flow.response
        known = KnownSecrets(secret.reveal() for secret in call.secrets)
        shown = "\n".join([response.reason, *response.headers.values(multi=True)])
        if known.hide(shown) != shown:
            response.reason = known.hide(response.reason)
            fields = response.headers.items(multi=True)
            response.headers = http.Headers(
                [(_bytes(name), _bytes(known.hide(text))) for name, text in fields]
            )
        if response.status_code >= 400 and _may_be_held(response):
            call.held_whole = True

    @observe_only
    def response(self, flow: http.HTTPFlow) -> None:
        call, response = open_calls.get(flow.id), flow.response
        if call is None or call.refused or response is None:
            return
        if response.status_code < 400:
            if call.held_whole and response.raw_content:
                scrub = StreamScrub(secret.reveal() for secret in call.secrets)
                response.raw_content = scrub.hide(response.raw_content)
            return
        content = response.get_content(strict=False)
        if not content:
            return
        known = KnownSecrets(secret.reveal() for secret in call.secrets)
        text = content.decode("utf-8", "surrogateescape")
        if (hidden := known.hide(text)) != text:
            response.content = _bytes(hidden)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # as mitmproxy decodes headers


def _may_be_held(response: http.Response) -> bool:
    if "event-stream" in response.headers.get("content-type", "").lower():
        return False
    length = response.headers.get("content-length", "0")
    return not length.isdecimal() or int(length) <= ERROR_BYTES
