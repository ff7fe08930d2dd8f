"""Run ``llmproxy cloudwatch``: make a log group useful, and write the rights that each role needs."""

from __future__ import annotations

import json
from typing import Any

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from dispatch.errors import Misconfigured
from dispatch.sinks.cloudwatch import cloudformation
from dispatch.sinks.cloudwatch.definition import CLASSES, Settings
from dispatch.sinks.cloudwatch.emf import NAMESPACE
from dispatch.sinks.cloudwatch.policy import ROLES, policy
from dispatch.sinks.cloudwatch.setup import Setup, Step, explain
from dispatch.sinks.cloudwatch.wire import accept_only_aws
from scripts.options import Pair
from scripts.output import show_all

SETUP_EPILOG = """Running it again changes only what differs. --delete keeps a log group that it did not make,
or that holds events.

Exit codes: 0 done; 1 AWS did not do something (the line says what); 2 wrong usage."""

log_group = click.option(
    "--log-group",
    envvar="DISPATCHER_CLOUDWATCH_LOG_GROUP",
    show_envvar=True,
    required=True,
    help="The dispatcher's log group.",
)
region_option = click.option(
    "--region",
    envvar=["DISPATCHER_CLOUDWATCH_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"],
    show_envvar=True,
    help="AWS Region.",
)


@click.group()
def cloudwatch() -> None:
    """Set CloudWatch up, and print the rights that are needed."""


@cloudwatch.command(epilog=SETUP_EPILOG)
@log_group
@region_option
@click.option(
    "--endpoint-url", envvar="DISPATCHER_CLOUDWATCH_ENDPOINT_URL", help="In place of AWS, such as moto."
)
@click.option(
    "--log-stream", default="", help="Also make this stream; the dispatcher makes missing ones itself."
)
@click.option("--streams", type=click.IntRange(1, 32), default=1, show_default=True, help="How many of them.")
@click.option(
    "--retention", default="90", show_default=True, help="Days that events are kept, or never-expire."
)
@click.option("--kms-key", help="ARN of the key that encrypts the group.")
@click.option(
    "--log-class",
    type=click.Choice(CLASSES),
    default="STANDARD",
    show_default=True,
    help="Fixed once it is made.",
)
@click.option(
    "--tag", "tags", type=Pair(), multiple=True, metavar="KEY=VALUE", help="Of the group. Repeatable."
)
@click.option(
    "--metrics",
    type=click.Choice(("filters", "emf", "none")),
    default="filters",
    show_default=True,
    help="Where metrics come from: filters on the group; or the messages themselves, with dispatch --emf.",
)
@click.option("--namespace", default=NAMESPACE, show_default=True, help="Of the metrics.")
@click.option("--spend-per-hour", type=float, default=100.0, show_default=True, help="USD; alarm above it.")
@click.option(
    "--error-percent", type=float, default=10.0, show_default=True, help="Failed calls; alarm above it."
)
@click.option(
    "--stalled-minutes",
    type=click.IntRange(3, 1440),
    default=15,
    show_default=True,
    help="Silence; alarm after it.",
)
@click.option(
    "--alarm-action", "alarm_actions", multiple=True, metavar="ARN", help="A topic to tell. Repeatable."
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and the least IAM policy for it.")
@click.option("--delete", is_flag=True, help="Remove what setup made.")
@click.option("--with-events", is_flag=True, help="With --delete: the log group too when it holds events.")
@click.option(
    "--export", type=click.Choice(("cloudformation",)), help="Print the same as a template; touch nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print the steps as JSON.")
def setup(
    *,
    endpoint_url: str | None,
    dry_run: bool,
    delete: bool,
    with_events: bool,
    export: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Make the log group, its metrics, saved queries, a dashboard and alarms; idempotent."""
    settings = _settings(given)
    if export:
        click.echo(json.dumps(cloudformation.template(settings), indent=2))
        return
    session = boto3.session.Session(region_name=settings.region)
    try:
        logs = session.client("logs", endpoint_url=endpoint_url)
        metrics = session.client("cloudwatch", endpoint_url=endpoint_url)
        for client in (logs, metrics):
            accept_only_aws(client)
        work = Setup(
            settings,
            logs,
            metrics,
            stand_in=endpoint_url is not None,
        )
    except (BotoCoreError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    try:
        steps = _plan(work, delete=delete, with_events=with_events, dry_run=dry_run)
    except Misconfigured as error:
        raise click.UsageError(str(error)) from error
    failed = [] if dry_run else _run(steps)
    _show(steps, as_json=as_json)
    if dry_run and not as_json:
        click.echo("\nThe least IAM policy for this:")
        _print(policy("setup", settings.group, region=settings.region, name=settings.name))
    for text in failed:
        click.echo(text, err=True)
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(steps)} steps failed; a second run does the rest.")


@cloudwatch.command("policy")
@log_group
@region_option
@click.option("--account", default="*", show_default=True, help="AWS account id.")
@click.option("--partition", default="aws", show_default=True, help="aws, aws-cn or aws-us-gov.")
@click.option(
    "--role", type=click.Choice(ROLES), default="sender", show_default=True, help="sender: the dispatcher."
)
@click.option("--create-group", is_flag=True, help="sender: let the dispatcher make the group too.")
def policy_command(
    *, log_group: str, region: str | None, account: str, partition: str, role: Any, create_group: bool
) -> None:
    """Print the IAM policy of least privilege, as JSON."""
    settings = _settings({"log_group": log_group, "region": region or "*"})
    _print(
        policy(
            role,
            settings.group,
            region=settings.region,
            account=account,
            partition=partition,
            create_group=create_group,
            name=settings.name,
        )
    )


def _settings(given: dict[str, Any]) -> Settings:
    given = dict(given)
    group, region = given.pop("log_group"), given.pop("region", None)
    region = region or boto3.session.Session().region_name
    if not region:
        raise click.UsageError("no region is set; give --region, or set DISPATCHER_CLOUDWATCH_REGION.")
    retention = given.pop("retention", "90")
    if retention != "never-expire" and not retention.isdigit():
        raise click.UsageError(f"--retention {retention}: write a number of days, or never-expire.")
    try:
        return Settings(
            group,
            region,
            retention=None if retention == "never-expire" else int(retention),
            tags=dict(given.pop("tags", ())),
            stream=given.pop("log_stream", ""),
            **given,
        )
    except Misconfigured as error:
        raise click.UsageError(str(error)) from error


def _plan(work: Setup, *, delete: bool, with_events: bool, dry_run: bool) -> list[Step]:
    try:
        return work.plan_deletion(with_events=with_events) if delete else work.plan()
    except (ClientError, BotoCoreError) as error:
        if not dry_run or delete:
            raise click.ClickException(explain(error)) from error
        click.echo(f"What is there could not be looked at ({explain(error)}); taken for nothing.", err=True)
        return work.plan(blind=True)


def _run(steps: list[Step]) -> list[str]:
    """Do them all; what failed does not keep the others from being done."""
    failed = []
    for step in steps:
        if step.action in {"create", "update", "delete"}:
            try:
                step.run()
            except (ClientError, BotoCoreError) as error:
                failed.append(f"{step.kind} {step.name}: {explain(error)}")
    return failed


def _show(steps: list[Step], *, as_json: bool) -> None:
    columns = ("action", "kind", "name", "detail")
    rows = [{column: getattr(step, column) for column in columns} for step in steps]
    show_all(rows, columns, as_json=as_json, nothing="There is nothing to do.")


def _print(document: Any) -> None:
    click.echo(json.dumps(document, indent=2))
