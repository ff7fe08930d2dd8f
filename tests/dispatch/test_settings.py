"""Flags, then environment, then file; what nobody knows stops the start with one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scripts.cli import main
from store.spool import SpoolReader
from tests.dispatch.conftest import Run, command, environment, usage_event, write


class Dispatch:
    """The command, in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / "spool"

    def config(self, text: str) -> str:
        path = self.folder / "dispatcher.toml"
        path.write_text(text)
        return str(path)

    def __call__(self, *arguments: str, **env: str) -> Result:
        kept = {name: None for name in os.environ if name.startswith(("AWS_", "DISPATCHER_"))}
        return CliRunner().invoke(
            main, ["--spool", str(self.spool), "dispatch", *arguments], env={**kept, **env}
        )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dispatch:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the test process keeps its own handlers
    write(tmp_path / "spool", [usage_event(n) for n in range(3)])
    return Dispatch(tmp_path)


def count(path: Path) -> int:
    return len(path.read_bytes().splitlines())


def test_flags_go_before_environment_before_file(run: Dispatch, tmp_path: Path) -> None:
    file = run.config(f'service = "file"\n[file]\noutput = "{tmp_path}/from-file"\nconsumer = "three"\n')
    for consumer in ("one", "two", "three"):  # registered, so that segments wait for them
        SpoolReader(run.spool, consumer).close()
    variable = {"DISPATCHER_FILE_OUTPUT": f"{tmp_path}/from-environment"}
    flag = ("--file-output", f"{tmp_path}/from-flag")
    assert run("--config", file, *flag, DISPATCHER_FILE_CONSUMER="one", **variable).exit_code == 0
    assert run("--config", file, DISPATCHER_FILE_CONSUMER="two", **variable).exit_code == 0
    assert run(DISPATCHER_CONFIG=file).exit_code == 0
    for source in ("flag", "environment", "file"):
        assert count(tmp_path / f"from-{source}") == 4, source


def test_several_sinks_each_with_its_own_settings(run: Dispatch, tmp_path: Path, dispatch: Run) -> None:
    file = run.config(
        f'service = ["file", "stdout"]\nbatch_size = 2\n'
        f'[file]\noutput = "{tmp_path}/out"\nrotate_size = "1MB"\nbatch_size = 1\ninclude_content = true\n'
    )
    done = dispatch("--config", file, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stderr)  # the events have standard output for themselves
    assert (summary["sent"], summary["sinks"]["file"]["batches"]) == (8, 4)
    assert summary["sinks"]["stdout"]["batches"] == 2
    assert summary["sinks"]["file"]["backlog_bytes"] == 0
    assert "SECRET prompt" in (tmp_path / "out").read_text()
    assert len(done.stdout.splitlines()) == 4
    assert "SECRET" not in done.stdout


def test_names_of_the_reference_system(run: Dispatch, tmp_path: Path) -> None:
    done = run(
        DISPATCHER_SERVICE="file",
        DISPATCHER_ENDPOINT=f"{tmp_path}/out",
        DISPATCHER_BATCH_SIZE="100",
        DISPATCHER_BUFFER="1000",
        DISPATCHER_DETACH="true",
    )
    assert done.exit_code == 0, done.output
    assert count(tmp_path / "out") == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('servce = "file"', "no key 'servce'; did you mean service?"),
        ("[file]\noutputs = 'x'", "[file] has no key 'outputs'; did you mean output?"),
        ("[carrier]\nx = 1", "there is no sink [carrier]"),
        ("[file", "is not TOML"),
        ("batch_size = 0", "--batch-size"),
        ("[file]\nrotate_size = 'big'", "'big': write bytes"),
        ("[file]\nrotate_every = 'often'", "'often': write seconds"),
        ("[file]\nkeep = 0", "0: write a whole number"),
        ("service = 'carrier-pigeon'", "there is no sink 'carrier-pigeon'"),
    ],
)
def test_mistakes_in_the_file(run: Dispatch, text: str, said: str) -> None:
    done = run("--config", run.config(text), *([] if "service" in text else ["--service", "stdout"]))
    assert done.exit_code == 2, done.output
    assert said in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (("--service", "stdout"), {"DISPATCHER_FILE_OUPUT": "x"}, "did you mean DISPATCHER_FILE_OUTPUT?"),
        (("--service", "stdout", "--config", "/nonexistent.toml"), {}, "No such file"),
        (("--service", "file,stdout", "--consumer", "x", "--output", "x"), {}, "--SINK-consumer"),
        (
            ("--service", "file,stdout"),
            {"DISPATCHER_ENDPOINT": "x"},
            "DISPATCHER_ENDPOINT can't serve several",
        ),
        ((), {}, "--service"),
    ],
)
def test_mistakes_elsewhere(
    run: Dispatch, arguments: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    done = run(*arguments, **env)
    assert done.exit_code == 2, done.output
    assert said in done.stderr.splitlines()[-1]


def test_check_writes_nothing(run: Dispatch, tmp_path: Path) -> None:
    arguments = ("--service", "file,stdout", "--check")
    done = run(*arguments, "--output", f"{tmp_path}/new/out", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["sinks"]["file"]["ok"] is True
    failed = run(*arguments, "--output", str(tmp_path))
    assert failed.exit_code == 1
    assert f"file: failed: file {tmp_path}: is a directory" in failed.stdout
    assert "stdout: ok: " in failed.stdout
    assert not (run.spool / "cursors").exists()
    assert not (tmp_path / "new").exists()


def test_hangup_reads_the_file_again(run: Dispatch, tmp_path: Path) -> None:
    """A wrong file changes nothing; a right one takes over; SIGTERM drains."""
    text = 'service = "file"\n[file]\noutput = "{}"\n'
    file = Path(run.config(text.format(tmp_path / "first")))
    process = subprocess.Popen(
        command(run.spool, "--config", str(file), "--follow"),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None

    def wait_for_lines(path: Path, number: int) -> None:
        deadline = time.monotonic() + 60
        while not path.exists() or count(path) < number:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    wait_for_lines(tmp_path / "first", 4)
    file.write_text(text.format(tmp_path / "second") + "typo = 1\n")
    process.send_signal(signal.SIGHUP)
    assert "[file] has no key 'typo'" in process.stderr.readline()
    file.write_text(text.format(tmp_path / "second"))
    process.send_signal(signal.SIGHUP)
    assert "configuration read again: file" in process.stderr.readline()
    write(run.spool, [usage_event(9)])
    wait_for_lines(tmp_path / "second", 2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Sent 6 events" in said
    assert count(tmp_path / "first") == 4
