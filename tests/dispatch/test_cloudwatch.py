from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch.errors import Misconfigured
from dispatch.sinks.cloudwatch import MAX_MESSAGE, CloudWatchSink
from store.models import rfc3339
from store.spool import Record, SpoolReader
from tests.dispatch.cloudwatch import CUT_AFTER, CUT_BEFORE, REGION, Layer, client, stored, violation
from tests.dispatch.conftest import Run, to_cloudwatch, usage_event, write


def ids(messages: list[dict[str, Any]]) -> list[str]:
    return [message["event_id"] for message in messages if message["type"] == "llm_proxy_usage"]


def test_group_and_stream_are_made_and_order_is_kept(
    moto: str, layer: Layer, group: str, spool: Path, dispatch: Run
) -> None:
    at = datetime.now(UTC) - timedelta(minutes=5)
    events = [usage_event(n, at + timedelta(milliseconds=n // 3)) for n in range(2500)]
    written = write(spool, events)
    done = dispatch(*to_cloudwatch(layer.url, group, "--batch-size", "700", "--json"))
    assert done.returncode == 0, done.stderr
    totals = json.loads(done.stdout)
    assert (totals["sent"], totals["dead"], totals["batches"]) == (2501, 0, 4)
    found = stored(moto, group)
    assert ids(found) == written
    assert found[0]["stored_at"] == int(at.timestamp() * 1000)
    assert found[-1]["type"] == "llm_proxy_writer" or found[-1]["last_seq"] == 2500
    assert "SECRET" not in json.dumps(found)
    streams = client(moto).describe_log_streams(logGroupName=group)["logStreams"]
    assert [stream["logStreamName"] for stream in streams] == ["proxy"]
    assert layer.refused == []
    again = dispatch(*to_cloudwatch(layer.url, group, "--json"))
    assert json.loads(again.stdout)["sent"] == 0
    assert list(spool.glob("*.jsonl")) == [], "what was sent is removed"


def test_calls_stay_within_the_limits_of_the_service(
    moto: str, layer: Layer, group: str, spool: Path, dispatch: Run
) -> None:
    """Large, multi-byte messages over three days, one of them too long for any call."""
    now = datetime.now(UTC)
    events = [
        usage_event(n, now - timedelta(hours=n % 72), response={"body": "ж" * 60_000}) for n in range(60)
    ]
    events.append(usage_event(60, now, response={"body": "ж" * 200_000}))
    written = write(spool, events)
    done = dispatch(*to_cloudwatch(layer.url, group, "--include-content"))
    assert done.returncode == 0, done.stderr
    assert layer.refused == []
    assert max(layer.puts) < 20
    found = {message["event_id"]: message for message in stored(moto, group)}
    assert set(written) <= set(found)
    assert found[written[0]]["response"]["body"] == "ж" * 60_000
    assert "response" not in found[written[60]]
    assert "too many for CloudWatch" in found[written[60]]["truncated"][0]


def test_events_that_are_too_old_are_put_aside_and_too_new_ones_are_kept(
    moto: str, layer: Layer, group: str, spool: Path, dispatch: Run
) -> None:
    now = datetime.now(UTC)
    events = [
        usage_event(0, now - timedelta(days=15)),
        usage_event(1, now - timedelta(days=13)),
        usage_event(2, now),
        usage_event(3, now + timedelta(days=2)),
    ]
    written = write(spool, events)
    done = dispatch(*to_cloudwatch(layer.url, group, "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dead"] == 1
    assert sorted(ids(stored(moto, group))) == sorted(written[1:])
    assert layer.refused == []
    letters = [json.loads(line) for line in (spool / "dead" / "cloudwatch.jsonl").read_text().splitlines()]
    assert [json.loads(letter["line"])["event_id"] for letter in letters] == written[:1]
    assert "14 days" in letters[0]["reason"]


FAULTS = [
    (400, "ThrottlingException"),
    (503, "ServiceUnavailableException"),
    (500, "InternalFailure"),
    CUT_BEFORE,
    CUT_AFTER,
    (400, "DataAlreadyAcceptedException"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_outlived(
    fault: Any, moto: str, layer: Layer, group: str, spool: Path, dispatch: Run
) -> None:
    written = write(spool, [usage_event(n) for n in range(30)])
    client(moto).create_log_group(logGroupName=group)
    client(moto).create_log_stream(logGroupName=group, logStreamName="proxy")
    layer.faults = [fault]
    done = dispatch(*to_cloudwatch(layer.url, group, "--batch-size", "10", "--json"))
    assert done.returncode == 0, done.stderr
    found = ids(stored(moto, group))
    twice = 10 if fault == CUT_AFTER else 0
    missing = 10 if fault[1] == "DataAlreadyAcceptedException" else 0  # the layer lied
    assert set(found) == set(written[missing:])
    assert len(found) == 30 + twice - missing
    assert json.loads(done.stdout)["retries"] == (0 if missing else 1)


def test_one_bad_event_does_not_hold_up_the_others(
    moto: str, layer: Layer, group: str, spool: Path, dispatch: Run
) -> None:
    layer.poison = "gpt-poison"
    events = [usage_event(n) for n in range(50)]
    events[23]["model"] = "gpt-poison"
    written = write(spool, events)
    done = dispatch(*to_cloudwatch(layer.url, group))
    assert done.returncode == 0, done.stderr
    assert ids(stored(moto, group)) == written[:23] + written[24:]
    assert "gpt-poison" in (spool / "dead" / "cloudwatch.jsonl").read_text()


def test_what_only_a_person_can_mend_ends_a_drain_at_once(
    layer: Layer, group: str, spool: Path, dispatch: Run
) -> None:
    write(spool, [usage_event(1)])
    layer.faults = [(400, "AccessDeniedException")]
    begin = time.monotonic()
    done = dispatch(*to_cloudwatch(layer.url, group))
    assert time.monotonic() - begin < 30
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: cloudwatch: AccessDeniedException")
    assert "Traceback" not in done.stderr
    assert dispatch(*to_cloudwatch(layer.url, group)).returncode == 0, "nothing was lost"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--service", "cloudwatch"), "--log-group"),
        (("--service", "cloudwatch", "--log-group", "g"), "no region is set"),
        (("--service", "file"), "--output"),
        (("--service", "carrier-pigeon"), "carrier-pigeon"),
        (("--service", "file", "--output", "x", "--batch-size", "0"), "--batch-size"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], said: str, spool: Path, dispatch: Run) -> None:
    write(spool, [usage_event(1)])
    done = dispatch(*arguments, AWS_CONFIG_FILE="/nonexistent")
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


def test_settings_from_the_environment(moto: str, group: str, spool: Path, dispatch: Run) -> None:
    """Flags go before DISPATCHER_*, which go before AWS_*."""
    written = write(spool, [usage_event(1)])
    for consumer in ("two", "three"):  # registered, so that segments wait for them
        SpoolReader(spool, consumer).close()
    settings = {
        "DISPATCHER_SERVICE": "cloudwatch",
        "DISPATCHER_CLOUDWATCH_LOG_GROUP": group,
        "DISPATCHER_CLOUDWATCH_LOG_STREAM": "from-environment",
        "DISPATCHER_CLOUDWATCH_ENDPOINT_URL": moto,
        "DISPATCHER_CLOUDWATCH_REGION": REGION,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-west-2",
    }
    done = dispatch(**settings)
    assert done.returncode == 0, done.stderr
    assert ids(stored(moto, group)) == written
    flagged = dispatch("--log-stream", "from-flag", "--consumer", "two", **settings)
    assert flagged.returncode == 0, flagged.stderr
    del settings["DISPATCHER_CLOUDWATCH_REGION"]
    settings["AWS_REGION"] = REGION
    assert dispatch("--consumer", "three", **settings).returncode == 0
    streams = client(moto).describe_log_streams(logGroupName=group)["logStreams"]
    assert sorted(stream["logStreamName"] for stream in streams) == ["from-environment", "from-flag"]
    assert len(stored(moto, group)) == 6


@pytest.fixture(scope="module")
def sink() -> CloudWatchSink:
    return CloudWatchSink("group", "stream", region=REGION, include_content=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-20 * 86400, 5 * 3600), st.integers(0, 300_000), st.sampled_from("aé€𝄞")),
        max_size=40,
    )
)
def test_plans_are_within_the_limits_and_lose_nothing(
    sink: CloudWatchSink, events: list[tuple[int, int, str]]
) -> None:
    """Any times, any lengths, any width of character."""
    now = datetime.now(UTC)
    records = []
    for number, (seconds, length, character) in enumerate(events):
        value = {
            "type": "llm_proxy_usage",
            "event_id": str(number),
            "timestamp": rfc3339(now + timedelta(seconds=seconds)),
            "response": {"body": character * (length // len(character.encode()))},
        }
        records.append(Record(b"", value, "s", number))
    plan = sink.plan(records)
    for parcel in plan.parcels:
        assert violation([{"timestamp": e.timestamp, "message": e.message} for e in parcel.content]) is None
        assert all(len(event.message.encode()) <= MAX_MESSAGE for event in parcel.content)
        assert [event.record for event in parcel.content] == list(parcel.records)
    planned = [record for parcel in plan.parcels for record in parcel.records]
    assert sorted(map(id, planned + [r.record for r in plan.rejected])) == sorted(map(id, records))
    assert all(
        record.value["timestamp"] < rfc3339(now - timedelta(days=13))
        for record in (rejected.record for rejected in plan.rejected)
    )


def test_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(Misconfigured, match="no region"):
        CloudWatchSink("group", "stream")
