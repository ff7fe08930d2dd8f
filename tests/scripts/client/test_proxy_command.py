"""The command line of a proxy of our own."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

from scripts.client.proxy_process import Listening, command
from store.database.location import StoreLocation

ONE = Listening(
    StoreLocation.of("/x/store.db"), Path("/x/spool"), Path("/x/ca"), 8080, 8081, options=["llm_a=b"]
)


def test_one_proxy_is_mitmdump_itself() -> None:
    found = command(ONE)
    assert found[0].endswith("/mitmdump")
    assert "serve" not in found


def test_several_are_started_by_serve_with_the_same_places_and_options() -> None:
    found = command(replace(ONE, workers=3))
    own, mitmproxy = found[: found.index("--")], found[found.index("--") + 1 :]
    pairs = dict(itertools.pairwise(own))
    assert pairs["serve"] == "--workers"
    assert (pairs["--workers"], pairs["--store"], pairs["--spool"]) == ("3", "/x/store.db", "/x/spool")
    assert (pairs["--listen"], pairs["--listen-reverse"]) == ("127.0.0.1:8080", "127.0.0.1:8081")
    assert mitmproxy == ["--set", "llm_a=b", "--set", "llm_shutdown_grace=5"]
