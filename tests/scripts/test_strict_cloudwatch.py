"""The stand-in for CloudWatch Logs refuses and fails as the service does; real boto3, without its retries."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from scripts.benchmarks.strict_cloudwatch import (
    ACCESS_DENIED,
    CUT_AFTER,
    CUT_BEFORE,
    FAULTS,
    GATEWAY,
    GROUP_DELETED,
    HALF_ANSWER,
    RESET_MID_BODY,
    STREAM_DELETED,
    THROTTLED,
    TIMEOUT_AFTER,
    Fault,
    Rejection,
    StrictCloudWatch,
)

GROUP, STREAM = "/llm/usage", "s"
HOUR = 3_600_000


@pytest.fixture
def server() -> Iterator[StrictCloudWatch]:
    with StrictCloudWatch() as running:
        running.create(GROUP, STREAM)
        yield running


@pytest.fixture
def client(server: StrictCloudWatch) -> Any:
    return connect(server)


def connect(server: StrictCloudWatch, **config: Any) -> Any:
    settings = {"retries": {"total_max_attempts": 1}, "parameter_validation": False, **config}
    return boto3.client(
        "logs",
        region_name="eu-central-1",
        endpoint_url=server.url,
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="secret",
        config=Config(**settings),
    )


def now() -> int:
    return int(time.time() * 1000)


def put(client: Any, events: Any, stream: str = STREAM) -> Any:
    return client.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)


def event(at: int | None = None, message: str = "m") -> dict[str, Any]:
    return {"timestamp": now() if at is None else at, "message": message}


def test_what_is_put_can_be_read_in_the_order_of_time(server: StrictCloudWatch, client: Any) -> None:
    at = now()
    put(client, [event(at, "b"), event(at + 5, "d")])
    put(client, [event(at - 5, "a"), event(at, "c")])
    pages = client.get_paginator("filter_log_events").paginate(
        logGroupName=GROUP, PaginationConfig={"PageSize": 3}
    )
    assert [found["message"] for page in pages for found in page["events"]] == ["a", "b", "c", "d"]
    got = client.get_log_events(logGroupName=GROUP, logStreamName=STREAM, startFromHead=True)
    assert [found["message"] for found in got["events"]] == ["a", "b", "c", "d"]
    assert [found.message for found in server.events(GROUP, STREAM)] == ["b", "d", "a", "c"]
    assert {taken.connection for taken in server.puts} == {1}, "one connection, kept alive"


def span(hours: float) -> list[dict[str, Any]]:
    at = now() - HOUR
    return [event(at - int(hours * HOUR)), event(at)]


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([event(message="é" * 524_275)], None),
        ([event(message="é" * 524_275 + "e")], "InvalidParameterException"),
        ([event(message="x" * 524_262)] * 2, None),
        ([event(message="x" * 524_262), event(message="x" * 524_263)], "InvalidParameterException"),
        ([event(message="x")] * 10_000, None),
        ([event(message="x")] * 10_001, "InvalidParameterException"),
        ([], "InvalidParameterException"),
        ([event(message="")], "InvalidParameterException"),
        ([event(-1)], "InvalidParameterException"),
        ([event(), event(now() - HOUR)], "InvalidParameterException"),
        (span(24), None),
        (span(24.001), "InvalidParameterException"),
        ([event(now() - 15 * 24 * HOUR), event()], None),  # the old one is outside of the window
        ([event(message="half \ud800 pair")], "InvalidParameterException"),
        ([{"timestamp": "1", "message": "m"}], "SerializationException"),
        ([{"timestamp": 1}], "SerializationException"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_limits(client: Any, events: list[dict[str, Any]], code: str | None) -> None:
    if code is None:
        put(client, events)
        return
    with pytest.raises(ClientError) as caught:
        put(client, events)
    assert caught.value.response["Error"]["Code"] == code


def test_rejected_events_are_counted_from_both_ends(server: StrictCloudWatch, client: Any) -> None:
    day = 24 * HOUR
    client.put_retention_policy(logGroupName=GROUP, retentionInDays=1)
    times = [now() - 15 * day, now() - 14 * day - HOUR, now() - 25 * HOUR, now() - 2 * HOUR, now() + 3 * HOUR]
    answer = put(client, [event(at, str(number)) for number, at in enumerate(times)])
    assert answer["rejectedLogEventsInfo"] == {
        "tooOldLogEventEndIndex": 2,
        "expiredLogEventEndIndex": 3,
        "tooNewLogEventStartIndex": 4,
    }
    assert [found.message for found in server.events(GROUP)] == ["3"]
    server.faults = [Fault("rejects", reject=Rejection(too_old_end=1))]
    answer = put(client, [event(message="x"), event(message="y")])
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}
    assert [found.message for found in server.events(GROUP)] == ["3", "y"]


def test_names_and_what_is_missing(client: Any) -> None:
    for name in ("aws/x", "has space", "x" * 513, "colon:"):
        with pytest.raises(ClientError, match="InvalidParameterException"):
            client.create_log_group(logGroupName=name)
    for name in ("a:b", "a*", "", "x" * 513):
        with pytest.raises(ClientError, match="InvalidParameterException"):
            client.create_log_stream(logGroupName=GROUP, logStreamName=name)
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="log stream"):
        put(client, [event()], "missing")
    with pytest.raises(client.exceptions.ResourceAlreadyExistsException):
        client.create_log_group(logGroupName=GROUP)
    with pytest.raises(ClientError, match="InvalidParameterException"):
        client.put_retention_policy(logGroupName=GROUP, retentionInDays=2)


@pytest.mark.parametrize("fault", [*FAULTS, ACCESS_DENIED], ids=lambda fault: fault.name)
def test_faults(server: StrictCloudWatch, client: Any, fault: Fault) -> None:
    server.faults = [fault, None]
    with pytest.raises((ClientError, BotoCoreError)) as caught:
        put(client, [event(message="x" * 500_000)])
    if fault.code:
        assert isinstance(caught.value, ClientError)
        assert caught.value.response["Error"]["Code"] == fault.code
    elif fault in {CUT_BEFORE, CUT_AFTER, RESET_MID_BODY, HALF_ANSWER}:
        assert isinstance(caught.value, BotoCoreError)
    elif fault is GATEWAY:
        assert isinstance(caught.value, ClientError)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 502
    else:
        assert fault in {STREAM_DELETED, GROUP_DELETED}
        assert "ResourceNotFoundException" in str(caught.value)
        server.logs.groups.pop(GROUP, None)
        server.create(GROUP, STREAM)
    stored = len(server.events(GROUP))
    assert stored == int(fault.stored)
    put(client, [event()])
    assert len(server.events(GROUP)) == stored + 1


def test_a_caller_that_times_out_does_not_learn_that_its_call_was_taken(server: StrictCloudWatch) -> None:
    client = connect(server, read_timeout=0.3)
    server.faults = [TIMEOUT_AFTER]
    with pytest.raises(BotoCoreError, match="Read timeout"):
        put(client, [event()])
    assert len(server.events(GROUP)) == 1


def test_rights_credentials_and_rates(server: StrictCloudWatch, client: Any) -> None:
    server.denied = {"logs:PutLogEvents"}
    with pytest.raises(ClientError, match=r"not authorized to perform: logs:PutLogEvents"):
        put(client, [event()])
    server.denied = set()
    server.access_keys = {"other"}
    with pytest.raises(client.exceptions.UnrecognizedClientException):
        put(client, [event()])
    server.access_keys = None
    with StrictCloudWatch(per_second=1) as slow:
        slow.create(GROUP, STREAM)
        slow_client = connect(slow)
        put(slow_client, [event()])
        with pytest.raises(ClientError, match=THROTTLED.code):
            put(slow_client, [event()])


def test_an_outage(server: StrictCloudWatch, client: Any) -> None:
    put(client, [event()])
    server.stop()
    with pytest.raises(BotoCoreError):
        put(client, [event()])
    server.start()
    put(client, [event()])
    assert len(server.events(GROUP)) == 2


def test_settings_filters_and_queries(client: Any) -> None:
    client.put_retention_policy(logGroupName=GROUP, retentionInDays=30)
    client.associate_kms_key(logGroupName=GROUP, kmsKeyId="arn:aws:kms:x")
    (group,) = client.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]
    assert (group["retentionInDays"], group["kmsKeyId"]) == (30, "arn:aws:kms:x")
    client.tag_resource(resourceArn=group["logGroupArn"], tags={"team": "x"})
    assert client.list_tags_for_resource(resourceArn=group["logGroupArn"])["tags"] == {"team": "x"}
    transformation = {"metricName": "m", "metricNamespace": "n", "metricValue": "1"}
    client.put_metric_filter(
        logGroupName=GROUP, filterName="f", filterPattern="", metricTransformations=[transformation]
    )
    assert len(client.describe_metric_filters(logGroupName=GROUP)["metricFilters"]) == 1
    with pytest.raises(ClientError, match="dimensions"):
        client.put_metric_filter(
            logGroupName=GROUP,
            filterName="g",
            filterPattern="",
            metricTransformations=[
                {**transformation, "defaultValue": 0, "dimensions": {"a": "$.a", "b": "$.b"}}
            ],
        )
    made = client.put_query_definition(name="q", queryString="fields x", logGroupNames=[GROUP])
    client.put_query_definition(name="q", queryString="fields y", queryDefinitionId=made["queryDefinitionId"])
    (query,) = client.describe_query_definitions(queryDefinitionNamePrefix="q")["queryDefinitions"]
    assert query["queryString"] == "fields y"
    assert "logGroupNames" not in query, "an update replaces everything"
    assert client.delete_query_definition(queryDefinitionId=made["queryDefinitionId"])["success"]
    client.delete_metric_filter(logGroupName=GROUP, filterName="f")


def test_messages(server: StrictCloudWatch, client: Any) -> None:
    put(client, [event(message=json.dumps({"a": 1}))])
    assert server.messages(GROUP) == [{"a": 1}]
