"""Five rounds of ``scripts/bench kills``; by hand there were a hundred (docs/guarantees.md)."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from scripts.benchmarks.__main__ import main

ROUNDS = 5


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.live
@pytest.mark.timeout(1200)
def test_kills_of_proxy_reader_and_dispatcher_lose_no_call_and_count_none_twice() -> None:
    result = CliRunner().invoke(main, ["kills", "--rounds", str(ROUNDS), "--seed", "7", "--json"])
    assert result.stdout, result.output
    account = json.loads(result.stdout)
    assert account["killed"] == dict.fromkeys(("proxy", "reader", "pool", "dispatcher"), ROUNDS)
    assert account["ok"], account
    assert account["events"] >= account["answered"] > 100
    assert account["sent"] == account["counted_by_the_budget"]
    assert account["of_them_cut_off"] > 0, "no kill came during a call: the test tests nothing"
