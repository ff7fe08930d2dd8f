"""An answer counts only if the backend gave it; nothing is put aside while the settings are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatch.delivery import GaveUp
from dispatch.errors import DeliveryError, Misconfigured
from dispatch.sinks import MANY, Sink
from dispatch.sinks.cloudwatch import CloudWatchSink
from dispatch.sinks.cloudwatch.streams import StreamNames
from scripts.benchmarks.strict_cloudwatch import Fault, StrictCloudWatch
from store.spool import cursor
from tests.dispatch.backends import Answer, Backend, Collector, Helicone, Lunary
from tests.dispatch.cloudwatch import REGION
from tests.dispatch.cloudwatch_sink import letters, record
from tests.dispatch.conftest import AWS, Run, to_cloudwatch, usage_event, write
from tests.dispatch.http_sinks import ids, send, sink_of, stored

PAGE = b"<!DOCTYPE html><html><title>Sign in</title>Please accept the terms.</html>"
STREAM = "1 validation error detected: Value 'a:b' at 'logStreamName' failed to satisfy constraint"


class Stranger(Backend):
    """Answers everything with 200, as a captive portal or a proxy's block page does."""

    body = PAGE

    def judge(self, path: str, headers: Any, body: bytes) -> Answer:
        return 200, self.body


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    backend = Stranger()
    with backend.running():
        yield backend


def cloudwatch(url: str) -> Sink:
    return CloudWatchSink("/llm/x", StreamNames("proxy", 1), region=REGION, endpoint_url=url)


def http(kind: type[Backend]) -> Callable[[str], Sink]:
    return lambda url: sink_of(kind(url=url))


SINKS = {
    "cloudwatch": cloudwatch,
    "helicone": http(Helicone),
    "lunary": http(Lunary),
    "otlp": http(Collector),
}
BODIES = [PAGE, b"Blocked by policy 17", b'{"blocked": true}']
TAKEN = {("helicone", BODIES[2]), ("otlp", BODIES[2])}
"""What can't be told from the backend's own answer."""
CASES = [(name, body) for name in SINKS for body in BODIES if (name, body) not in TAKEN]


@pytest.mark.parametrize(("name", "body"), CASES)
def test_a_success_that_the_backend_did_not_give(stranger: Stranger, name: str, body: bytes) -> None:
    stranger.body = body
    with pytest.raises(GaveUp, match=r"HTTPS_PROXY, NO_PROXY"):
        send(SINKS[name](stranger.url), *[usage_event(n) for n in range(3)], patient=False)


@pytest.mark.parametrize(("name", "body"), CASES)
def test_a_check_that_the_backend_did_not_answer(stranger: Stranger, name: str, body: bytes) -> None:
    stranger.body = body
    sink = SINKS[name](stranger.url)
    with pytest.raises(DeliveryError, match=r"HTTPS_PROXY, NO_PROXY"):
        sink.check()
    sink.close()


def test_nothing_is_sent_to_a_page(stranger: Stranger, spool: Path, dispatch: Run) -> None:
    write(spool, [usage_event(n) for n in range(3)])
    for arguments in ([], ["--check"]):
        done = dispatch(*to_cloudwatch(stranger.url, "/llm/x", *arguments))
        assert done.returncode == 1
        assert "is not AWS" in done.stderr + done.stdout
    assert sum(cursor.load(cursor.path_of(spool, "cloudwatch")).values()) == 0


def test_pages_instead_of_refusals_bury_nothing(stranger: Stranger, helicone: Helicone) -> None:
    """A proxy's own 400 and 403 are no words of the backend about an event."""
    stranger.body, stranger.poison, stranger.poison_status = PAGE, "model", 400
    stranger.take = lambda *_: (400, PAGE)  # type: ignore[method-assign]
    for name in ("helicone", "lunary", "otlp"):
        with pytest.raises(GaveUp, match="NO_PROXY"):
            send(SINKS[name](stranger.url), usage_event(1), patient=False)


@pytest.mark.parametrize("count", [1, 40])
def test_a_refused_stream_name_is_no_fault_of_the_events(
    strict: StrictCloudWatch, group: str, spool: Path, dispatch: Run, count: int
) -> None:
    write(spool, [usage_event(n) for n in range(count)])
    strict.chance = lambda: Fault("stream", 400, "InvalidParameterException", STREAM)
    done = dispatch(*to_cloudwatch(strict.url, group), "--json")
    totals = json.loads(done.stdout)
    assert (done.returncode, totals["sent"], totals["dead"]) == (1, 0, 0)
    assert "logStreamName" in done.stderr
    assert not (spool / "dead" / "cloudwatch.jsonl").exists()
    strict.chance = lambda: None
    assert dispatch(*to_cloudwatch(strict.url, group)).returncode == 0
    assert len(strict.messages(group)) >= count, "nothing was lost"


def test_events_that_are_all_refused_alike_wait(strict: StrictCloudWatch, group: str, make: Any) -> None:
    """Though another event would be taken; and a second try begins anew."""
    strict.create(group, "proxy")
    strict.poison = "llm_proxy_usage"
    sink = make()
    (parcel,) = sink.plan([record(usage_event(n)) for n in range(MANY)]).parcels
    with pytest.raises(Misconfigured, match=f"the same for all {MANY} events"):
        sink.send(parcel)
    strict.poison = None
    assert sink.send(parcel) == []
    assert len(strict.messages(group)) == MANY


@pytest.mark.parametrize("kind", [Helicone, Lunary, Collector])
@pytest.mark.parametrize("status", [400, 500])
def test_other_backends_that_refuse_all_alike(kind: type[Backend], status: int) -> None:
    backend = kind()
    with backend.running():
        backend.poison, backend.poison_status = "gpt-4o-mini", status
        events = [usage_event(n) for n in range(MANY)]
        with pytest.raises(GaveUp, match=f"the same for all {MANY} events"):
            send(sink_of(backend), *events, patient=False)
        backend.poison = None
        assert send(sink_of(backend), *events) == ([], 0)
        assert sorted(set(stored(backend))) == sorted(ids(events))


def test_dead_letters_end_a_drain_with_1(
    strict: StrictCloudWatch, group: str, spool: Path, dispatch: Run
) -> None:
    strict.poison = "gpt-poison"
    written = write(spool, [usage_event(1), usage_event(2, model="gpt-poison")])
    done = dispatch(*to_cloudwatch(strict.url, group))
    assert done.returncode == 1
    assert "1 records were put aside" in done.stderr
    assert [json.loads(letter["line"])["event_id"] for letter in letters(spool)] == written[1:]
    assert dispatch(*to_cloudwatch(strict.url, group)).returncode == 0, "once"
