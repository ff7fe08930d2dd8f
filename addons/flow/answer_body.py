"""Follow the body of a call's answer: how it comes, what is kept of it, and what was read as it passed."""

from __future__ import annotations

from mitmproxy import http

from addons.flow.capture import Body, Capture, Watcher
from addons.openai.http.encoding import codings_of
from addons.openai.http.parsed_events import ParsedEvents


class AnswerBody:
    """Follows one body, from its headers on, for all who read it."""

    def __init__(self, response: http.Response) -> None:
        self.content_type = response.headers.get("content-type", "").lower()
        self.content_encoding = ",".join(response.headers.get_all("content-encoding"))
        self.codings = codings_of(self.content_encoding)
        self.watchers: list[Watcher] = []
        """Get it as it passes, unless it is held whole."""
        self.parsed = ParsedEvents()
        """Its events, as far as they were read on their way."""
        self.capture: Capture | None = None
        """Keeps a copy, from when the recorder has seen the headers."""
        self._is_taken = False

    @property
    def is_stream(self) -> bool:
        """Tell whether it is an event stream."""
        return "event-stream" in self.content_type

    def keep(self, limit: int, *, watched: bool) -> Capture:
        """Begin to keep a copy of at most `limit` bytes."""
        self.capture = Capture(self.content_encoding, limit, self.watchers if watched else [])
        return self.capture

    def take_whole(self, data: bytes) -> None:
        """Keep a body that was held back until it was whole; once, whoever asks for it first."""
        if data and self.capture is not None and not self._is_taken:
            self._is_taken = True
            self.capture.tap(data)

    def kept(self) -> Body | None:
        """Give what was kept so far, with the events that were read; None where nothing is kept."""
        if self.capture is None:
            return None
        body = self.capture.body()
        body.parsed = self.parsed
        return body
