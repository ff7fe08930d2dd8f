"""The CloudWatch sink while things fail: faults, outages, rights and credentials."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, ProxyConnectionError

from dispatch import delivery
from dispatch.delivery import Delivery, GaveUp, Totals
from dispatch.errors import Misconfigured, Unavailable
from dispatch.sinks.cloudwatch import sink as sink_module
from dispatch.sinks.cloudwatch.failures import explained
from scripts.benchmarks.strict_cloudwatch import (
    ACCESS_DENIED,
    ALREADY_ACCEPTED,
    EXPIRED,
    FAULTS,
    GROUP_DELETED,
    STREAM_DELETED,
    TIMEOUT_AFTER,
    Fault,
    Rejection,
    StrictCloudWatch,
)
from store.spool import SpoolReader
from tests.dispatch.cloudwatch_sink import Drain, ids, letters, record
from tests.dispatch.conftest import Run, to_cloudwatch, usage_event, write

pytestmark = pytest.mark.usefixtures("quick", "aws_credentials")


@pytest.mark.parametrize(
    ("rejection", "lost"),
    [
        (Rejection(too_old_end=2), {0: "older than 14 days", 1: "older than 14 days"}),
        (Rejection(too_old_end=1, expired_end=3), {0: "14 days", 1: "retention", 2: "retention"}),
        (Rejection(too_new_start=4), {4: "2 hours ahead", 5: "2 hours ahead"}),
        (Rejection(too_new_start=0), dict.fromkeys(range(6), "2 hours ahead")),
        (Rejection(too_old_end=1, too_new_start=5), {0: "14 days", 5: "2 hours ahead"}),
        (Rejection(too_old_end=0), {}),
    ],
    ids=str,
)
def test_what_an_answer_of_200_rejects_is_put_aside_and_nothing_else(
    rejection: Rejection,
    lost: dict[int, str],
    strict: StrictCloudWatch,
    group: str,
    spool: Path,
    drain: Drain,
) -> None:
    written = write(spool, [usage_event(n) for n in range(6)])
    strict.create(group, "proxy")
    strict.faults = [Fault("rejects", reject=rejection)]
    totals = drain(batch_size=6)
    assert totals.dead == len(lost)
    assert totals.sent == 7 - len(lost)
    assert ids(strict.messages(group)) == [event for n, event in enumerate(written) if n not in lost]
    if lost:
        reasons = {json.loads(letter["line"])["event_id"]: letter["reason"] for letter in letters(spool)}
        assert reasons.keys() == {written[n] for n in lost}
        assert all(reason in reasons[written[n]] for n, reason in lost.items())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_faults_are_outlived_in_order(
    fault: Fault, strict: StrictCloudWatch, group: str, spool: Path, drain: Drain
) -> None:
    written = write(spool, [usage_event(n) for n in range(30)])
    strict.create(group, "proxy")
    strict.faults = [None, fault]
    totals = drain(batch_size=10)
    found = ids(strict.messages(group))
    if fault in {STREAM_DELETED, GROUP_DELETED}:
        assert found == written[10:], "what was stored before is gone with it; the rest is not"
        assert totals.retries == 0
        return
    assert [event for n, event in enumerate(found) if event not in found[:n]] == written
    assert len(found) == 30 + 10 * fault.stored
    assert totals.retries == 1


def test_an_answer_that_never_comes(
    strict: StrictCloudWatch, group: str, spool: Path, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken, and not known to be: sent again, with the same event ids."""
    monkeypatch.setattr(sink_module, "READ_SECONDS", 0.5)
    written = write(spool, [usage_event(n) for n in range(10)])
    strict.create(group, "proxy")
    strict.faults = [TIMEOUT_AFTER]
    drain()
    assert Counter(ids(strict.messages(group))) == Counter(written * 2)


def test_a_batch_that_was_accepted_before_counts_as_sent(
    strict: StrictCloudWatch, group: str, spool: Path, drain: Drain
) -> None:
    written = write(spool, [usage_event(1)])
    strict.create(group, "proxy")
    strict.faults = [ALREADY_ACCEPTED]
    assert drain().retries == 0
    assert ids(strict.messages(group)) == written


def test_bad_events_do_not_hold_up_the_others(
    strict: StrictCloudWatch, group: str, spool: Path, drain: Drain
) -> None:
    strict.poison = "gpt-poison"
    events = [usage_event(n) for n in range(50)]
    bad = {0, 23, 24, 49}
    for number in bad:
        events[number]["model"] = "gpt-poison"
    written = write(spool, events)
    totals = drain()
    assert ids(strict.messages(group)) == [event for n, event in enumerate(written) if n not in bad]
    assert {json.loads(letter["line"])["event_id"] for letter in letters(spool)} == {written[n] for n in bad}
    assert all("InvalidParameterException: poison" in letter["reason"] for letter in letters(spool))
    assert (totals.dead, totals.retries) == (4, 0)


def test_what_was_put_before_a_failure_is_not_put_again(
    strict: StrictCloudWatch, group: str, spool: Path, drain: Drain
) -> None:
    """In the midst of the search for a bad event the server fails: only the rest is sent again."""
    strict.poison = "gpt-poison"
    events = [usage_event(n) for n in range(8)]
    events[7]["model"] = "gpt-poison"
    written = write(spool, events)
    strict.create(group, "proxy")
    strict.faults = [None, None, FAULTS[0], FAULTS[1]]
    drain()
    assert ids(strict.messages(group)) == written[:7]


def test_an_outage_is_waited_out(strict: StrictCloudWatch, group: str, spool: Path, make: Any) -> None:
    written = write(spool, [usage_event(n) for n in range(20)])
    sink = make()
    stop, totals = threading.Event(), Totals()
    sender = Delivery(sink, totals, patient=True, stop=stop)
    strict.stop()
    with SpoolReader(spool, "cloudwatch") as reader:
        plan = sink.plan(reader.read().records)
    thread = threading.Thread(target=sender.send, args=(plan.parcels,))
    thread.start()
    deadline = time.monotonic() + 30
    while totals.retries < delivery.TRIES_ONCE + 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    strict.start()
    thread.join(30)
    assert totals.retries > delivery.TRIES_ONCE, "patience has no end"
    assert ids(strict.messages(group)) == written


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (ACCESS_DENIED, "the right logs:PutLogEvents is missing"),
        (EXPIRED, "ExpiredTokenException: The security token included in the request is expired"),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_rights_and_credentials_are_asked_for_once_a_minute_and_waited_for(
    fault: Fault, said: str, strict: StrictCloudWatch, group: str, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    strict.create(group, "proxy")
    strict.faults = [fault] * 12
    sink = make()
    plan = sink.plan([record(usage_event(1))])
    with caplog.at_level(logging.WARNING, "dispatch"):
        sender = Delivery(sink, Totals(), patient=True, stop=threading.Event())
        assert sender.send(plan.parcels) == []
    warnings = [entry.message for entry in caplog.records if entry.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert said in warnings[0]
    assert len(strict.messages(group)) == 1


def test_missing_rights_are_named(strict: StrictCloudWatch, group: str, make: Any) -> None:
    for action in ("PutLogEvents", "CreateLogStream", "CreateLogGroup"):
        strict.denied = {f"logs:{action}"}
        sink = make()
        (parcel,) = sink.plan([record(usage_event(1))]).parcels
        with pytest.raises(Misconfigured, match=rf"the right logs:{action} is missing.*cloudwatch policy"):
            sink.send(parcel)
    # The group is there: the right to make one is not needed.
    strict.create(group)
    sink.send(parcel)
    assert len(strict.messages(group)) == 1


@pytest.mark.slow
def test_renewed_credentials_are_found(
    strict: StrictCloudWatch, group: str, make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write_key(key: str) -> None:
        (tmp_path / "credentials").write_text(
            f"[default]\naws_access_key_id={key}\naws_secret_access_key=s\n"
        )

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    write_key("AKIAOLD")
    strict.create(group, "proxy")
    strict.access_keys = {"AKIANEW"}
    sink = make()
    (parcel,) = sink.plan([record(usage_event(1))]).parcels
    with pytest.raises(Misconfigured, match="UnrecognizedClientException"):
        sink.send(parcel)
    write_key("AKIANEW")
    with pytest.raises(Misconfigured):
        sink.send(parcel)  # signed with what was read after the first failure
    assert sink.send(parcel) == []


def test_no_credentials(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    sink = make()
    (parcel,) = sink.plan([record(usage_event(1))]).parcels
    with pytest.raises(Misconfigured, match="no usable credentials"):
        sink.send(parcel)


def test_a_stream_that_vanishes_again_is_an_outage(strict: StrictCloudWatch, group: str, make: Any) -> None:
    strict.faults = [STREAM_DELETED, STREAM_DELETED]
    sink = make()
    (parcel,) = sink.plan([record(usage_event(1))]).parcels
    with pytest.raises(Unavailable, match="is not there"):
        sink.send(parcel)


def test_one_stream_that_fails_holds_up_no_other(
    strict: StrictCloudWatch, group: str, spool: Path, drain: Drain
) -> None:
    events = [usage_event(n, project_id="bad" if n % 2 else "good") for n in range(20)]
    written = write(spool, events)
    strict.create(group, "p-good", "p-none")
    strict.denied = {"logs:CreateLogStream"}
    with pytest.raises(GaveUp, match="logs:CreateLogStream"):
        drain(stream="p-{project_id}")
    assert ids(strict.messages(group, "p-good")) == written[::2]
    strict.denied = set()
    drain(stream="p-{project_id}")
    assert ids(strict.messages(group, "p-bad")) == written[1::2]


def test_what_only_a_person_can_mend_ends_a_drain_at_once(
    strict: StrictCloudWatch, group: str, spool: Path, dispatch: Run
) -> None:
    write(spool, [usage_event(1)])
    strict.faults = [ACCESS_DENIED]
    begin = time.monotonic()
    done = dispatch(*to_cloudwatch(strict.url, group))
    assert time.monotonic() - begin < 30
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"Error: cloudwatch: access to {group} is denied: the right logs:PutLogEvents")
    assert "Traceback" not in done.stderr
    assert dispatch(*to_cloudwatch(strict.url, group)).returncode == 0, "nothing was lost"


@pytest.mark.parametrize(
    ("bypass", "named"), [("", True), ("localhost", True), (".amazonaws.com", False), ("*", False)]
)
def test_a_proxy_that_may_be_llmproxy_itself_is_named(
    bypass: str, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable that sends clients to llmproxy sends the SDK of AWS there, too."""
    for name in ("https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@127.0.0.1:8080")
    monkeypatch.setenv("NO_PROXY", bypass)
    url = "https://logs.eu-central-1.amazonaws.com/"
    refused = ProxyConnectionError(proxy_url="http://127.0.0.1:8080")
    for error, host in ((EndpointConnectionError(endpoint_url=url), "logs.eu-central-1"), (refused, "")):
        text = str(explained(error, "group"))
        assert (f"put {host}.amazonaws.com into NO_PROXY" in text) is named
        assert "secret" not in text
