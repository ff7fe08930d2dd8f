"""`llmproxy cloudwatch`: the strict server plays Logs, moto plays CloudWatch's dashboards and alarms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dispatch.sinks.cloudwatch.definition import Settings
from dispatch.sinks.cloudwatch.policy import policy
from dispatch.sinks.cloudwatch.queries import QUERIES
from scripts.benchmarks.strict_cloudwatch import StrictCloudWatch
from scripts.benchmarks.strict_cloudwatch.operations import OPERATIONS
from scripts.cli import main
from tests.dispatch.cloudwatch import REGION, check_dashboard, client
from tests.dispatch.conftest import AWS, Run, to_cloudwatch, usage_event, write

pytestmark = [pytest.mark.slow, pytest.mark.once]  # in sum

GOLDEN = Path(__file__).parent / "golden"
Command = Callable[..., Result]
ALL_ACTIONS = {f"logs:{name}" for name in (*OPERATIONS, "PutLogEvents")}


@pytest.fixture
def command(strict: StrictCloudWatch, moto: str, group: str) -> Iterator[Command]:
    """Run `llmproxy cloudwatch VERB` for the test's group."""
    env = {
        **AWS,
        "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": strict.url,
        "AWS_ENDPOINT_URL_CLOUDWATCH": moto,
        "AWS_MAX_ATTEMPTS": "1",
        "DISPATCHER_CLOUDWATCH_LOG_GROUP": group,
        "DISPATCHER_CLOUDWATCH_ENDPOINT_URL": None,
        "AWS_REGION": REGION,
    }

    def run(*arguments: str, **changes: str) -> Result:
        return CliRunner().invoke(main, ["cloudwatch", *arguments], env={**env, **changes})

    yield run
    strict.denied = set()
    run("setup", "--delete")


def steps(result: Result) -> list[dict[str, str]]:
    assert result.exit_code == 0, result.output
    found: list[dict[str, str]] = json.loads(result.stdout)
    return found


def actions(result: Result) -> set[str]:
    return {step["action"] for step in steps(result)}


def test_everything_is_made_and_a_second_run_does_nothing(
    command: Command, strict: StrictCloudWatch, moto: str, group: str
) -> None:
    options = (
        *("setup", "--json", "--retention", "30", "--kms-key", "arn:aws:kms:eu-central-1:1:key/k"),
        *("--tag", "team=search", "--log-stream", "proxy", "--streams", "2"),
        *("--spend-per-hour", "12.5", "--alarm-action", "arn:aws:sns:eu-central-1:1:ops"),
    )
    assert actions(command(*options)) == {"create"}
    made = strict.logs.groups[group]
    assert made.retention == 30
    assert made.settings == {"logGroupClass": "STANDARD", "kmsKeyId": "arn:aws:kms:eu-central-1:1:key/k"}
    assert made.tags == {"made-by": "llmproxy-setup", "team": "search"}
    assert set(made.streams) == {"proxy-1", "proxy-2"}
    assert len(made.metric_filters) == 19
    name = Settings(group, REGION).name
    assert {query["name"] for query in strict.logs.queries.values()} == {f"{name}/{q}" for q in QUERIES}
    assert all(query["logGroupNames"] == [group] for query in strict.logs.queries.values())
    cloudwatch = client(moto, "cloudwatch")
    board = cloudwatch.get_dashboard(DashboardName=name)
    check_dashboard(json.loads(board["DashboardBody"]))
    alarms = cloudwatch.describe_alarms(AlarmNamePrefix=f"{name}-")["MetricAlarms"]
    assert {alarm["AlarmName"].removeprefix(f"{name}-") for alarm in alarms} == {
        *("spend-per-hour", "error-ratio", "dispatcher-stalled", "reconciliation"),
    }
    spend = next(alarm for alarm in alarms if alarm["AlarmName"].endswith("spend-per-hour"))
    assert (spend["Threshold"], spend["Period"], spend["MetricName"]) == (12.5, 3600, "SpendUSD")
    assert spend["AlarmActions"] == ["arn:aws:sns:eu-central-1:1:ops"]
    assert actions(command(*options)) == {"keep"}


def test_only_what_differs_is_changed(command: Command, strict: StrictCloudWatch, group: str) -> None:
    command("setup")
    identity = next(iter(strict.logs.queries))
    strict.logs.queries[identity]["queryString"] = "fields @message"
    strict.logs.groups[group].metric_filters["llmproxy-Calls"]["filterPattern"] = "ERROR"
    changed = command(
        "setup", "--json", "--retention", "never-expire", "--tag", "a=b", "--error-percent", "5"
    )
    assert {(step["action"], step["kind"]) for step in steps(changed)} == {
        ("update", "log group"),
        ("update", "metric filter"),
        ("update", "query"),
        ("update", "alarm"),
        *(("keep", kind) for kind in ("metric filter", "query", "alarm", "dashboard")),
    }
    assert sum(step["action"] == "update" for step in steps(changed)) == 5
    assert strict.logs.groups[group].retention is None
    assert strict.logs.groups[group].tags["a"] == "b"
    assert identity in strict.logs.queries, "updated in place, not made twice"
    assert len(strict.logs.queries) == len(QUERIES)


def test_metrics_of_one_source_only(command: Command, strict: StrictCloudWatch, group: str) -> None:
    """Filters and embedded metrics at once would count every call twice."""
    command("setup")
    switched = steps(command("setup", "--json", "--metrics", "emf"))
    assert {step["kind"] for step in switched if step["action"] == "delete"} == {"metric filter"}
    assert set(strict.logs.groups[group].metric_filters) == {"llmproxy-ReconciliationsBeyondTolerance"}
    without = steps(command("setup", "--json", "--metrics", "none"))
    assert {step["name"].rpartition("-")[2] for step in without if step["action"] == "delete"} == {
        *("hour", "ratio", "reconciliation", "ReconciliationsBeyondTolerance"),
    }


def test_dry_run_touches_nothing_and_prints_the_policy(
    command: Command, strict: StrictCloudWatch, group: str
) -> None:
    done = command("setup", "--dry-run")
    assert done.exit_code == 0, done.output
    assert group not in strict.logs.groups
    assert all(call.startswith(("Describe", "List")) for call in strict.calls)
    document = json.loads(done.stdout[done.stdout.index("\n{") :])
    assert document["Version"] == "2012-10-17"
    assert "create  log group" in done.stdout
    strict.denied = ALL_ACTIONS
    blind = command("setup", "--dry-run")
    assert blind.exit_code == 0
    assert "could not be looked at" in blind.stderr
    assert "logs:DescribeLogGroups" in blind.stderr
    assert blind.stdout == done.stdout


def test_delete_removes_what_setup_made(
    command: Command, strict: StrictCloudWatch, moto: str, group: str
) -> None:
    command("setup")
    foreign = {"queryDefinitionId": "x", "name": "mine", "queryString": "fields @message"}
    strict.logs.queries["x"] = foreign
    assert actions(command("setup", "--delete", "--json")) == {"delete"}
    assert group not in strict.logs.groups
    assert strict.logs.queries == {"x": foreign}
    cloudwatch = client(moto, "cloudwatch")
    name = Settings(group, REGION).name
    assert cloudwatch.describe_alarms(AlarmNamePrefix=f"{name}-")["MetricAlarms"] == []
    assert cloudwatch.list_dashboards(DashboardNamePrefix=name)["DashboardEntries"] == []
    assert steps(command("setup", "--delete", "--json")) == []


def test_delete_keeps_events_and_groups_of_others(
    command: Command, strict: StrictCloudWatch, group: str, spool: Path, dispatch: Run
) -> None:
    command("setup")
    write(spool, [usage_event(1)])
    assert dispatch(*to_cloudwatch(strict.url, group)).returncode == 0
    kept = steps(command("setup", "--delete", "--json"))
    assert [(step["action"], step["detail"]) for step in kept if step["kind"] == "log group"] == [
        ("keep", "it holds events; --with-events removes them too")
    ]
    assert len(strict.messages(group)) == 2
    assert actions(command("setup", "--delete", "--with-events", "--json")) == {"delete"}
    assert group not in strict.logs.groups
    strict.create(group)
    assert {step["detail"] for step in steps(command("setup", "--delete", "--json"))} == {
        "it was not made by setup"
    }


def test_the_policies_suffice_and_allow_nothing_more(
    command: Command, strict: StrictCloudWatch, group: str, spool: Path, dispatch: Run
) -> None:
    """With the rights of each policy and no others the work is done; with one right less it is not."""

    def allowed(role: str, *options: str) -> set[str]:
        document = json.loads(command("policy", "--role", role, *options).stdout)
        return {action for statement in document["Statement"] for action in statement["Action"]}

    setup = allowed("setup")
    strict.denied = ALL_ACTIONS - setup
    everything = ("setup", "--json", "--retention", "30", "--kms-key", "k", "--log-stream", "s")
    for arguments in (
        everything,
        (*everything, "--tag", "a=b", "--retention", "never-expire", "--kms-key", "l"),
        (*everything, "--metrics", "emf"),
    ):
        steps(command(*arguments))
    logs = {action for action in setup if action.startswith("logs:")}
    strict.logs.queries["stale"] = {
        "queryDefinitionId": "stale",
        "name": Settings(group, REGION).folder + "stale",
        "queryString": "",
    }
    steps(command(*everything))
    steps(command("setup", "--delete", "--json"))
    assert logs <= {f"logs:{name}" for name in strict.calls}, "no right that is never used"

    sender = allowed("sender")
    assert sender == {"logs:PutLogEvents", "logs:CreateLogStream"}
    strict.denied = ALL_ACTIONS - sender
    write(spool, [usage_event(1)])
    strict.create(group)
    assert dispatch(*to_cloudwatch(strict.url, group)).returncode == 0
    assert allowed("sender", "--create-group") == {*sender, "logs:CreateLogGroup"}
    assert not any(
        action.split(":")[1].startswith(("Put", "Create", "Delete", "Tag")) for action in allowed("reader")
    )


def test_policy_names_the_resources(command: Command, group: str) -> None:
    done = command("policy", "--account", "123456789012", "--partition", "aws-cn")
    send = json.loads(done.stdout)["Statement"][0]
    assert send["Resource"] == [f"arn:aws-cn:logs:{REGION}:123456789012:log-group:{group}:log-stream:*"]
    board = policy("setup", group, name="llmproxy-x")["Statement"]
    assert board[3]["Resource"] == ["arn:aws:cloudwatch::*:dashboard/llmproxy-x"]
    assert board[4]["Resource"] == ["arn:aws:cloudwatch:*:*:alarm:llmproxy-x-*"]


def test_what_fails_is_named_and_the_rest_is_done(
    command: Command, strict: StrictCloudWatch, group: str
) -> None:
    strict.denied = {"logs:PutMetricFilter"}
    done = command("setup")
    assert done.exit_code == 1
    assert "metric filter llmproxy-Calls: PutMetricFilter: AccessDeniedException" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: 19 of ")
    assert len(strict.logs.queries) == len(QUERIES)
    strict.denied = set()
    again = command("setup", "--json")
    assert {step["kind"] for step in steps(again) if step["action"] == "create"} == {"metric filter"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--retention", "2"), "CloudWatch knows 1, 3, 5"),
        (("--retention", "x"), "write a number of days"),
        (("--log-class", "INFREQUENT_ACCESS"), "--metrics none"),
        (("--log-group", "a b"), "'a b'"),
        (("--tag", "x"), "KEY=VALUE"),
    ],
)
def test_wrong_usage(command: Command, arguments: tuple[str, ...], said: str) -> None:
    done = command("setup", *arguments)
    assert done.exit_code == 2
    assert said in done.output


def test_a_class_can_not_be_changed(command: Command) -> None:
    command("setup")
    done = command("setup", "--log-class", "INFREQUENT_ACCESS", "--metrics", "none")
    assert done.exit_code == 2
    assert "a class can't be changed" in done.output


def test_with_moto_alone(moto: str, group: str, command: Command) -> None:
    """moto has no saved queries: that is said, and the rest is made."""
    done = command("setup", "--endpoint-url", moto, "--json")
    assert {step["kind"] for step in steps(done) if step["action"] == "skip"} == {"DescribeQueryDefinitions"}
    (made,) = client(moto).describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert made["retentionInDays"] == 90
    again = steps(command("setup", "--endpoint-url", moto, "--json"))
    assert {step["action"] for step in again} == {"keep", "skip"}
    steps(command("setup", "--endpoint-url", moto, "--delete", "--json"))
    assert client(moto).describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []


def test_export_prints_the_template_and_needs_no_aws(command: Command, strict: StrictCloudWatch) -> None:
    done = command("setup", "--export", "cloudformation")
    assert json.loads(done.stdout)["Resources"]["LogGroup"]["DeletionPolicy"] == "Retain"
    assert strict.calls == []
