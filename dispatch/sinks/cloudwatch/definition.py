"""Define what ``llmproxy cloudwatch setup`` makes: for AWS calls and for a CloudFormation template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dispatch.errors import Misconfigured
from dispatch.sinks.cloudwatch.dashboard import body
from dispatch.sinks.cloudwatch.emf import METRICS, NAMESPACE
from dispatch.sinks.cloudwatch.queries import QUERIES
from dispatch.sinks.cloudwatch.streams import StreamNames, check_group
from store.core.event import RECONCILIATION_TYPE

Metrics = Literal["filters", "emf", "none"]
CLASSES = ("STANDARD", "INFREQUENT_ACCESS")
RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)
"""API reference of PutRetentionPolicy."""
MARK = {"made-by": "llmproxy-setup"}
"""Tag of a group that setup made, and may therefore delete."""
FILTER_PREFIX = "llmproxy-"
FILTERED_BY: dict[str, str] = {"Project": "project_name", "Model": "model"}
"""Dimensions of the metric filters (three at most are allowed, and each value is a billed metric)."""
DISAGREEMENTS = "ReconciliationsBeyondTolerance"
"""Metric of daily reconciliations that do not agree."""
FILTERED_METRICS = ("Calls", "Failures", "SpendUSD", "InputTokens", "OutputTokens")
"""Metrics that also exist for each value of those dimensions."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Says what is wanted. Raises Misconfigured where it can't be had."""

    group: str
    region: str
    retention: int | None = 90
    """Days; None for ever."""
    kms_key: str | None = None
    log_class: str = "STANDARD"
    tags: Mapping[str, str] = field(default_factory=dict)
    stream: str = ""
    streams: int = 1
    metrics: Metrics = "filters"
    namespace: str = NAMESPACE
    spend_per_hour: float = 100.0
    """USD."""
    error_percent: float = 10.0
    stalled_minutes: int = 15
    alarm_actions: Sequence[str] = ()
    """ARNs of topics that are told."""

    def __post_init__(self) -> None:
        check_group(self.group)
        if self.log_class not in CLASSES:
            raise Misconfigured(f"--log-class {self.log_class}: not one of {', '.join(CLASSES)}.")
        if self.log_class != "STANDARD" and self.metrics != "none":
            raise Misconfigured(
                f"--log-class {self.log_class} knows neither metric filters nor embedded metrics: "
                "add --metrics none, or use STANDARD."
            )
        if self.retention is not None and self.retention not in RETENTION_DAYS:
            days = ", ".join(map(str, RETENTION_DAYS))
            raise Misconfigured(f"--retention {self.retention}: CloudWatch knows {days} days.")
        if len(self.tags) + len(MARK) > 50:
            raise Misconfigured("--tag: a log group has at most 50 tags.")

    @property
    def name(self) -> str:
        """Give the name of the dashboard; the alarms' names begin with it."""
        return re.sub(r"[^A-Za-z0-9_-]+", "-", f"llmproxy-{self.group.strip('/')}")[:200]

    @property
    def folder(self) -> str:
        """Give the folder of the saved queries: what is before a slash is shown as a folder."""
        return f"{self.name}/"


def stream_names(settings: Settings) -> list[str]:
    """Give the streams that can be made before there are events; the dispatcher makes the others."""
    return StreamNames(settings.stream, settings.streams).all_fixed() if settings.stream else []


def queries(settings: Settings) -> dict[str, str]:
    """Name -> query text."""
    return {settings.folder + name: text for name, text in QUERIES.items()}


def metric_filters(settings: Settings) -> dict[str, dict[str, Any]]:
    """Name -> `filterPattern` and `metricTransformations`, as PutMetricFilter takes them."""
    if settings.metrics == "none":
        return {}
    found: dict[str, dict[str, Any]] = {}
    for name, (unit, path) in METRICS.items() if settings.metrics == "filters" else ():
        found[FILTER_PREFIX + name] = _filter(settings, name, unit, path, None)
        for dimension in FILTERED_BY if name in FILTERED_METRICS else ():
            found[f"{FILTER_PREFIX}{name}-by-{dimension}"] = _filter(settings, name, unit, path, dimension)
    found[FILTER_PREFIX + DISAGREEMENTS] = {
        "filterPattern": f'{{ ($.type = "{RECONCILIATION_TYPE}") && ($.agrees IS FALSE) }}',
        "metricTransformations": [
            {
                "metricName": DISAGREEMENTS,
                "metricNamespace": settings.namespace,
                "metricValue": "1",
                "unit": "Count",
                "defaultValue": 0,
            }
        ],
    }
    return found


def _filter(
    settings: Settings, name: str, unit: str, path: Sequence[str], dimension: str | None
) -> dict[str, Any]:
    conditions = ['$.type = "llm_proxy_usage"']
    selector = "1"
    if path:
        selector = "$." + ".".join(path)
        conditions.append(f"{selector} = *")
    transformation: dict[str, Any] = {
        "metricName": name,
        "metricNamespace": settings.namespace,
        "metricValue": selector,
        "unit": unit,
    }
    if dimension is not None:
        source = f"$.{FILTERED_BY[dimension]}"
        conditions.append(f"{source} = *")
        transformation["dimensions"] = {dimension: source}
    elif unit != "Milliseconds":
        # So that an hour without a call is an hour without spend. Not allowed together with dimensions.
        transformation["defaultValue"] = 0
    pattern = " && ".join(f"({condition})" for condition in conditions)
    return {"filterPattern": f"{{ {pattern} }}", "metricTransformations": [transformation]}


def alarms(settings: Settings) -> dict[str, dict[str, Any]]:
    """List by name what else PutMetricAlarm takes."""
    found = {"dispatcher-stalled": _stalled(settings)}
    if settings.metrics != "none":
        found["spend-per-hour"] = _spend(settings)
        found["error-ratio"] = _errors(settings)
        found["reconciliation"] = _disagreement(settings)
    common: dict[str, Any] = {
        "ActionsEnabled": True,
        "AlarmActions": list(settings.alarm_actions),
        "OKActions": list(settings.alarm_actions),
    }
    return {f"{settings.name}-{name}": {**common, **alarm} for name, alarm in found.items()}


def _stalled(settings: Settings) -> dict[str, Any]:
    """Watch AWS's own counter: without a dispatcher nothing of ours would be counted.

    The dispatcher writes a sign of life each minute, so that a quiet night is no silence.
    """
    return {
        "AlarmDescription": f"Nothing has reached {settings.group} for {settings.stalled_minutes} minutes, "
        "not even the dispatcher's sign of life: it is down, or can't deliver.",
        "Namespace": "AWS/Logs",
        "MetricName": "IncomingLogEvents",
        "Dimensions": [{"Name": "LogGroupName", "Value": settings.group}],
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": settings.stalled_minutes,
        "Threshold": 1.0,
        "ComparisonOperator": "LessThanThreshold",
        "TreatMissingData": "breaching",
    }


def _spend(settings: Settings) -> dict[str, Any]:
    return {
        "AlarmDescription": f"More than {settings.spend_per_hour:g} USD within an hour.",
        **_sum(settings, "SpendUSD", period=3600, above=settings.spend_per_hour),
    }


def _errors(settings: Settings) -> dict[str, Any]:
    return {
        "AlarmDescription": f"Of at least 20 calls in 5 minutes more than {settings.error_percent:g} % "
        "failed, three times in a row.",
        "Metrics": [
            _metric("calls", "Calls", settings.namespace),
            _metric("failures", "Failures", settings.namespace),
            {
                "Id": "percent",
                "Expression": "IF(calls >= 20, 100 * failures / calls, 0)",
                "Label": "failed calls, %",
                "ReturnData": True,
            },
        ],
        "EvaluationPeriods": 3,
        "Threshold": settings.error_percent,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }


def _disagreement(settings: Settings) -> dict[str, Any]:
    return {
        "AlarmDescription": "What was counted here differs from what the vendor bills by more than the "
        "tolerance; llmproxy reconcile says where.",
        **_sum(settings, DISAGREEMENTS, period=86400, above=0.0),
    }


def _sum(settings: Settings, metric: str, *, period: int, above: float) -> dict[str, Any]:
    """Watch the sum of a metric of ours within `period` seconds."""
    return {
        "Namespace": settings.namespace,
        "MetricName": metric,
        "Dimensions": [],
        "Statistic": "Sum",
        "Period": period,
        "EvaluationPeriods": 1,
        "Threshold": above,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }


def _metric(identity: str, name: str, namespace: str) -> dict[str, Any]:
    metric = {"Namespace": namespace, "MetricName": name, "Dimensions": []}
    return {
        "Id": identity,
        "MetricStat": {"Metric": metric, "Period": 300, "Stat": "Sum"},
        "ReturnData": False,
    }


def dashboard(settings: Settings) -> str:
    """Give the body of the dashboard."""
    shown = body(settings.group, settings.region, settings.namespace, metrics=settings.metrics != "none")
    return json.dumps(shown, separators=(",", ":"))
