"""One list of the reasons why a usage is missing."""

from __future__ import annotations

from addons.openai.usage.missing import CODES
from addons.recording.counters import GAPS
from store.core.codes import GAP_OF, UsageMissing
from store.usage.rollups import UNREPORTED


def test_every_code_says_which_gap_it_leaves() -> None:
    assert GAP_OF.keys() == set(UsageMissing)
    assert {gap for gap in GAP_OF.values() if gap} | {"unpriced"} == GAPS.keys()
    assert {UsageMissing(code) for code in CODES} <= set(UsageMissing)


def test_metrics_and_roll_ups_have_the_same_gaps() -> None:
    assert {code for code, gap in GAP_OF.items() if gap} == UNREPORTED
    assert UsageMissing.LENGTH_UNKNOWN in UNREPORTED
