"""Settings of all tests."""

import logging
import os
import socketserver
import sys
from pathlib import Path

import httpx
import pytest
from hypothesis import settings


def _log_error(*_: object) -> None:
    logging.getLogger(__name__).debug("a stand-in's client went away", exc_info=True)


# Threads of servers write a traceback to what is stderr at that moment: the output of another test's command.
socketserver.BaseServer.handle_error = _log_error  # type: ignore[method-assign]

# A client of httpx gives up after five seconds where nothing else is said; a busy machine may take them.
for part in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, part, 60)

EXAMPLES = os.environ.get("LLMPROXY_TEST_EXAMPLES", "")

# Without bytecode each of the processes that tests start compiles all its modules anew: seconds, each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Test machines are shared and noisy: how long one example takes says nothing.
# CI takes the same examples each time, so that a change is judged by what it changed. To search for new ones:
# LLMPROXY_TEST_EXAMPLES=5000 pytest tests/addons
settings.register_profile("llmproxy", deadline=None, print_blob=True)
settings.register_profile("ci", settings.get_profile("llmproxy"), derandomize=True, database=None)
settings.register_profile("search", settings.get_profile("llmproxy"), max_examples=int(EXAMPLES or 100))
settings.load_profile("search" if EXAMPLES else "ci" if "LLMPROXY_CI" in os.environ else "llmproxy")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that may take longest, or in the end the workers would wait for one of them.

    In CI a test of real processes that fails is run once more, and is listed as RERUN: among some hundred of
    them on a shared machine one may wait in vain for its turn. By hand each failure shows at once.
    """
    marks: dict[Path, set[str]] = {}
    for item in items:
        own = {mark.name for mark in item.iter_markers()}
        marks.setdefault(item.path, set()).update(own)
        if "LLMPROXY_CI" in os.environ and own & {"live", "slow"}:
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=5))
    items.sort(key=lambda item: -len(marks[item.path] & {"live", "slow"}))
