"""The judged cases that `llmproxy import` can show."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import nursery
from tests.cases import Case, cases, differences, flow_file

CASES = cases(live=False)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The event of each case, by its name: one import of all."""
    found: list[Case] = [parameter.values[0] for parameter in CASES]
    file: Path = tmp_path_factory.mktemp("cases") / "flows"
    file.write_bytes(flow_file(found))
    command = [sys.executable, "-P", "-m", "scripts.cli", "import", str(file), "--json"]
    done = nursery.run(command)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.splitlines()
    assert len(lines) == len(found)
    return {case.name: json.loads(line) for case, line in zip(found, lines, strict=True)}


@pytest.mark.parametrize("case", CASES)
def test_case(case: Case, events: dict[str, dict[str, Any]]) -> None:
    assert differences(case, events[case.name]) == []
