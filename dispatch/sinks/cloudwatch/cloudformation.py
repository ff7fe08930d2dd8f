"""Write the definition as a CloudFormation template, for those who set up by stack."""

from __future__ import annotations

import re
from typing import Any

from dispatch.sinks.cloudwatch import definition
from dispatch.sinks.cloudwatch.definition import MARK, Settings

Resource = dict[str, Any]


def template(settings: Settings) -> dict[str, Any]:
    """Give the template. The group is retained when the stack goes: it holds what was spent."""
    resources: dict[str, Resource] = {"LogGroup": _group(settings)}
    group = {"Ref": "LogGroup"}
    for name in definition.stream_names(settings):
        properties: Resource = {"LogGroupName": group, "LogStreamName": name}
        resources[_id("Stream", name)] = {"Type": "AWS::Logs::LogStream", "Properties": properties}
    for name, made in definition.metric_filters(settings).items():
        properties = {
            "FilterName": name,
            "LogGroupName": group,
            "FilterPattern": made["filterPattern"],
            "MetricTransformations": [_transformation(each) for each in made["metricTransformations"]],
        }
        resources[_id("Filter", name)] = {"Type": "AWS::Logs::MetricFilter", "Properties": properties}
    for name, text in definition.queries(settings).items():
        properties = {"Name": name, "QueryString": text, "LogGroupNames": [group]}
        resources[_id("Query", name.removeprefix(settings.folder))] = {
            "Type": "AWS::Logs::QueryDefinition",
            "Properties": properties,
        }
    properties = {"DashboardName": settings.name, "DashboardBody": definition.dashboard(settings)}
    resources["Dashboard"] = {"Type": "AWS::CloudWatch::Dashboard", "Properties": properties}
    for name, alarm in definition.alarms(settings).items():
        resources[_id("Alarm", name.removeprefix(settings.name))] = {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {"AlarmName": name, **alarm},
        }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Usage of the OpenAI API in {settings.group}, as llmproxy cloudwatch setup makes it",
        "Resources": resources,
    }


def _group(settings: Settings) -> Resource:
    tags = {**MARK, **settings.tags}
    properties: Resource = {
        "LogGroupName": settings.group,
        "LogGroupClass": settings.log_class,
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    if settings.retention is not None:
        properties["RetentionInDays"] = settings.retention
    if settings.kms_key is not None:
        properties["KmsKeyId"] = settings.kms_key
    return {
        "Type": "AWS::Logs::LogGroup",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": properties,
    }


def _transformation(made: dict[str, Any]) -> Resource:
    """Write PutMetricFilter's names in CloudFormation's spelling."""
    shown = {key[0].upper() + key[1:]: value for key, value in made.items() if key != "dimensions"}
    if "dimensions" in made:
        shown["Dimensions"] = [{"Key": key, "Value": value} for key, value in made["dimensions"].items()]
    return shown


def _id(kind: str, name: str) -> str:
    """Give a logical id: letters and digits only."""
    return kind + "".join(part.capitalize() for part in re.split(r"[^A-Za-z0-9]+", name))
