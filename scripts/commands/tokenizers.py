"""Run ``llmproxy tokenizers``: put tiktoken's vocabularies where the proxy finds them.

tiktoken fetches them from a host that many companies, and this project's users behind a firewall, cannot
reach. The litellm package on PyPI ships the same files; it is fetched through whatever index pip is set up
with, never installed, and each file must have the SHA-256 that tiktoken itself expects.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable
from pathlib import Path

import click

from addons.openai.vocabulary import VOCABULARIES, Vocabulary, cache_folder

PACKAGE = "litellm"
INSIDE = "litellm/litellm_core_utils/tokenizers"
HOST_SECONDS = 10.0
PACKAGE_SECONDS = 300.0


class FetchFailed(Exception):
    """A source did not give the file; the text says why."""


@click.group()
def tokenizers() -> None:
    """Vocabularies for counting the tokens that the API does not report."""


@tokenizers.command()
@click.option("--from-package", is_flag=True, help=f"Do not try tiktoken's host; use the {PACKAGE} package.")
def install(*, from_package: bool) -> None:
    """Fetch the vocabularies that are missing: from tiktoken's host, else out of a package from PyPI."""
    folder = cache_folder()
    missing = [vocabulary for vocabulary in VOCABULARIES.values() if not vocabulary.is_in(folder)]
    if not missing:
        click.echo(f"{', '.join(VOCABULARIES)}: already in {folder}", err=True)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        left = missing if from_package else _from_host(missing, folder)
        if left:
            _from_package(left, folder)
    except FetchFailed as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or folder}: {error.strerror or error}") from error
    click.echo(f"{', '.join(vocabulary.name for vocabulary in missing)}: installed in {folder}", err=True)


@tokenizers.command()
def status() -> None:
    """Say which vocabularies are there. Exit code 1 when one is missing."""
    folder = cache_folder()
    missing = False
    for vocabulary in VOCABULARIES.values():
        found = vocabulary.is_in(folder)
        missing = missing or not found
        click.echo(f"{vocabulary.name}  {'installed' if found else 'missing'}  {folder / vocabulary.key}")
    if missing:
        raise click.exceptions.Exit(1)


def _from_host(vocabularies: Iterable[Vocabulary], folder: Path) -> list[Vocabulary]:
    """Fetch from tiktoken's own addresses; returns those that could not be had there."""
    left = []
    reachable = True
    for vocabulary in vocabularies:
        if reachable:
            try:
                with urllib.request.urlopen(vocabulary.url, timeout=HOST_SECONDS) as answer:  # noqa: S310 - https
                    _keep(vocabulary, answer.read(), folder)
                continue
            except (FetchFailed, OSError) as error:
                reason = getattr(error, "reason", error)
                click.echo(f"tiktoken's host: {reason}; trying the {PACKAGE} package.", err=True)
                reachable = False
        left.append(vocabulary)
    return left


def _from_package(vocabularies: Iterable[Vocabulary], folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        wheel = _download(Path(temporary))
        try:
            with zipfile.ZipFile(wheel) as archive:
                for vocabulary in vocabularies:
                    _keep(vocabulary, archive.read(f"{INSIDE}/{vocabulary.key}"), folder)
        except (KeyError, zipfile.BadZipFile) as error:
            raise FetchFailed(f"{wheel.name} does not hold the vocabularies: {error}") from error


def _download(folder: Path) -> Path:
    """Give the package's wheel, fetched by the first pip that can."""
    errors = []
    for command in _downloaders(folder):
        try:
            done = subprocess.run(  # noqa: S603 - our own commands
                command, check=False, timeout=PACKAGE_SECONDS, capture_output=True, text=True
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            errors.append(str(error))
            continue
        if wheels := sorted(folder.glob(f"{PACKAGE}-*.whl")):
            return wheels[0]
        errors.append((done.stderr.strip().splitlines() or ["no wheel"])[-1])
    raise FetchFailed(
        f"the {PACKAGE} package could not be fetched ({'; '.join(errors)}); check pip's index settings, "
        f"or copy the files into {cache_folder()}."
    )


def _downloaders(folder: Path) -> list[list[str]]:
    """Give ``pip download``, by the pip of this environment, or, without one, of the Python below it."""
    arguments = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    arguments += ["--dest", str(folder), PACKAGE]
    pythons = (Path(sys.executable), Path(sys.base_prefix) / "bin" / "python3")
    return [[str(python), "-m", "pip", *arguments] for python in pythons if python.exists()]


def _keep(vocabulary: Vocabulary, data: bytes, folder: Path) -> None:
    """Write the file under tiktoken's name for it, whole or not at all."""
    found = hashlib.sha256(data).hexdigest()
    if found != vocabulary.sha256:
        raise FetchFailed(f"{vocabulary.name} has the wrong SHA-256 {found}")
    temporary = folder / f"{vocabulary.key}.{os.getpid()}.tmp"
    temporary.write_bytes(data)
    temporary.replace(folder / vocabulary.key)
