"""Our sums beside the vendor's: every kind of difference is made on purpose, and found."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dispatch.reconciliation import service
from dispatch.reconciliation.service import Asked, Daily, Report, reconcile, whole_days
from dispatch.reconciliation.vendor import ApiKey, Vendor, VendorError
from scripts.cli import main
from store.core.errors import Invalid, NotFound
from store.core.secret import Secret
from store.database.location import StoreLocation
from store.spool import scan
from store.tokens.store import TokenStore
from store.usage.rollups import RollUps, line_of
from tests.dispatch.reconciliation.vendor_standin import (
    ADMIN_KEY,
    OTHER_KEY_ID,
    REAL_KEY,
    Billed,
    VendorStandin,
)
from tests.events import typed

FIRST, SECOND = "2026-11-20", "2026-11-21"
SINCE, UNTIL = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TokenStore]:
    store = TokenStore.open(tmp_path / "store.db")
    project = store.create_project("acme", REAL_KEY)
    store.keys.set_admin(project.id, ADMIN_KEY)
    yield store
    store.close()


@pytest.fixture
def vendor() -> Iterator[VendorStandin]:
    with VendorStandin().running() as running:
        yield running


class Traffic:
    """Calls that both sides see, and those that only one does."""

    def __init__(self, store: TokenStore, vendor: VendorStandin) -> None:
        self.store, self.vendor = store, vendor
        self.project_id = store.get_project("acme").id

    def both(self, billed: Billed, **fields: Any) -> None:
        self.vendor.billed.append(billed)
        self.ours(billed, **fields)

    def ours(self, billed: Billed, *, hour: int = 12, **fields: Any) -> None:
        event = {
            "type": "llm_proxy_usage",
            "timestamp": f"{billed.day}T{hour:02}:00:00.000Z",
            "outcome": "ok",
            "project_id": self.project_id,
            "token_id": "t",
            "model": billed.model,
            "endpoint": "batches" if billed.batch else "chat",
            "usage": {"input_tokens": billed.input_tokens, "output_tokens": billed.output_tokens},
            "cost": {"usd": billed.usd},
            **fields,
        }
        with self.store.connection.transaction():
            RollUps().add(self.store.connection, [line_of(typed(event))])

    def reconcile(self) -> Report:
        asked = Asked("acme", SINCE, UNTIL)
        return reconcile(self.store, asked, partial(Vendor, base_url=self.vendor.url))


@pytest.fixture
def traffic(store: TokenStore, vendor: VendorStandin) -> Traffic:
    made = Traffic(store, vendor)
    for day in (FIRST, SECOND, "2026-11-24"):
        made.both(Billed(day))
    made.both(
        Billed(FIRST, "text-embedding-3-small", 50, 0, "0.001", kind="embeddings"), endpoint="embeddings"
    )
    return made


def explained(report: Report) -> dict[str, tuple[str, ...]]:
    return {row.measure: row.explained for row in report.found.totals if row.explained}


def test_the_same_traffic_agrees_over_several_pages(traffic: Traffic) -> None:
    report = traffic.reconcile()
    assert report.agrees
    assert explained(report) == {}
    assert {
        (row.model, row.measure): row.theirs for row in report.found.totals if row.measure == "input_tokens"
    } == {
        ("gpt-4o-mini", "input_tokens"): 300,
        ("text-embedding-3-small", "input_tokens"): 50,
    }


def test_traffic_past_the_proxy_is_that_of_other_keys(traffic: Traffic) -> None:
    traffic.vendor.billed.append(Billed(FIRST, key=OTHER_KEY_ID, input_tokens=1000, usd="7"))
    report = traffic.reconcile()
    assert not report.agrees
    assert explained(report)["input_tokens"] == ("other_keys=1000",)
    assert explained(report)["usd"] == ("other_keys=7",)
    assert all(row.unexplained == 0 for row in report.found.totals)


def test_traffic_past_the_proxy_by_the_same_key_is_explained_by_nothing(traffic: Traffic) -> None:
    traffic.vendor.billed.append(Billed(FIRST, input_tokens=1000, usd="7"))
    report = traffic.reconcile()
    assert not report.agrees
    assert explained(report) == {}
    assert {row.measure: row.unexplained for row in report.found.totals if row.unexplained} == {
        "usd": 7,
        "requests": 1,
        "input_tokens": 1000,
        "output_tokens": 10,
    }


def test_calls_without_usage(traffic: Traffic) -> None:
    billed = Billed(SECOND, output_tokens=0)
    traffic.vendor.billed.append(billed)
    traffic.ours(
        replace(billed, input_tokens=0, usd="0"), usage=None, cost=None, usage_missing_code="no_answer"
    )
    found = explained(traffic.reconcile())
    assert found["input_tokens"] == found["usd"] == ("calls_without_usage=1",)


def test_calls_that_broke_off(traffic: Traffic) -> None:
    billed = Billed(SECOND)
    traffic.vendor.billed.append(billed)
    traffic.ours(replace(billed, output_tokens=2, usd="0.1"), outcome="client_aborted")
    found = explained(traffic.reconcile())
    assert found["output_tokens"] == found["usd"] == ("failed_calls=1",)


def test_models_without_a_price(traffic: Traffic) -> None:
    billed = Billed(SECOND, model="young")
    traffic.vendor.billed.append(billed)
    traffic.ours(billed, cost={"usd": None})
    assert explained(traffic.reconcile()) == {"usd": ("unpriced_calls=1",)}


def test_batches_whose_results_nobody_fetched(traffic: Traffic) -> None:
    traffic.vendor.billed.append(Billed(SECOND, batch=True, input_tokens=400, output_tokens=40))
    report = traffic.reconcile()
    assert explained(report)["input_tokens"] == ("batch_results=400",)
    assert explained(report)["output_tokens"] == ("batch_results=40",)
    fetched = Billed(SECOND, batch=True, input_tokens=400, output_tokens=40)
    traffic.ours(fetched)
    assert traffic.reconcile().agrees


def test_background_work_that_is_not_finished(traffic: Traffic) -> None:
    traffic.vendor.billed.append(Billed(SECOND))
    row = {"id": "resp_1", "kind": "response", "project_id": traffic.project_id, "created_at": 1, "due": 1}
    traffic.store.connection.insert("objects", [row])
    assert explained(traffic.reconcile())["input_tokens"] == ("unfinished_work=1",)


def test_calls_at_midnight_are_on_another_day_and_the_total_agrees(traffic: Traffic) -> None:
    billed = Billed(SECOND)
    traffic.vendor.billed.append(billed)
    traffic.ours(replace(billed, day=FIRST), hour=23)
    report = traffic.reconcile()
    assert report.agrees
    days = {(row.day, row.measure) for row in report.found.rows if "day_boundary" in row.explained}
    assert {(FIRST, "input_tokens"), (SECOND, "input_tokens"), (FIRST, "usd")} <= days


def test_rounding(traffic: Traffic) -> None:
    billed = Billed(SECOND, usd="0.000004")
    traffic.vendor.billed.append(replace(billed, usd="0.00000371"))
    traffic.ours(billed)
    report = traffic.reconcile()
    assert report.agrees
    assert explained(report) == {"usd": ("rounding",)}


def test_projects_with_the_same_key_are_counted_together(traffic: Traffic) -> None:
    other = traffic.store.create_project("twin", REAL_KEY)
    billed = Billed(SECOND)
    traffic.vendor.billed.append(billed)
    traffic.ours(billed, project_id=other.id)
    report = traffic.reconcile()
    assert (report.agrees, report.sharing) == (True, ("twin",))


def test_a_key_that_the_organisation_does_not_have(store: TokenStore, vendor: VendorStandin) -> None:
    store.update_project("acme", api_key="sk-proj-quite-another-key")
    with pytest.raises(NotFound, match="--vendor-project"):
        reconcile(store, Asked("acme", SINCE, UNTIL), partial(Vendor, base_url=vendor.url))


def test_a_project_without_an_admin_key(store: TokenStore, vendor: VendorStandin) -> None:
    store.keys.set_admin(store.get_project("acme").id, None)
    with pytest.raises(NotFound, match="set-admin"):
        reconcile(store, Asked("acme", SINCE, UNTIL), partial(Vendor, base_url=vendor.url))


def test_an_admin_key_is_encrypted_and_rotated_with_the_others(store: TokenStore) -> None:
    project_id = store.get_project("acme").id
    stored = store.connection.rows("SELECT api_key FROM admin_keys")[0]["api_key"]
    assert ADMIN_KEY not in stored
    assert store.keys.rotate().encrypted == 2
    again = store.keys.read_admin(project_id)
    assert again is not None
    assert again.reveal() == ADMIN_KEY


def test_a_vendor_that_throttles_is_asked_again(traffic: Traffic) -> None:
    traffic.vendor.throttle = 2
    assert traffic.reconcile().agrees


def test_a_wrong_admin_key(traffic: Traffic) -> None:
    traffic.store.keys.set_admin(traffic.project_id, "sk-admin-wrong")
    with pytest.raises(VendorError, match="401"):
        traffic.reconcile()


def test_an_admin_key_goes_by_https_only() -> None:
    with pytest.raises(Invalid, match="https"):
        Vendor(Secret(ADMIN_KEY), base_url="http://example.com/v1")


@pytest.mark.parametrize(
    ("redacted", "fits"),
    [("sk-proj-ab***wxyz", True), ("sk-proj-ab...wxyz", True), ("sk-proj-ab***wxyy", False), ("***", False)],
)
def test_a_key_is_known_by_its_ends(redacted: str, *, fits: bool) -> None:
    assert ApiKey("k", "p", redacted).fits(Secret(REAL_KEY)) is fits


def test_whole_days_of_utc() -> None:
    since, until = datetime(2026, 11, 20, 7, tzinfo=UTC), datetime(2026, 11, 22, 1, tzinfo=UTC)
    assert whole_days(since, until) == (
        datetime(2026, 11, 20, tzinfo=UTC),
        datetime(2026, 11, 23, tzinfo=UTC),
    )
    with pytest.raises(Invalid, match="whole day"):
        whole_days(datetime.now(UTC), datetime.now(UTC))


def test_the_command_and_its_exit_codes(traffic: Traffic) -> None:
    command = ["--store", str(traffic.store.path), "reconcile", "--project", "acme", "--since", FIRST]
    command += ["--until", "2026-11-25", "--base-url", traffic.vendor.url]
    agrees = CliRunner().invoke(main, [*command, "--json"])
    assert agrees.exit_code == 0, agrees.output
    assert json.loads(agrees.stdout)["agrees"] is True
    traffic.vendor.billed.append(Billed(FIRST, key=OTHER_KEY_ID, usd="7"))
    table = CliRunner().invoke(main, [*command, "--by-day"])
    assert table.exit_code == 1
    assert "other_keys=7" in table.stdout
    assert CliRunner().invoke(main, [*command, "--tolerance", "100%"]).exit_code == 0
    rows = CliRunner().invoke(main, [*command, "--csv"]).stdout.splitlines()
    assert rows[0] == "day,model,measure,ours,theirs,difference,explained_by,unexplained"


def test_the_daily_run_writes_a_record_for_each_project(traffic: Traffic, tmp_path: Path) -> None:
    traffic.vendor.billed.append(Billed(FIRST, key=OTHER_KEY_ID, usd="7"))
    assert traffic.store.path is not None
    place = StoreLocation.of(traffic.store.path)
    connect = partial(Vendor, base_url=traffic.vendor.url)
    Daily(place, tmp_path / "spool", ["acme", "nobody"], connect).run(SINCE, UNTIL)
    (record,) = (one for one in scan(tmp_path / "spool") if one["type"] == "llm_proxy_reconciliation")
    assert (record["project_name"], record["agrees"]) == ("acme", False)
    assert {row["measure"] for row in record["totals"]} == {
        "usd",
        "requests",
        "input_tokens",
        "output_tokens",
    }


def test_a_day_that_could_not_be_reconciled_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after an error that nobody foresaw, such as a spool on a full disk; and a day that was, once."""
    monkeypatch.setattr(service, "LOOK_SECONDS", 0.01)
    daily = Daily(StoreLocation.of(str(tmp_path / "store.db")), tmp_path, ["acme"], lambda _: 1 / 0)
    days: list[tuple[datetime, datetime]] = []
    second_look = threading.Event()

    def run(since: datetime, until: datetime) -> None:
        days.append((since, until))
        if len(days) == 1:
            raise OSError(28, "No space left on device")
        second_look.set()

    monkeypatch.setattr(daily, "run", run)
    daily.start()
    assert second_look.wait(20)
    daily.close()
    assert len(days) == 2
    assert days[0] == days[1]
    assert days[0][1] - days[0][0] == service.DAY
