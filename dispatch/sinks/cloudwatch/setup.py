"""Makes, updates and removes what :mod:`dispatch.sinks.cloudwatch.definition` describes.

What is there is looked at first; only what differs is touched, so that a second run does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from dispatch.errors import Misconfigured
from dispatch.sinks.cloudwatch import definition
from dispatch.sinks.cloudwatch.definition import FILTER_PREFIX, MARK, Settings
from dispatch.sinks.cloudwatch.failures import code_of, text_of

Action = Literal["create", "update", "keep", "delete", "skip"]
MISSING = frozenset({"ResourceNotFoundException", "ResourceNotFound", "DashboardNotFoundError"})
UNKNOWN_TO_STAND_INS = frozenset({"", "500", "501", "404", "InternalFailure", "UnknownOperationException"})
"""It is what local stand-ins answer for an operation that they don't have."""


@dataclass(frozen=True, slots=True)
class Step:
    """Describes one thing that is there, or is to be."""

    action: Action
    kind: str
    name: str
    detail: str = ""
    run: Callable[[], Any] = lambda: None


class Setup:
    """Plans against one account and Region. Steps are run by the caller, in their order."""

    def __init__(self, settings: Settings, logs: Any, cloudwatch: Any, *, stand_in: bool = False) -> None:
        """Take `logs` and `cloudwatch`, boto3 clients, and `stand_in`: they don't talk to AWS.

        Of a stand-in operations may be missing. All methods raise ClientError and BotoCoreError.
        """
        self._settings = settings
        self._logs = logs
        self._cloudwatch = cloudwatch
        self._stand_in = stand_in

    def plan(self, *, blind: bool = False) -> list[Step]:
        """Give what is to be done; `blind` takes it that nothing is there yet."""
        group = None if blind else self._group()
        steps = [*self._group_steps(group)]
        missing = group is None
        for kind in (self._stream_steps, self._filter_steps, self._query_steps):
            steps += self._tolerant(kind, missing=missing, blind=blind)
        steps += self._dashboard_steps(blind=blind)
        steps += self._alarm_steps(blind=blind)
        return steps

    def plan_deletion(self, *, with_events: bool) -> list[Step]:
        """Plan to delete what setup made, in whatever version.

        The group goes only where setup made it, and where it holds no events or `with_events` says that they
        may go.
        """
        steps = self._deletions("alarm", self._alarms(), self._delete_alarm)
        if self._dashboard() is not None:
            name = self._settings.name
            delete = partial(self._cloudwatch.delete_dashboards, DashboardNames=[name])
            steps.append(Step("delete", "dashboard", name, run=delete))
        try:
            found = self._queries()
        except ClientError as error:
            if not self._unknown(error):
                raise
            found = {}
        steps += self._deletions("query", found, lambda name: self._delete_query(found[name]))
        group = self._group()
        if group is not None:
            steps += self._deletions("metric filter", self._filters(), self._delete_filter)
            steps.append(self._group_deletion(group, with_events=with_events))
        return steps

    # -- the group and its streams

    def _group(self) -> dict[str, Any] | None:
        pages = self._logs.get_paginator("describe_log_groups").paginate(
            logGroupNamePrefix=self._settings.group
        )
        for page in pages:
            for group in page["logGroups"]:
                if group["logGroupName"] == self._settings.group:
                    return dict(group)
        return None

    def _group_steps(self, group: Mapping[str, Any] | None) -> Iterator[Step]:
        wanted = self._settings
        if group is None:
            detail = f"{wanted.log_class}, {_days(wanted.retention)}"
            yield Step("create", "log group", wanted.group, detail, self._create_group)
            return
        found_class = group.get("logGroupClass", "STANDARD")
        if found_class != wanted.log_class:
            raise Misconfigured(
                f"{wanted.group} is of class {found_class}; a class can't be changed: "
                f"use --log-class {found_class}, or another group."
            )
        changes: list[tuple[str, Callable[[], Any]]] = []
        if group.get("retentionInDays") != wanted.retention:
            changes.append((_days(wanted.retention), self._put_retention))
        if wanted.kms_key is not None and group.get("kmsKeyId") != wanted.kms_key:
            changes.append((f"key {wanted.kms_key}", self._associate_key))
        lacking = {key: value for key, value in wanted.tags.items() if self._tags(group).get(key) != value}
        if lacking:
            changes.append((f"tags {', '.join(lacking)}", lambda: self._tag(group, lacking)))
        if not changes:
            yield Step("keep", "log group", wanted.group)
        for detail, run in changes:
            yield Step("update", "log group", wanted.group, detail, run)

    def _create_group(self) -> None:
        wanted = self._settings
        key = {"kmsKeyId": wanted.kms_key} if wanted.kms_key else {}
        self._logs.create_log_group(
            logGroupName=wanted.group, logGroupClass=wanted.log_class, tags={**MARK, **wanted.tags}, **key
        )
        self._put_retention()

    def _put_retention(self) -> None:
        group, days = self._settings.group, self._settings.retention
        if days is None:
            self._logs.delete_retention_policy(logGroupName=group)
        else:
            self._logs.put_retention_policy(logGroupName=group, retentionInDays=days)

    def _associate_key(self) -> None:
        self._logs.associate_kms_key(logGroupName=self._settings.group, kmsKeyId=self._settings.kms_key)

    def _tags(self, group: Mapping[str, Any]) -> Mapping[str, str]:
        found: Mapping[str, str] = self._logs.list_tags_for_resource(resourceArn=_arn(group))["tags"]
        return found

    def _tag(self, group: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self._logs.tag_resource(resourceArn=_arn(group), tags=dict(tags))

    def _group_deletion(self, group: Mapping[str, Any], *, with_events: bool) -> Step:
        name = self._settings.group
        if self._tags(group).get("made-by") != MARK["made-by"]:
            return Step("keep", "log group", name, "it was not made by setup")
        if not with_events and self._holds_events():
            return Step("keep", "log group", name, "it holds events; --with-events removes them too")
        return Step("delete", "log group", name, run=partial(self._logs.delete_log_group, logGroupName=name))

    def _holds_events(self) -> bool:
        found = self._logs.filter_log_events(logGroupName=self._settings.group, limit=1)
        return bool(found["events"] or found.get("nextToken"))

    def _stream_steps(self, *, missing: bool, blind: bool) -> Iterator[Step]:  # noqa: ARG002 - one form
        for name in definition.stream_names(self._settings):
            there = not missing and self._has_stream(name)
            create = partial(
                self._logs.create_log_stream, logGroupName=self._settings.group, logStreamName=name
            )
            yield Step("keep" if there else "create", "log stream", name, run=create)

    def _has_stream(self, name: str) -> bool:
        found = self._logs.describe_log_streams(
            logGroupName=self._settings.group, logStreamNamePrefix=name, limit=1
        )["logStreams"]
        return any(stream["logStreamName"] == name for stream in found)

    # -- metric filters

    def _filters(self) -> dict[str, dict[str, Any]]:
        pages = self._logs.get_paginator("describe_metric_filters").paginate(
            logGroupName=self._settings.group, filterNamePrefix=FILTER_PREFIX
        )
        return {made["filterName"]: made for page in pages for made in page["metricFilters"]}

    def _filter_steps(self, *, missing: bool, blind: bool) -> Iterator[Step]:  # noqa: ARG002 - one form
        wanted = definition.metric_filters(self._settings)
        found = {} if missing else self._filters()
        for name, made in wanted.items():
            put = partial(
                self._logs.put_metric_filter, logGroupName=self._settings.group, filterName=name, **made
            )
            yield Step(_difference(found.get(name), made), "metric filter", name, run=put)
        stale = {name: made for name, made in found.items() if name not in wanted}
        yield from self._deletions("metric filter", stale, self._delete_filter)

    def _delete_filter(self, name: str) -> None:
        self._logs.delete_metric_filter(logGroupName=self._settings.group, filterName=name)

    # -- saved queries

    def _queries(self) -> dict[str, dict[str, Any]]:
        given: dict[str, Any] = {"queryDefinitionNamePrefix": self._settings.folder}
        found: dict[str, dict[str, Any]] = {}
        while True:
            page = self._logs.describe_query_definitions(**given)
            found |= {query["name"]: query for query in page["queryDefinitions"]}
            if not page.get("nextToken"):
                return found
            given["nextToken"] = page["nextToken"]

    def _query_steps(self, *, missing: bool, blind: bool) -> Iterator[Step]:  # noqa: ARG002 - one form
        wanted = definition.queries(self._settings)
        found = {} if blind else self._queries()
        for name, text in wanted.items():
            body: dict[str, Any] = {"queryString": text, "logGroupNames": [self._settings.group]}
            there = found.get(name)
            known = {"queryDefinitionId": there["queryDefinitionId"]} if there else {}
            put = partial(self._logs.put_query_definition, name=name, **body, **known)
            yield Step(_difference(there, body), "query", name, run=put)
        stale = {name: query for name, query in found.items() if name not in wanted}
        yield from self._deletions("query", stale, lambda name: self._delete_query(found[name]))

    def _delete_query(self, query: Mapping[str, Any]) -> None:
        self._logs.delete_query_definition(queryDefinitionId=query["queryDefinitionId"])

    # -- dashboard and alarms

    def _dashboard(self) -> str | None:
        try:
            found: str = self._cloudwatch.get_dashboard(DashboardName=self._settings.name)["DashboardBody"]
        except ClientError as error:
            if code_of(error) in MISSING:
                return None
            raise
        return found

    def _dashboard_steps(self, *, blind: bool) -> list[Step]:
        name, wanted = self._settings.name, definition.dashboard(self._settings)
        found = None if blind else self._dashboard()
        action: Action = "create"
        if found is not None:
            action = "keep" if json.loads(found) == json.loads(wanted) else "update"
        put = partial(self._cloudwatch.put_dashboard, DashboardName=name, DashboardBody=wanted)
        return [Step(action, "dashboard", name, run=put)]

    def _alarms(self) -> dict[str, dict[str, Any]]:
        pages = self._cloudwatch.get_paginator("describe_alarms").paginate(
            AlarmNamePrefix=f"{self._settings.name}-"
        )
        return {alarm["AlarmName"]: alarm for page in pages for alarm in page.get("MetricAlarms", [])}

    def _alarm_steps(self, *, blind: bool) -> Iterator[Step]:
        wanted = definition.alarms(self._settings)
        found = {} if blind else self._alarms()
        for name, alarm in wanted.items():
            put = partial(self._cloudwatch.put_metric_alarm, AlarmName=name, **alarm)
            yield Step(_difference(found.get(name), alarm), "alarm", name, run=put)
        stale = {name: alarm for name, alarm in found.items() if name not in wanted}
        yield from self._deletions("alarm", stale, self._delete_alarm)

    def _delete_alarm(self, name: str) -> None:
        self._cloudwatch.delete_alarms(AlarmNames=[name])

    # -- what they share

    def _deletions(self, kind: str, found: Mapping[str, Any], delete: Callable[[str], Any]) -> list[Step]:
        return [Step("delete", kind, name, run=partial(delete, name)) for name in found]

    def _tolerant(self, steps: Callable[..., Iterator[Step]], *, missing: bool, blind: bool) -> list[Step]:
        """Leave out what a local stand-in does not know, and say so."""
        try:
            return list(steps(missing=missing, blind=blind))
        except ClientError as error:
            if not self._unknown(error):
                raise
            return [Step("skip", error.operation_name, "", "this endpoint does not know it")]

    def _unknown(self, error: ClientError) -> bool:
        return self._stand_in and code_of(error) in UNKNOWN_TO_STAND_INS


def explain(error: ClientError | BotoCoreError) -> str:
    """Give one line on what AWS did not do, with the right that is missing where one is."""
    if not isinstance(error, ClientError):
        return str(error)
    return f"{error.operation_name}: {code_of(error)}: {text_of(error)}"


def _difference(found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> Action:
    if found is None:
        return "create"
    return "keep" if all(_same(found.get(key), value) for key, value in wanted.items()) else "update"


def _same(found: Any, wanted: Any) -> bool:
    """Tell whether AWS says what was put; it adds members of its own, and leaves out what is empty."""
    if isinstance(wanted, Mapping):
        found = found or {}
        return isinstance(found, Mapping) and all(_same(found.get(key), wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        found = found or []
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    if isinstance(wanted, float) or isinstance(found, float):
        return found is not None and float(found) == float(wanted)
    return bool(found == wanted)


def _days(retention: int | None) -> str:
    return "kept for ever" if retention is None else f"kept for {retention} days"


def _arn(group: Mapping[str, Any]) -> str:
    return str(group.get("logGroupArn") or group["arn"]).removesuffix(":*")
