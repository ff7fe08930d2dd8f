"""The documents name what the code has, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import click
from mitmproxy import options
from mitmproxy.addonmanager import Loader
from mitmproxy.master import Master

from addons import counters, metrics, refusal
from addons.declared import declare
from addons.event import build_event, minimal_event
from addons.management_api.routes import ROUTES
from addons.openai.counting.tally import Approximate, Missing
from addons.openai.objects import Ref
from addons.openai.objects.kinds import FILE, JOB, RESPONSE
from addons.policy import refusals as limits
from dispatch import message
from dispatch.catalog import BUILT_IN
from dispatch.delivery import Totals
from dispatch.metrics import DispatchCollector
from scripts.cli import main
from store.ledger import Answer, Hit
from tests.addons.test_event import exchange

CONTEXT = click.Context(main)
COMMANDS = {name: main.get_command(CONTEXT, name) for name in main.list_commands(CONTEXT)}
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EVENT = (ROOT / "docs" / "event.md").read_text()
DISPATCH = (ROOT / "docs" / "dispatch.md").read_text()


def first_cells(text: str, heading: str) -> set[str]:
    """The names in the first column of the first table below a heading."""
    table = text.split(f"\n{heading}\n", 1)[1].split("\n## ", maxsplit=1)[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_every_event_field_is_documented() -> None:
    event = build_event(exchange(), capture="all")
    documented = first_cells("\n" + EVENT, "# The event")
    assert documented == {*event, "writer", "seq"}


def test_an_outline_has_every_field_but_the_content() -> None:
    assert build_event(exchange(), capture="none").keys() == minimal_event(exchange()).keys()


def test_the_fields_that_are_dispatched_are_marked() -> None:
    rows = [line for line in EVENT.split("\n## ")[0].splitlines() if line.startswith("| `")]
    marked = {
        name
        for row in rows
        if row.split("|")[2].strip()
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    sent = message.message({"type": message.USAGE_TYPE} | dict.fromkeys(message.FIELDS))
    assert marked == sent.keys() - {"run_id", "event", *message.DERIVED}


def test_every_code_of_a_counted_usage_is_documented() -> None:
    assert first_cells(EVENT.replace("\n###", "\n##"), "## missing") == set(get_args(Missing))
    assert first_cells(EVENT.replace("\n###", "\n##"), "## approximate") == set(get_args(Approximate))


def test_every_field_of_a_repricing_is_documented() -> None:
    section = EVENT.split('`type: "llm_proxy_repricing"`')[1].split("\n\n`type:")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert documented == {*message.REPRICING_FIELDS, "timestamp"}


def test_every_field_of_a_session_is_documented() -> None:
    section = EVENT.split('`type: "llm_proxy_session"`')[1].split("\n\n`type:")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == {*message.SESSION_FIELDS, "timestamp"}


def test_every_field_of_a_budget_mark_is_documented() -> None:
    section = EVENT.split('`type: "llm_proxy_budget"`')[1].split("\n\n`type:")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == {*message.BUDGET_FIELDS, "timestamp"}


def test_every_field_of_an_audit_head_is_documented() -> None:
    section = EVENT.split('`type: "llm_proxy_audit"`')[1].split("\n\n`type:")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == {
        *message.AUDIT_FIELDS,
        "timestamp",
    }


async def test_every_option_is_documented() -> None:
    master = Master(options.Options())
    declare(Loader(master))
    declared = {name for name in master.options.keys() if name.startswith("llm_")}  # noqa: SIM118
    assert first_cells(README, "## Options") == declared


def test_every_refusal_is_documented() -> None:
    refusals = [value for value in vars(refusal).values() if isinstance(value, refusal.Refusal)]
    codes = {
        found.code
        for found in [
            *refusals,
            *refusal.BY_REASON.values(),
            refusal.destination_refused(""),
            refusal.model_refused(""),
            refusal.unclear_references(""),
            *(
                refusal.object_not_found(Ref(kind, "", param))
                for kind, param in ((RESPONSE, "previous_response_id"), (JOB, None), (FILE, None))
            ),
            refusal.event_refused(""),
            refusal.network_refused(None, "", []),
            refusal.output_refused("", 0, None),
            limits.unpriced(""),
            limits.unbounded(""),
            limits.ended(Hit("usd/day", "token", 1, 1, 1)),
            *filter(None, [limits.why_not(Answer(Hit("max_concurrent", "token", 1, 1, 1)))]),
        ]
    }
    table = README.split("### What clients see")[1].split("\n## ")[0]
    assert set(re.findall(r"`([a-z]+_[a-z_]+)`", table)) == codes


def test_every_command_is_documented() -> None:
    section = README.split("## Commands")[1].split("\n## ")[0]
    for name, command in COMMANDS.items():
        shown = re.search(rf"^\$ llmproxy {name} (\S+)", section, re.MULTILINE)
        assert shown, name
        if isinstance(command, click.Group):
            assert set(shown[1].split("|")) == set(command.commands)


def test_environment_variables_of_the_dispatcher_are_in_its_help() -> None:
    for parameter in COMMANDS["dispatch"].params:
        if isinstance(parameter, click.Option) and parameter.envvar and "DISPATCHER" in str(parameter.envvar):
            assert parameter.show_envvar, parameter.name


def test_every_option_of_every_sink_is_documented() -> None:
    found = {(kind.name, option.name) for kind in BUILT_IN.values() for option in kind.options}
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", DISPATCH, re.MULTILINE)
    assert set(rows) == found
    for kind in BUILT_IN.values():
        assert re.search(rf"^\| `{kind.name}` \| (every record|calls) \|", DISPATCH, re.MULTILINE), kind.name
        for option in kind.options:
            row = re.search(rf"^\| `{kind.name}` \| `{option.name}` \|(.*)", DISPATCH, re.MULTILINE)
            assert row
            assert all(f"`{name}`" in row[1] for name in (*option.env, option.flag) if name), option.name


def test_every_setting_of_the_dispatcher_is_documented() -> None:
    general = {
        (param.opts[0], param.envvar[0] if isinstance(param.envvar, list) else param.envvar)
        for param in COMMANDS["dispatch"].params
        if isinstance(param, click.Option) and param.envvar and "DISPATCHER" in str(param.envvar)
    }
    assert set(re.findall(r"^\| `(--[a-z-]+)` \| `(DISPATCHER_\w+)` \|", DISPATCH, re.MULTILINE)) == general


def test_every_metric_of_the_dispatcher_is_documented() -> None:
    families = DispatchCollector({"file": Totals()}).collect()
    names = {sample.name for family in families for sample in family.samples}
    assert set(re.findall(r"^\| `(llmproxy_dispatch_\w+)` \|", DISPATCH, re.MULTILINE)) == names


def test_every_figure_of_the_summary_is_documented() -> None:
    paragraph = DISPATCH.split("`--json` prints")[1].split("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", paragraph)) - {"stdout", "sinks"} == {
        *Totals().as_dict(),
        "failure",
    }


def test_metrics_gaps_and_reasons_are_documented() -> None:
    status = (ROOT / "docs" / "status.md").read_text()
    named = {f"llmproxy_{name}_total" for name in metrics.COUNTERS} | {
        f"llmproxy_{name}" for name in metrics.GAUGES
    }
    assert set(re.findall(r"^\| `(llmproxy_\w+)`", status, re.MULTILINE)) == named
    assert first_cells(status, "## llmproxy status") == set(counters.GAPS)
    source = (ROOT / "addons" / "management.py").read_text()
    codes = status.split("| code |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", codes, re.MULTILINE)) == set(re.findall(r'Reason\("(\w+)"', source))


def test_every_route_and_error_of_the_management_api_is_documented() -> None:
    text = (ROOT / "docs" / "management.md").read_text()
    assert first_cells(text, "## Routes") == {
        f"{method} {path}" for path, handler in ROUTES for method in handler.methods()
    }
    source = "".join(path.read_text() for path in (ROOT / "addons" / "management_api").glob("*.py"))
    codes = set(re.findall(r'\d{3},\s+"(\w+)"', source))
    documented = re.findall(r"^\| \d{3} \|([^|]*)\|", text, re.MULTILINE)
    assert {code for cell in documented for code in re.findall(r"`(\w+)`", cell)} == codes
