"""The sink against a strict server of our own, and against moto; real HTTP, real boto3."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch.errors import Misconfigured, Unavailable
from dispatch.privacy import Guarded, Privacy
from dispatch.service import Dispatcher
from dispatch.sinks import Rejected
from dispatch.sinks.cloudwatch import MAX_MESSAGE, CloudWatchSink
from dispatch.sinks.cloudwatch.streams import StreamNames
from scripts.benchmarks.strict_cloudwatch import (
    Fault,
    StrictCloudWatch,
    violation,
)
from scripts.benchmarks.strict_cloudwatch.operations import OPERATIONS
from store.core.times import rfc3339
from store.spool import SpoolReader
from tests.dispatch.cloudwatch import REGION, client, stored
from tests.dispatch.cloudwatch_sink import Drain, ids, letters, record
from tests.dispatch.conftest import Run, to_cloudwatch, usage_event, write

pytestmark = pytest.mark.usefixtures("quick", "aws_credentials")


def test_group_and_stream_are_made_and_order_is_kept(
    strict: StrictCloudWatch, group: str, spool: Path, dispatch: Run
) -> None:
    at = datetime.now(UTC) - timedelta(minutes=5)
    events = [usage_event(n, at + timedelta(milliseconds=n // 3)) for n in range(2500)]
    written = write(spool, events)
    done = dispatch(*to_cloudwatch(strict.url, group, "--batch-size", "700", "--json"))
    assert done.returncode == 0, done.stderr
    totals = json.loads(done.stdout)
    assert (totals["sent"], totals["dead"], totals["batches"]) == (2501, 0, 4)
    found = strict.messages(group, "proxy")
    assert ids(found) == written
    assert found[-1]["last_seq"] == 2500
    assert strict.events(group)[0].timestamp == int(at.timestamp() * 1000)
    assert "SECRET" not in json.dumps(found)
    assert list(strict.logs.groups[group].streams) == ["proxy"]
    assert len({put.connection for put in strict.puts}) == 1, "the connection is kept alive"
    assert not any(put.sequence_token for put in strict.puts)
    again = dispatch(*to_cloudwatch(strict.url, group, "--json"))
    assert json.loads(again.stdout)["sent"] == 0
    assert list(spool.glob("*.jsonl")) == [], "what was sent is removed"


def test_the_same_with_moto(moto: str, group: str, spool: Path, dispatch: Run) -> None:
    written = write(spool, [usage_event(n) for n in range(300)])
    done = dispatch(*to_cloudwatch(moto, group))
    assert done.returncode == 0, done.stderr
    found = stored(moto, group)
    assert sorted(ids(found)) == sorted(written)
    streams = client(moto).describe_log_streams(logGroupName=group)["logStreams"]
    assert [stream["logStreamName"] for stream in streams] == ["proxy"]


def test_calls_stay_within_the_limits_of_the_service(
    strict: StrictCloudWatch, group: str, spool: Path, drain: Drain
) -> None:
    """Large, multi-byte messages over three days."""
    now = datetime.now(UTC)
    events = [
        usage_event(n, now - timedelta(hours=n % 72), response={"body": "ж" * 60_000}) for n in range(60)
    ]
    written = write(spool, events)
    drain(include_content=True)
    assert {put.outcome for put in strict.puts[1:]} == {"stored"}
    found = {message["event_id"]: message for message in strict.messages(group)}
    assert set(written) <= set(found)
    assert found[written[0]]["response"]["body"] == "ж" * 60_000


def test_what_is_too_long_is_shrunk_in_order_and_marked(
    strict: StrictCloudWatch, group: str, spool: Path, drain: Drain
) -> None:
    now = datetime.now(UTC)
    long = "ж" * 80_000
    sizes = [
        {"request": {"headers": {"h": "v"}, "body": long}, "response": {"body": "short"}},
        {"request": {"headers": {"h": "v"}, "body": long}, "response": {"body": long + long}},
        {"request": {"headers": {"h": long}, "body": "short"}, "response": {"body": "short"}},
        {"token_metadata": {"k": long + long}},
    ]
    written = write(spool, [usage_event(n, now, **fields) for n, fields in enumerate(sizes)])
    totals = drain(include_content=True, max_message=100_000)
    found = {message["event_id"]: message for message in strict.messages(group)}
    one, two, three = (found[event] for event in written[:3])
    assert one["request"] == {"headers": {"h": "v"}}
    assert one["response"] == {"body": "short"}
    assert [text.partition(":")[0] for text in one["truncated"]] == ["request.body"]
    assert "response" not in two
    assert [text.partition(":")[0] for text in two["truncated"]] == ["request.body", "response.body"]
    assert "request" not in three
    assert three["usage"] == {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3, "source": "api"}
    assert totals.dead == 1
    assert [json.loads(letter["line"])["event_id"] for letter in letters(spool)] == [written[3]]
    assert "too long" in letters(spool)[0]["reason"]


def test_the_largest_event_that_the_service_allows(
    strict: StrictCloudWatch, group: str, spool: Path, drain: Drain
) -> None:
    write(spool, [usage_event(1, response={"body": "x" * 900_000})])
    drain(include_content=True, max_message=10**9)
    assert "truncated" not in strict.messages(group)[0]
    assert max(put.size for put in strict.puts) > 900_000


def test_events_that_are_too_old_are_put_aside_and_too_new_ones_are_kept(
    strict: StrictCloudWatch, group: str, spool: Path, drain: Drain
) -> None:
    now = datetime.now(UTC)
    events = [
        usage_event(0, now - timedelta(days=15)),
        usage_event(1, now - timedelta(days=13)),
        usage_event(2, now),
        usage_event(3, now + timedelta(days=2)),
    ]
    written = write(spool, events)
    assert drain().dead == 1
    assert sorted(ids(strict.messages(group))) == sorted(written[1:])
    assert [json.loads(letter["line"])["event_id"] for letter in letters(spool)] == written[:1]
    assert "14 days" in letters(spool)[0]["reason"]


def test_streams_are_written_side_by_side_and_each_in_order(
    strict: StrictCloudWatch, group: str, spool: Path, drain: Drain
) -> None:
    """Two calls must be within the server at the same time, or it would not answer the first one."""
    at = datetime.now(UTC) - timedelta(minutes=5)
    events = [usage_event(n, at + timedelta(milliseconds=n)) for n in range(8000)]
    written = write(spool, events, 1000)
    strict.create(group, *(f"proxy-{n}" for n in range(1, 5)))
    together = threading.Barrier(2)
    waited = iter([None, None])

    def both() -> Fault | None:
        for _ in waited:
            together.wait(30)
            break
        return None

    strict.chance = both
    drain(batch_size=4000, streams=4)
    found = {stream: strict.messages(group, stream) for stream in strict.logs.groups[group].streams}
    assert set(found) == {"proxy-1", "proxy-2", "proxy-3", "proxy-4"}
    assert sorted(event for messages in found.values() for event in ids(messages)) == sorted(written)
    for messages in found.values():
        numbers = [message["seq"] for message in messages if "seq" in message]
        assert len(numbers) > 500
        assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--service", "cloudwatch"), "--log-group"),
        (("--service", "cloudwatch", "--log-group", "g"), "no region is set"),
        (("--service", "cloudwatch", "--log-group", "a b", "--region", "x"), "'a b'"),
        (
            ("--service", "cloudwatch", "--log-group", "g", "--log-stream", "{user}", "--region", "x"),
            "{user}",
        ),
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


def test_a_check_needs_a_senders_rights_only_and_stores_nothing(
    strict: StrictCloudWatch, group: str, make: Any
) -> None:
    strict.denied = {f"logs:{name}" for name in (*OPERATIONS, "PutLogEvents")} - {"logs:PutLogEvents"}
    assert "lets us in" in make().check()
    strict.create(group, "proxy")
    assert make().check() == f"{group} takes events in log stream proxy"
    assert "what is missing will be made" in make("{date}").check()
    assert strict.events(group) == []
    assert list(strict.logs.groups[group].streams) == ["proxy"]
    strict.denied.add("logs:PutLogEvents")
    with pytest.raises(Misconfigured, match="the right logs:PutLogEvents is missing"):
        make().check()
    strict.stop()
    with pytest.raises(Unavailable):
        make().check()


def test_a_check_with_moto(moto: str, group: str) -> None:
    sink = CloudWatchSink(group, StreamNames("proxy"), region=REGION, endpoint_url=moto)
    assert "lets us in" in sink.check()
    client(moto).create_log_group(logGroupName=group)
    client(moto).create_log_stream(logGroupName=group, logStreamName="proxy")
    assert "takes events" in sink.check()
    assert stored(moto, group) == []


def test_signs_of_life(
    strict: StrictCloudWatch, group: str, spool: Path, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """While it follows and nothing comes; a failure of one is no failure of the dispatcher."""
    written = write(spool, [usage_event(1)])
    stop = threading.Event()
    strict.chance = lambda: stop.set() if len(beats()) >= 3 else None  # type: ignore[func-returns-value]

    def beats() -> list[dict[str, Any]]:
        streams = strict.logs.groups[group].streams if group in strict.logs.groups else {}
        names = [name for name in streams if name.startswith("dispatcher-")]
        return [message for name in names for message in strict.messages(group, name)]

    guarded = Guarded(make(beat_seconds=0.01), Privacy())
    with SpoolReader(spool, "cloudwatch") as reader:
        Dispatcher(reader, guarded, batch_size=10, follow=True, stop=stop).run()
    assert {beat["type"] for beat in beats()} == {"llm_proxy_dispatcher"}
    assert beats()[-1]["backlog_bytes"] == 0
    assert ids(strict.messages(group, "proxy")) == written
    count = len(beats())
    strict.denied = {"logs:PutLogEvents"}
    guarded.beat(1)
    for silent in (make(beat_seconds=0), make()):
        silent.beat(1)
    assert len(beats()) == count
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]


@pytest.fixture(scope="module")
def planner() -> CloudWatchSink:
    names = StreamNames("s-{project_id}", 2)
    return CloudWatchSink("group", names, region=REGION, include_content=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(-20 * 86400, 5 * 3600),
            st.integers(0, 300_000),
            st.sampled_from("aé€𝄞\ud800"),
            st.sampled_from([None, "p", "q:*"]),
        ),
        max_size=40,
    )
)
def test_plans_are_within_the_limits_and_lose_nothing(
    planner: CloudWatchSink, events: list[tuple[int, int, str, str | None]]
) -> None:
    """Any times, any lengths, any width of character, any project."""
    now = datetime.now(UTC)
    records = []
    for number, (seconds, length, character, project) in enumerate(events):
        value = {
            "type": "llm_proxy_usage",
            "event_id": str(number),
            "timestamp": rfc3339(now + timedelta(seconds=seconds)),
            "project_id": project,
            "seq": number * 700,
            "response": {"body": character * (length // len(character.encode(errors="replace")))},
        }
        records.append(record(value))
    plan = planner.plan(records)
    for parcel in plan.parcels:
        (part,) = parcel.content.left
        assert violation([{"timestamp": e.timestamp, "message": e.message} for e in part]) is None
        assert all(len(event.message.encode()) <= MAX_MESSAGE for event in part)
        assert [event.record for event in part] == list(parcel.records)
        assert parcel.lane == parcel.content.stream
    planned = [record for parcel in plan.parcels for record in parcel.records]
    assert sorted(map(id, planned + [r.record for r in plan.rejected])) == sorted(map(id, records))
    assert all(
        rejected.record.value["timestamp"] < rfc3339(now - timedelta(days=13)) for rejected in plan.rejected
    )
    assert all(isinstance(rejected, Rejected) for rejected in plan.rejected)


def test_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(Misconfigured, match="no region"):
        CloudWatchSink("group")
