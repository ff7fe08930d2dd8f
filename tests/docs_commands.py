"""The commands of the documents: which there are, and which of them our own parsers take."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
from mitmproxy import options
from mitmproxy.addonmanager import Loader
from mitmproxy.tools import cmdline
from mitmproxy.tools.web.master import WebMaster

from addons.settings.options import declare
from scripts.benchmarks.__main__ import main as bench
from scripts.benchmarks.clients import main as clients
from scripts.cli import main
from scripts.quickstart.command import up

ROOT = Path(__file__).parents[1]
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
)
NOT_RUN = "not run by our tests"
"""What a reader sees beside a command that no test runs and no parser of ours takes."""
BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
HELPERS = frozenset(["cat", "echo", "head", "jq", "printf", "sha256sum"])
"""Beside a command of ours in a pipe."""
SHELL = frozenset(["alias", "cd", "eval", "export", "source"])
"""Set up the shell for what follows, and do nothing by themselves."""
READ = frozenset(["heads", "prices"])
"""Parameters that name files which are read at once."""
OPERATORS = re.compile(r"[();|&]+")
REDIRECTIONS = re.compile(r"[<>]+")


class NotOurs(Exception):
    """The parser of a command does not take it; the text says why."""


@dataclass(frozen=True, slots=True)
class Documented:
    """A command of a page, and what the page shows of its output."""

    page: str
    line: int
    text: str
    output: str
    around: str
    """The paragraphs before and after its block, and the comments within it."""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def marked(self) -> bool:
        return NOT_RUN in " ".join(f"{self.around} {self.text}".split())


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str
    before: str
    """What stands before it, from the last empty line."""
    after: str

    def commands(self) -> Iterator[Documented]:
        """Yield the commands of a console, each with its continuation lines and what follows it."""
        lines = self.text.splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            last = start + 1
            while last < end and not _whole("\n".join(lines[start:last])):
                last += 1
            text = "\n".join(lines[start:last]).removeprefix("$ ")
            output = "\n".join(lines[last:end])
            yield Documented(self.page, self.line + start + 1, text, output, f"{self.before}\n{self.after}")


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in BLOCK.finditer(text):
        above = text[: found.start()].rstrip()
        mark = re.search(r"\n *<!-- run: \w+ -->$", above)
        paragraph = (above[: mark.start()] if mark else above).rstrip().rpartition("\n\n")[2]
        before = paragraph + (mark[0] if mark else "")
        after = text[found.end() :].lstrip().partition("\n\n")[0]
        indent = len(found["indent"])
        inside = "\n".join(line[indent:] for line in found["text"].splitlines())
        line = text[: found.start()].count("\n") + 1
        yield Block(page.name, line, found["language"], inside, before, after)


def documented() -> list[Documented]:
    return [
        command
        for page in PAGES
        for block in blocks(page)
        if block.language == "console"
        for command in block.commands()
    ]


def _whole(text: str) -> bool:
    """Tell whether a shell would begin to run it, or wait for more."""
    if text.endswith("\\"):
        return False
    if heredoc := re.search(r"<<'?(\w+)'?", text):
        return text.endswith(f"\n{heredoc[1]}")
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


def simple_commands(text: str) -> Iterator[list[str]]:
    """Yield the commands of a pipe, list or substitution, without assignments and redirections."""
    for inner in re.findall(r"\$\(([^()]*)\)", text):
        yield from simple_commands(inner)
    lexer = shlex.shlex(
        re.sub(r"\$\([^()]*\)", "X", text).replace("\\\n", " "), posix=True, punctuation_chars=True
    )
    lexer.whitespace_split = True
    words: list[str] = []
    tokens = list(lexer)
    for number, token in enumerate(tokens):
        if OPERATORS.fullmatch(token):
            yield from _without_settings(words)
            words = []
        elif not REDIRECTIONS.fullmatch(token) and not (
            number and REDIRECTIONS.fullmatch(tokens[number - 1])
        ):
            words.append(token)
    yield from _without_settings(words)


def _without_settings(words: Sequence[str]) -> Iterator[list[str]]:
    left = list(words)
    while left and re.match(r"\w+=", left[0]):
        left.pop(0)
    if left:
        yield left


def parse(text: str) -> bool:
    """Tell whether commands of ours are all that a line runs. Raises NotOurs for one that is wrong."""
    ours = 0
    for name, *arguments in simple_commands(text):
        if name in HELPERS or name in SHELL:
            continue
        if (check := PARSERS.get(name.removeprefix("./").removeprefix(".venv/bin/"))) is None:
            return False
        check(arguments)
        ours += 1
    return ours > 0


def sets_the_shell(text: str) -> bool:
    return all(name in SHELL for name, *_ in simple_commands(text))


def check_click(command: click.Command, arguments: Sequence[str], path: str = "") -> None:
    """Take the words as click would, down to the last subcommand; nothing is run, no file is opened."""
    context = click.Context(command, info_name=command.name)
    try:
        given, rest, _ = command.make_parser(context).parse_args(list(arguments))
        for param in command.get_params(context):
            value = given.get(param.name or "")
            if not isinstance(
                value, str | int | list | tuple
            ):  # it is not there; a file or the environment may say it
                if (
                    param.required
                    and not param.envvar
                    and not any(word.startswith("--config") for word in arguments)
                ):
                    raise NotOurs(f"{path} {command.name}: {param.name} is missing")
            elif not isinstance(param.type, click.Path | click.File) and param.name not in READ:
                param.type_cast_value(context, value)
    except click.UsageError as error:
        raise NotOurs(f"{path} {command.name}: {error.format_message()}") from error
    if isinstance(command, click.Group) and rest:
        if (chosen := command.get_command(context, rest[0])) is None:
            raise NotOurs(f"{path} {command.name} has no command {rest[0]!r}")
        check_click(chosen, rest[1:], f"{path} {command.name}")
    elif rest:
        raise NotOurs(f"{path} {command.name}: {rest[0]!r} is too much")


@cache
def options_of_mitmproxy() -> options.Options:
    """Return the options of mitmweb, which has all that mitmdump has, and ours."""

    async def started() -> options.Options:
        master = WebMaster(options.Options())
        declare(Loader(master))
        return master.options

    return asyncio.run(started())


def check_mitmproxy(arguments: Sequence[str]) -> None:
    """Take the words as mitmproxy would, and see that the options are there."""
    known = options_of_mitmproxy()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            taken = cmdline.mitmweb(known).parse_args([word for word in arguments if word != "..."])
    except SystemExit as error:
        raise NotOurs(f"mitmproxy: {said.getvalue().splitlines()[-1]}") from error
    for name in (setting.partition("=")[0] for setting in taken.setoptions):
        if name not in known:
            raise NotOurs(f"mitmproxy: there is no option {name!r}")


def check_test(arguments: Sequence[str]) -> None:
    source = (ROOT / "scripts" / "test").read_text()
    for word in arguments:
        if f" {word} " not in source:
            raise NotOurs(f"scripts/test has no {word!r}")


PARSERS = {
    "llmproxy": lambda words: check_click(main, words),
    "scripts/manage": lambda words: check_click(main, words),
    "scripts/up": lambda words: check_click(up, words),
    "scripts/bench": lambda words: check_click(bench, words),
    "scripts/clients": lambda words: check_click(clients, words),
    "scripts/test": check_test,
    "mitmdump": check_mitmproxy,
    "mitmweb": check_mitmproxy,
}


def check_synopsis(line: str) -> None:
    """See that every option that a synopsis names is one of the command, or of one of those that it names."""
    _, path, *rest = re.sub(r" #.*", "", line).split()
    chosen = main.get_command(click.Context(main), path)
    if path.startswith("-"):
        return
    if chosen is None:
        raise NotOurs(f"there is no command {path!r}")
    found = [chosen]
    if isinstance(chosen, click.Group):
        verbs = rest[0].split("|")
        named = [chosen.get_command(click.Context(chosen), verb) for verb in verbs]
        if None in named:
            raise NotOurs(f"{path} has not all of {verbs}")
        found += [one for one in named if one is not None]
    own, *_ = " ".join(rest).partition("[-- ")
    flags = {flag for each in found for param in each.params for flag in (*param.opts, *param.secondary_opts)}
    for flag in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", own):
        if flag not in flags:
            raise NotOurs(f"{path} has no option {flag!r}")
