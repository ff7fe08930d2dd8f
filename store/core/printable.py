"""Make text of clients safe to log and to print: it ends no line, and steers no terminal.

Models, ids, paths, user agents and error messages come from clients or from upstream. A line's end in one
of them would forge a line of the log; an escape sequence would rewrite what a terminal shows, or more.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from typing import Any

UNSAFE = re.compile(r"[^ -~]")
LINES = re.compile(r"([\n\t])")


def printable(value: object) -> str:
    r"""Return the text of `value` on one line, with what is not printable written as an escape.

    >>> printable("gpt-4o\x1b[2J\r\nok"), printable("Zoë"), printable("a\u202eb")
    ('gpt-4o\\x1b[2J\\r\\nok', 'Zoë', 'a\\u202eb')
    """
    text = str(value)
    return text if text.isprintable() else UNSAFE.sub(_escaped, text)


def printable_lines(value: object) -> str:
    """Return the text of `value` as :func:`printable` does, but keep its lines and tabs."""
    return "".join(part if part in ("\n", "\t") else printable(part) for part in LINES.split(str(value)))


def printable_json(value: object) -> str:
    r"""Return `value` as JSON on one line, readable, and with escapes for what is not printable.

    >>> printable_json({"model": "Zoë\x9b"})
    '{"model": "Zoë\\u009b"}'
    """
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return UNSAFE.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def clean_log_records() -> None:
    """Have every log record of this process made printable, whoever logs it. Installed once per process.

    What is ours takes one line. Others' messages, and the traces of exceptions, keep their lines.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "_llmproxy", False):
        return

    def make_printable(*args: Any, **named: Any) -> logging.LogRecord:
        record = make(*args, **named)
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            return record  # logging says what is wrong with it
        ours = str(record.msg).startswith("llmproxy") and "\n" not in str(record.msg)
        clean = (printable if ours else printable_lines)(text)
        if clean != text:
            record.msg, record.args = clean, None
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = _trace(record.exc_info[1])
        return record

    make_printable._llmproxy = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_printable)


def _trace(error: BaseException) -> str:
    """Give the trace of `error`; the messages in it take one line each."""
    text = "".join(traceback.format_exception(error)).rstrip("\n")
    known: BaseException | None = error
    while known is not None:
        text = text.replace(str(known), printable(known)) if str(known) else text
        known = known.__cause__ or known.__context__
    return printable_lines(text)


def _escaped(found: re.Match[str]) -> str:
    sign = found[0]
    return sign if sign.isprintable() else sign.encode("unicode_escape").decode()
