"""Twenty rounds of everything that can go wrong; by hand there were a thousand (docs/guarantees.md)."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from scripts.benchmarks.__main__ import main


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_event_is_lost_whatever_fails() -> None:
    result = CliRunner().invoke(main, ["faults", "--rounds", "20", "--seed", "60", "--json"])
    account = json.loads(result.stdout)
    assert account["ok"], account
    assert account["lost"] == 0
    assert account["calls"] > 300
    assert account["died_with_their_proxy"] > 0, "no kill came during a call: the test tests nothing"
    assert sum(account["answers"].values()) > 10
