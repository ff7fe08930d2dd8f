from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from store.core.printable import clean_log_records, printable, printable_json, printable_lines

HOSTILE = "gpt\x1b[2J\x9b31m\r\nllmproxy: all is well\x00\x7f\u202e\u2028\ud800"


def test_one_line_that_steers_no_terminal() -> None:
    text = printable(HOSTILE)
    assert text.isprintable()
    assert text.startswith("gpt\\x1b[2J\\x9b31m\\r\\nllmproxy")
    assert printable("Zo\u00eb \u65e5\u672c") == "Zo\u00eb \u65e5\u672c"


def test_lines_may_be_kept() -> None:
    assert printable_lines("a\n\tb\x1b\r") == "a\n\tb\\x1b\\r"


def test_json_says_the_same() -> None:
    value = {"model": HOSTILE, "name": "Zo\u00eb"}
    text = printable_json(value)
    assert text.isprintable()
    assert json.loads(text) == value
    assert "Zo\u00eb" in text


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a handler writes that knows nothing of us."""
    made, written = logging.getLogRecordFactory(), io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("[time] %(message)s"))
    logging.getLogger("hostile").addHandler(handler)
    clean_log_records()
    yield written
    logging.getLogger("hostile").removeHandler(handler)
    logging.setLogRecordFactory(made)


def test_a_log_record_is_one_line(log: io.StringIO) -> None:
    logging.getLogger("hostile").error("llmproxy: no model %s, %d", HOSTILE, 7)
    [line] = log.getvalue().splitlines()
    assert line.isprintable()
    assert line.endswith(", 7")


def test_other_log_records_keep_their_lines_only(log: io.StringIO) -> None:
    logging.getLogger("hostile").error(f"client said\n{HOSTILE}")
    assert all(line.isprintable() for line in log.getvalue().split("\n"))


def test_the_message_of_an_exception_forges_no_line(log: io.StringIO) -> None:
    try:
        try:
            raise KeyError(HOSTILE)
        except KeyError as error:
            raise ValueError(f"bad\n[time] forged {HOSTILE}") from error
    except ValueError:
        logging.getLogger("hostile").exception("llmproxy: a hook failed")
    lines = log.getvalue().split("\n")
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if line.startswith("[time]")] == ["[time] llmproxy: a hook failed"]
    assert "Traceback" in log.getvalue()


def test_a_record_that_cannot_be_formatted_is_left_to_logging(log: io.StringIO) -> None:
    record = logging.getLogRecordFactory()("hostile", logging.ERROR, "", 0, "%d", ("x",), None)
    assert record.args == ("x",)
