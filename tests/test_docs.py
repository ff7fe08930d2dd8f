"""The documents name what the code has, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import click
import msgspec
import pytest
from mitmproxy import options
from mitmproxy.addonmanager import Loader
from mitmproxy.master import Master

from addons.checks.limits import limit_errors as limits
from addons.flow import errors
from addons.flow.network import upstream_errors
from addons.management_api import sessions
from addons.management_api.routes import ROUTES
from addons.openai.counting.tally import Approximate, Missing
from addons.openai.objects.kinds import FILE, JOB, RESPONSE, Ref
from addons.recording import counters, histograms, metrics
from addons.settings.options import declare
from dispatch import message
from dispatch.alerting import watch
from dispatch.catalog import BUILT_IN
from dispatch.delivery import Totals
from dispatch.metrics import DispatchCollector
from scripts import event_docs
from scripts.benchmarks import clients
from scripts.cli import main
from store.core.event import USAGE_TYPE
from store.ledger import LimitExceeded, ReservationDecision
from store.spool import (
    cursor,
    dead,
    dispatcher_states,
    imported,
    journal,
    repair,
    replay,
    status_files,
    usage_checkpoint,
)
from tests.docs_commands import NOT_RUN, NotOurs, blocks, check_synopsis, documented, parse, sets_the_shell
from tests.docs_commands import PAGES as ALL_PAGES
from tests.screens import pages
from tests.screens.pages import Screen, marked, matches, rewrite

CONTEXT = click.Context(main)
COMMANDS = {name: main.get_command(CONTEXT, name) for name in main.list_commands(CONTEXT)}
ROOT = Path(__file__).parents[1]
OPTIONS = (ROOT / "docs" / "options.md").read_text()
EVENT = (ROOT / "docs" / "event.md").read_text()
DISPATCH = (ROOT / "docs" / "dispatch.md").read_text()


def first_cells(text: str, heading: str) -> set[str]:
    """The names in the first column of the first table below a heading."""
    table = f"\n{text}".split(f"\n{heading}\n", 1)[1].split("\n## ", maxsplit=1)[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_the_records_are_documented_as_they_are() -> None:
    remedy = "run scripts/event-docs"
    assert event_docs.page(EVENT) == EVENT, remedy
    assert event_docs.SCHEMA.read_text("utf-8") == event_docs.schema_text(), remedy
    tables = set(re.findall(r"<!-- table: (\w+) -->", EVENT))
    assert {kind.__name__ for kind in event_docs.RECORDS} <= tables


def test_the_fields_that_are_dispatched_are_marked() -> None:
    rows = [line for line in EVENT.split("\n## ")[0].splitlines() if line.startswith("| `")]
    marked = {
        name
        for row in rows
        if row.split("|")[2].strip()
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    sent = message.message({"type": USAGE_TYPE} | dict.fromkeys(message.FIELDS))
    assert marked == sent.keys() - {"run_id", "event", *message.DERIVED}


def test_every_code_of_a_counted_usage_is_documented() -> None:
    assert first_cells(EVENT.replace("\n###", "\n##"), "## missing") == set(get_args(Missing))
    assert first_cells(EVENT.replace("\n###", "\n##"), "## approximate") == set(get_args(Approximate))


@pytest.mark.parametrize("kind", message.FIELDS_OF)
def test_every_field_of_a_record_is_dispatched(kind: str) -> None:
    (record,) = [each for each in event_docs.RECORDS if each().type == kind]
    fields = {field.name for field in msgspec.structs.fields(record)}
    assert fields == {*message.FIELDS_OF[kind], "type", "timestamp"}


async def test_every_option_is_documented() -> None:
    master = Master(options.Options())
    declare(Loader(master))
    declared = {name for name in master.options.keys() if name.startswith("llm_")}  # noqa: SIM118
    assert first_cells(OPTIONS, "## Options") == declared


def test_every_refusal_is_documented() -> None:
    refusals = [value for value in vars(errors).values() if isinstance(value, errors.Refusal)]
    by_code = {
        found.code: found
        for found in [
            *refusals,
            *errors.BY_REASON.values(),
            *(failure for _, failure in upstream_errors.BY_MESSAGE),
            upstream_errors.UNANSWERED,
            upstream_errors.CLOSED,
            errors.destination_refused(""),
            errors.malformed(""),
            errors.model_refused(""),
            errors.unclear_references(""),
            errors.body_too_large(""),
            *(
                errors.object_not_found(Ref(kind, "", param))
                for kind, param in ((RESPONSE, "previous_response_id"), (JOB, None), (FILE, None))
            ),
            errors.event_refused(""),
            errors.network_refused(None, "", []),
            errors.output_refused("", 0, None),
            errors.parameter_unclear(""),
            errors.circuit_open(1),
            errors.origin_refused("", "", []),
            limits.unpriced(""),
            limits.unbounded(""),
            limits.ended(LimitExceeded("usd/day", "token", 1, 1, 1)),
            *filter(
                None, [limits.why_not(ReservationDecision(LimitExceeded("max_concurrent", "token", 1, 1, 1)))]
            ),
        ]
    }
    codes = set(by_code)
    for code, found in by_code.items():
        linked = found.shown.endswith(f"(docs/runbook.md#{code})")
        assert linked == (found.status >= 500), code
    assert {code for code in codes if by_code[code].status >= 500} == set(
        re.findall(r"^### `(\w+)`$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    )
    table = (ROOT / "docs" / "refusals.md").read_text()
    assert set(re.findall(r"`([a-z]+_[a-z_]+)`", table)) == codes


def test_every_command_is_documented() -> None:
    section = (ROOT / "docs" / "commands.md").read_text()
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
        takes = re.search(rf"^\| `{kind.name}` \| (every record|calls|alerts) \|", DISPATCH, re.MULTILINE)
        assert takes, kind.name
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
        f"llmproxy_{name}" for name in (*metrics.GAUGES, *histograms.MEASURES)
    }
    assert set(re.findall(r"^\| `(llmproxy_\w+)`", status, re.MULTILINE)) == named
    assert first_cells(status, "## llmproxy status") == set(counters.GAPS)
    source = (ROOT / "addons" / "hooks" / "management_server.py").read_text()
    codes = status.split("| code |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", codes, re.MULTILINE)) == set(re.findall(r'Reason\("(\w+)"', source))


def test_every_folder_of_the_spool_is_documented() -> None:
    modules = (cursor, dead, dispatcher_states, journal, repair, replay, status_files, usage_checkpoint)
    found = {*(module.FOLDER for module in modules), sessions.FOLDER, sessions.SIGN_IN_FOLDER}
    table = (ROOT / "docs" / "spool.md").read_text().split("\n\nA *writer*")[0]
    assert set(re.findall(r"`(\w+)/`", table)) == found
    assert {imported.FILE, watch.LOCK} <= set(re.findall(r"`([\w.]+)`", table))


def test_every_route_and_error_of_the_management_api_is_documented() -> None:
    text = (ROOT / "docs" / "management.md").read_text()
    assert first_cells(text, "## Routes") == {
        f"{method} {path}" for path, handler in ROUTES for method in handler.methods()
    }
    source = "".join(path.read_text() for path in (ROOT / "addons" / "management_api").rglob("*.py"))
    codes = set(re.findall(r'\d{3},\s+"(\w+)"', source))
    documented = re.findall(r"^\| \d{3} \|([^|]*)\|", text, re.MULTILINE)
    assert {code for cell in documented for code in re.findall(r"`(\w+)`", cell)} == codes


PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "README.md")


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == {page.name for page in PAGES}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "docs" / "README.md", *PAGES], ids=lambda page: page.stem
)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)#]+)(?:#[\w-]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_architecture_names_files_and_code_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    paths = re.findall(r"`((?:addons|store|dispatch|scripts|tests)/[\w/.]*)`", page)
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists()] == []
    for file, names in re.findall(r"\| `(\w[\w/]+\.py)` \| (`[^|]+`) \|", page):
        source = (ROOT / file).read_text()
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^\s*(?:async )?(?:def|class) {name}\b", source, re.MULTILINE), (file, name)


def test_the_glossary_is_short() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text()
    assert 20 <= len(re.findall(r"^\| [a-z]", page, re.MULTILINE)) - 1 <= 30


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160


COMMAND_NAMES = ("llmproxy", "mitmdump", "mitmweb", "curl", "sudo", "docker", "kubectl", "helm", "./scripts/")


def places_run() -> set[str]:
    """Where the commands stand that `tests/screens` runs."""
    found = (block for of_a_world in marked().values() for block in of_a_world)
    return {command.place for block in found for command in block.commands()}


def test_what_a_page_shows_of_an_output_was_printed() -> None:
    shown = [command for command in documented() if command.output.strip()]
    assert len(shown) > 40
    assert [command.place for command in shown if command.place not in places_run()] == []


def test_every_command_is_run_or_parsed_or_marked_as_not_run() -> None:
    run = places_run()
    left = []
    for command in documented():
        if command.page == "commands.md":
            check_synopsis(command.text)
            continue
        try:
            ours = parse(command.text)
        except NotOurs as error:
            left.append(f"{command.place}: {command.text}: {error}")
            continue
        if not (ours or command.place in run or command.marked or sets_the_shell(command.text)):
            left.append(f"{command.place}: {command.text}: run it (tests/screens) or say '{NOT_RUN}'")
    assert left == []


@pytest.mark.parametrize(
    "wrong",
    [
        "llmproxy token create --project search --no-such-option",
        "llmproxy token create --project search --budget 1usd",
        "llmproxy token forget ID",
        "llmproxy project create",
        "echo key | llmproxy project create search --api-keys -",
        'mitmdump -s "$(llmproxy addon-paths)"',
        "mitmdump -s addons/llmproxy.py --set llm_modles=gpt-4o",
        "./scripts/up --cloudwatch real",
        "./scripts/test --slow",
    ],
)
def test_a_command_that_is_wrong_is_found(wrong: str) -> None:
    with pytest.raises(NotOurs):
        parse(wrong)


def test_commands_of_others_are_not_taken_for_ours() -> None:
    assert parse("llmproxy token list && ./scripts/up --once")
    assert not parse("docker run llmproxy llmproxy token list")
    assert not parse("curl -s $URL | jq .")
    assert not sets_the_shell("rm -rf data")
    with pytest.raises(NotOurs, match="no option '--once-more'"):
        check_synopsis("llmproxy up [--data FOLDER] [--once-more]")


def test_commands_stand_in_consoles() -> None:
    others = [
        f"{block.page}:{block.line}"
        for page in ALL_PAGES
        for block in blocks(page)
        if block.language != "console" and block.text.lstrip("$ ").startswith(COMMAND_NAMES)
    ]
    assert others == []


def test_the_table_of_clients_is_of_all_clients() -> None:
    page = (ROOT / "docs" / "clients.md").read_text()
    table = page.split(clients.BEGIN)[1].split(clients.END)[0]
    rows = [
        [cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines() if row.startswith("| ")
    ]
    assert [row[0] for row in rows[2:]] == [client.name for client in clients.CLIENTS]
    for name, version, calls, by_proxy, by_url, note in rows[2:]:
        assert {by_proxy, by_url} <= {"yes", "no", "-"}, name
        assert by_url != "-" or note.startswith("not run"), name
        assert by_url == "-" or (version and calls), name
        assert "no" not in (by_proxy, by_url) or note, name


def test_a_page_shows_what_is_printed_but_for_ids_and_times() -> None:
    printed = "id  01a22a53-1ef1-7665-a748-0ef6738e8aa1\nat  2026-11-30T02:40:33.548Z\nusd  0.5\nname  -\n"
    fits = "id 01a22714-e252-7478-9947-5858ca0f7bdf\nat 2026-01-01T00:00:00.000Z\n...\n"
    assert matches(fits.splitlines(), printed.splitlines())
    assert not matches(fits.splitlines()[:2], printed.splitlines()), "lines are left out without a word"
    assert not matches(["...", "usd 0.6", "..."], printed.splitlines())
    assert matches(["...", "usd 0...", "..."], printed.splitlines())


@pytest.mark.parametrize(
    ("shown", "printed", "wrong"),
    [
        (
            "01a213d5-16f0-72cb-96a6-457a69fc1fa4  4711  serving  2 s ago  10  0",
            "01a22a53-1ef1-7665-a748-0ef6738e8aa1   312  serving  0 s ago  10  0",
            "01a22a53-1ef1-7665-a748-0ef6738e8aa1   312  serving  0 s ago  11  0",
        ),
        (
            "01a213d5-16f0-72cb-96a6-457a69fc1fa4.web1.4711.000001.jsonl",
            "01a22a53-1ef1-7665-a748-0ef6738e8aa1.runner-7.31.000001.jsonl",
            "01a22a53-1ef1-7665-a748-0ef6738e8aa1.runner-7.31.000002.jsonl",
        ),
        ("spool  2 segments, 5302112 bytes", "spool  2 segments, 11 bytes", "spool  3 segments, 11 bytes"),
        ("the log has 115,392 bytes; above", "the log has 8 bytes; above", "the log has 8 bytes; below"),
        (
            "listening at http://127.0.0.1:8082/?token=...",
            "listening at http://127.0.0.1:8082/?token=0f1e2d",
            "listening at http://127.0.0.1:8082/?password=0f1e2d",
        ),
    ],
)
def test_of_what_differs_from_run_to_run_the_rest_is_compared(shown: str, printed: str, wrong: str) -> None:
    assert matches([shown], [printed])
    assert not matches([shown], [wrong])


def test_a_screen_is_written_anew_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ date\nold\n$ date\nold\n```\n")
    monkeypatch.setattr(pages, "PAGES", (page,))
    (block,) = blocks(page)
    first, second = block.commands()
    assert rewrite([Screen(first, "old"), Screen(second, "new")]) == ["page.md:4"]
    assert page.read_text() == "```console\n$ date\nold\n$ date\nnew\n```\n"
