"""Write the rights that each role needs, and no more: IAM policy documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

Role = Literal["sender", "setup", "reader"]
ROLES: tuple[Role, ...] = ("sender", "setup", "reader")

SEND = ("PutLogEvents",)
SET_UP_GROUP = (
    "AssociateKmsKey",
    "CreateLogGroup",
    "CreateLogStream",
    "DeleteLogGroup",
    "DeleteMetricFilter",
    "DeleteRetentionPolicy",
    "DescribeLogStreams",
    "DescribeMetricFilters",
    "ListTagsForResource",
    "PutMetricFilter",
    "PutRetentionPolicy",
    "TagResource",
)
SET_UP_ACCOUNT = (
    "logs:DeleteQueryDefinition",
    "logs:DescribeLogGroups",
    "logs:DescribeQueryDefinitions",
    "logs:PutQueryDefinition",
    "cloudwatch:DescribeAlarms",
)
READ = ("DescribeLogStreams", "FilterLogEvents", "GetLogEvents", "StartQuery")
READ_ACCOUNT = ("logs:DescribeQueryDefinitions", "logs:GetQueryResults", "logs:StopQuery")


def policy(
    role: Role,
    group: str,
    *,
    region: str = "*",
    account: str = "*",
    partition: str = "aws",
    create_group: bool = False,
    name: str = "*",
) -> dict[str, Any]:
    """Write the least rights of `role` on a log group.

    `name` is that of the dashboard, which begins the alarms'.

    `create_group` lets the sender make the group where it is missing; without it, setup has to have made it.
    """
    group_arn = f"arn:{partition}:logs:{region}:{account}:log-group:{group}"
    cloudwatch = f"arn:{partition}:cloudwatch"
    if role == "sender":
        statements = [
            _allow("Send", _logs(SEND), [f"{group_arn}:log-stream:*"]),
            _allow("MakeStreams", _logs(("CreateLogStream",)), [group_arn, f"{group_arn}:*"]),
        ]
        if create_group:
            statements.append(_allow("MakeGroup", _logs(("CreateLogGroup",)), [group_arn, f"{group_arn}:*"]))
    elif role == "reader":
        statements = [
            _allow("Read", _logs(READ), [group_arn, f"{group_arn}:*"]),
            _allow("ReadResults", READ_ACCOUNT, ["*"]),
        ]
    else:
        statements = [
            _allow("Group", _logs(SET_UP_GROUP), [group_arn, f"{group_arn}:*"]),
            _allow("LookForEventsBeforeDeleting", _logs(("FilterLogEvents",)), [group_arn, f"{group_arn}:*"]),
            _allow("ThatKnowNoResource", SET_UP_ACCOUNT, ["*"]),
            _allow(
                "Dashboard",
                [f"cloudwatch:{action}" for action in ("DeleteDashboards", "GetDashboard", "PutDashboard")],
                [f"{cloudwatch}::{account}:dashboard/{name}"],
            ),
            _allow(
                "Alarms",
                [f"cloudwatch:{action}" for action in ("DeleteAlarms", "PutMetricAlarm")],
                [f"{cloudwatch}:{region}:{account}:alarm:{name}-*"],
            ),
        ]
    return {"Version": "2012-10-17", "Statement": statements}


def _logs(actions: Sequence[str]) -> list[str]:
    return [f"logs:{action}" for action in actions]


def _allow(sid: str, actions: Sequence[str], resources: Sequence[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
