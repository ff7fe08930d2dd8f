"""Run the operations that a sender and a setup need, each a function from its input to its output."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from scripts.benchmarks.strict_cloudwatch import rules
from scripts.benchmarks.strict_cloudwatch.state import Event, Group, Logs

Input = dict[str, Any]
ACCOUNT = "123456789012"
PAGE = 10_000


def create_group(logs: Logs, given: Input) -> Input:
    name = given.get("logGroupName")
    if not isinstance(name, str) or not rules.GROUP_NAME.match(name):
        raise rules.invalid(f"Value {name!r} at 'logGroupName' failed to satisfy constraint")
    if name in logs.groups:
        raise rules.Refused("ResourceAlreadyExistsException", "The specified log group already exists")
    group_class = given.get("logGroupClass", "STANDARD")
    if group_class not in {"STANDARD", "INFREQUENT_ACCESS", "DELIVERY"}:
        raise rules.invalid(f"Value {group_class!r} at 'logGroupClass' failed to satisfy constraint")
    logs.groups[name] = Group(
        {"logGroupClass": group_class, **{key: given[key] for key in ("kmsKeyId",) if given.get(key)}},
        tags=dict(given.get("tags") or {}),
    )
    return {}


def create_stream(logs: Logs, given: Input) -> Input:
    group, name = logs.group(given.get("logGroupName")), given.get("logStreamName")
    if not isinstance(name, str) or not rules.STREAM_NAME.match(name):
        raise rules.invalid(f"Value {name!r} at 'logStreamName' failed to satisfy constraint")
    if name in group.streams:
        raise rules.Refused("ResourceAlreadyExistsException", "The specified log stream already exists")
    group.streams[name] = []
    return {}


def delete_group(logs: Logs, given: Input) -> Input:
    logs.group(given.get("logGroupName"))
    del logs.groups[given["logGroupName"]]
    return {}


def delete_stream(logs: Logs, given: Input) -> Input:
    group = logs.group(given.get("logGroupName"))
    if group.streams.pop(given.get("logStreamName", ""), None) is None:
        raise rules.Refused("ResourceNotFoundException", "The specified log stream does not exist.")
    return {}


def describe_groups(logs: Logs, given: Input) -> Input:
    prefix = given.get("logGroupNamePrefix", "")
    return {
        "logGroups": [
            {
                "logGroupName": name,
                "creationTime": group.created,
                "arn": f"{arn(name)}:*",
                "logGroupArn": arn(name),
                **group.settings,
                **({"retentionInDays": group.retention} if group.retention else {}),
            }
            for name, group in sorted(logs.groups.items())
            if name.startswith(prefix)
        ]
    }


def describe_streams(logs: Logs, given: Input) -> Input:
    group, prefix = logs.group(given.get("logGroupName")), given.get("logStreamNamePrefix", "")
    return {
        "logStreams": [
            {"logStreamName": name, "arn": f"{arn(given['logGroupName'])}:log-stream:{name}"}
            for name in sorted(group.streams)
            if name.startswith(prefix)
        ]
    }


def put_retention(logs: Logs, given: Input) -> Input:
    group, days = logs.group(given.get("logGroupName")), given.get("retentionInDays")
    if days not in rules.RETENTION_DAYS:
        raise rules.invalid(f"Value {days!r} at 'retentionInDays' failed to satisfy constraint")
    group.retention = days
    return {}


def delete_retention(logs: Logs, given: Input) -> Input:
    logs.group(given.get("logGroupName")).retention = None
    return {}


def associate_key(logs: Logs, given: Input) -> Input:
    logs.group(given.get("logGroupName")).settings["kmsKeyId"] = given["kmsKeyId"]
    return {}


def tag(logs: Logs, given: Input) -> Input:
    _by_arn(logs, given).tags.update(given["tags"])
    return {}


def tags(logs: Logs, given: Input) -> Input:
    return {"tags": _by_arn(logs, given).tags}


def put_metric_filter(logs: Logs, given: Input) -> Input:
    group = logs.group(given.get("logGroupName"))
    if len(given["filterPattern"]) > 1024:
        raise rules.invalid("filterPattern is too long")
    for transformation in given["metricTransformations"]:
        dimensions = transformation.get("dimensions") or {}
        if len(dimensions) > 3 or (dimensions and "defaultValue" in transformation):
            raise rules.invalid("Invalid metric transformation: dimensions")
    group.metric_filters[given["filterName"]] = given
    return {}


def describe_metric_filters(logs: Logs, given: Input) -> Input:
    group, prefix = logs.group(given.get("logGroupName")), given.get("filterNamePrefix", "")
    found = [kept for name, kept in sorted(group.metric_filters.items()) if name.startswith(prefix)]
    return {"metricFilters": found}


def delete_metric_filter(logs: Logs, given: Input) -> Input:
    if logs.group(given.get("logGroupName")).metric_filters.pop(given["filterName"], None) is None:
        raise rules.Refused("ResourceNotFoundException", "The specified metric filter does not exist.")
    return {}


def put_query(logs: Logs, given: Input) -> Input:
    if not 1 <= len(given.get("name", "")) <= 255 or not 1 <= len(given.get("queryString", "")) <= 10_000:
        raise rules.invalid("name or queryString failed to satisfy constraint")
    identity = given.get("queryDefinitionId") or str(uuid.uuid4())
    if given.get("queryDefinitionId") and identity not in logs.queries:
        raise rules.Refused("ResourceNotFoundException", "The query definition does not exist.")
    kept: Input = {key: given[key] for key in ("name", "queryString", "logGroupNames") if key in given}
    logs.queries[identity] = {"queryDefinitionId": identity, **kept}
    return {"queryDefinitionId": identity}


def describe_queries(logs: Logs, given: Input) -> Input:
    prefix = given.get("queryDefinitionNamePrefix", "")
    return {"queryDefinitions": [kept for kept in logs.queries.values() if kept["name"].startswith(prefix)]}


def delete_query(logs: Logs, given: Input) -> Input:
    if logs.queries.pop(given["queryDefinitionId"], None) is None:
        raise rules.Refused("ResourceNotFoundException", "The query definition does not exist.")
    return {"success": True}


def filter_events(logs: Logs, given: Input) -> Input:
    """Filter without patterns: a reader that needs one must not believe that it was heeded."""
    if given.get("filterPattern"):
        raise rules.invalid("this server knows no filter patterns")
    streams = logs.group(given.get("logGroupName")).streams
    names = given.get("logStreamNames") or [
        name for name in streams if name.startswith(given.get("logStreamNamePrefix", ""))
    ]
    if missing := [name for name in names if name not in streams]:
        raise rules.Refused("ResourceNotFoundException", f"The log stream {missing[0]} does not exist.")
    hits = logs.search(given["logGroupName"], names, given.get("startTime"), given.get("endTime"))
    limit = min(given.get("limit", PAGE), PAGE)
    first, page = _page(hits, given.get("nextToken"), limit)
    events = [
        {
            "logStreamName": name,
            "timestamp": event.timestamp,
            "message": event.message,
            "ingestionTime": event.timestamp,
            "eventId": f"{name}/{position}",
        }
        for position, name, event in page
    ]
    more = first + limit < len(hits)
    return {"events": events, "searchedLogStreams": [], **({"nextToken": str(first + limit)} if more else {})}


def get_events(logs: Logs, given: Input) -> Input:
    """Read from the head only; the end of the time is exclusive."""
    end = given.get("endTime")
    name = given.get("logStreamName", "")
    if name not in logs.group(given.get("logGroupName")).streams:
        raise rules.Refused("ResourceNotFoundException", "The specified log stream does not exist.")
    last = None if end is None else end - 1
    hits = logs.search(given["logGroupName"], [name], given.get("startTime"), last)
    limit = min(given.get("limit", PAGE), PAGE)
    token = (given.get("nextToken") or "f/0").removeprefix("f/")
    first, page = _page(hits, token, limit)
    events = [
        {"timestamp": event.timestamp, "message": event.message, "ingestionTime": event.timestamp}
        for _, _, event in page
    ]
    return {"events": events, "nextForwardToken": f"f/{first + len(page)}", "nextBackwardToken": "b/0"}


Hit = tuple[int, str, Event]


def _page(hits: Sequence[Hit], token: str | None, limit: int) -> tuple[int, Sequence[Hit]]:
    try:
        first = int(token or 0)
    except ValueError:
        raise rules.invalid("The specified nextToken is invalid.") from None
    return first, hits[first : first + limit]


def arn(group: str) -> str:
    return f"arn:aws:logs:eu-central-1:{ACCOUNT}:log-group:{group}"


def _by_arn(logs: Logs, given: Input) -> Group:
    return logs.group(given["resourceArn"].partition(":log-group:")[2].removesuffix(":*"))


OPERATIONS: dict[str, Callable[[Logs, Input], Input]] = {
    "CreateLogGroup": create_group,
    "CreateLogStream": create_stream,
    "DeleteLogGroup": delete_group,
    "DeleteLogStream": delete_stream,
    "DescribeLogGroups": describe_groups,
    "DescribeLogStreams": describe_streams,
    "PutRetentionPolicy": put_retention,
    "DeleteRetentionPolicy": delete_retention,
    "AssociateKmsKey": associate_key,
    "TagResource": tag,
    "ListTagsForResource": tags,
    "PutMetricFilter": put_metric_filter,
    "DescribeMetricFilters": describe_metric_filters,
    "DeleteMetricFilter": delete_metric_filter,
    "PutQueryDefinition": put_query,
    "DescribeQueryDefinitions": describe_queries,
    "DeleteQueryDefinition": delete_query,
    "FilterLogEvents": filter_events,
    "GetLogEvents": get_events,
}
"""All but PutLogEvents, which the server looks at itself."""
