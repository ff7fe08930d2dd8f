"""Serve health, metrics and the management API where somebody wants them (option ``llm_management``)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from addons.flow.network.addresses import is_loopback
from addons.management_api.access import VARIABLE
from addons.runtime import Runtime

if TYPE_CHECKING:
    from tornado.httpserver import HTTPServer

    from addons.management_api.context import Api

logger = logging.getLogger(__name__)


class Management:
    """Listens while the proxy runs."""

    name = "llmproxy-management"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._server: HTTPServer | None = None
        self._api: Api | None = None

    def running(self) -> None:
        address = self.runtime.settings.management if self.runtime.services else None
        if address is None or self._server is not None:
            return
        # Tornado, the API and its page take 10 MB, and a tenth of a second.
        from addons.hooks.management_server import open_server  # noqa: PLC0415

        try:
            self._server, self._api, bound = open_server(self.runtime, address)
        except OSError as error:
            # Logged as an error during the start, this ends mitmproxy with 1.
            logger.error("llmproxy: option llm_management=%s: %s; use another port.", address, error.strerror)
            return
        logger.info("llmproxy: health and metrics at http://%s.", bound)
        if self.runtime.settings.management_token is None and self.runtime.settings.oidc is None:
            logger.info("llmproxy: the management API is off; %s turns it on.", VARIABLE)
            return
        logger.info("llmproxy: the management API at http://%s/manage/.", bound)
        logger.info("llmproxy: its page at http://%s/.", bound)
        if not is_loopback(bound.host):
            logger.warning(
                "llmproxy: llm_management=%s is plain HTTP: others on the network may read the management "
                "token, and the keys that are sent there; put TLS in front of it.",
                bound,
            )

    def done(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.stop()
        if self._api is not None:
            api, self._api = self._api, None
            api.close()
