"""Log records that nobody hears are not made, and all others are."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from mitmproxy.log import LegacyLogEvents
from mitmproxy.proxy import server
from mitmproxy.test import taddons

from addons.mitm import log_records
from addons.mitm.hook_dispatch import FlatTrigger


class Handler(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())


class Connection(server.ConnectionHandler):
    """Only what `log` needs of one."""

    def __init__(self) -> None:
        self.client = type("Client", (), {"peername": ("127.0.0.1", 1)})()  # type: ignore[assignment]

    async def handle_hook(self, hook: object) -> None: ...


class Script:
    """An addon with the deprecated hook."""

    def add_log(self, entry: object) -> None: ...


@contextlib.contextmanager
def alone() -> Iterator[logging.Logger]:
    """Yield mitmproxy's logger of connections, without any handler of the tests'."""
    logger = server.logger
    before = logger.propagate, logger.handlers, logger.level
    log, emit = server.ConnectionHandler.log, LegacyLogEvents.emit
    logger.propagate, logger.handlers = False, []
    logger.setLevel(logging.DEBUG)
    try:
        yield logger
    finally:
        logger.propagate, logger.handlers = before[:2]
        logger.setLevel(before[2])
        server.ConnectionHandler.log = log  # type: ignore[method-assign]
        LegacyLogEvents.emit = emit  # type: ignore[method-assign]


async def test_a_record_is_made_only_for_a_handler_that_takes_it() -> None:
    with alone() as logger, taddons.context() as context:
        manager = context.master.addons
        FlatTrigger(manager).attach()
        log_records.install(manager)
        made: list[object] = []
        factory = logging.getLogRecordFactory()
        logging.setLogRecordFactory(lambda *args, **named: made.append(args) or factory(*args, **named))  # type: ignore[func-returns-value]
        try:
            errors = Handler(logging.ERROR)
            logger.addHandler(errors)
            Connection().log("Streaming response from example.com.")
            assert made == []
            Connection().log("it broke", logging.ERROR)
            assert errors.seen == ["it broke"]
            later = Handler(logging.INFO)
            logger.addHandler(later)
            Connection().log("Streaming response from example.com.")
            assert later.seen == ["Streaming response from example.com."]
        finally:
            logging.setLogRecordFactory(factory)


async def test_the_deprecated_hook_is_a_listener_where_an_addon_has_it() -> None:
    with alone() as logger, taddons.context() as context:
        manager = context.master.addons
        FlatTrigger(manager).attach()
        log_records.install(manager)
        logger.addHandler(LegacyLogEvents(context.master))
        assert not log_records.is_heard(logging.ERROR, manager)
        manager.add(Script())
        assert log_records.is_heard(logging.DEBUG, manager)


async def test_without_flat_lists_all_is_as_mitmproxy_has_it() -> None:
    with alone() as logger, taddons.context() as context:
        logger.addHandler(LegacyLogEvents(context.master))
        assert log_records.is_heard(logging.DEBUG, context.master.addons)
