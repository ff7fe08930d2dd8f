from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dispatch.privacy import Privacy
from dispatch.redact import redactor
from store.spool import Record
from tests.dispatch.conftest import Run, usage_event, write


def seen(event: dict[str, Any], **privacy: Any) -> dict[str, Any]:
    return Privacy(**privacy).of(Record(b"", event, "s", 0)).value


def test_nothing_private_unless_asked() -> None:
    event = usage_event(7)
    value = seen(event)
    assert "SECRET" not in json.dumps(value)
    assert value["client"] == {"sdk": "python/3.0"}
    assert value["error"] == {"type": "t", "code": "c"}
    assert value.keys() == event.keys() - {"request", "response"}
    assert "SECRET" in json.dumps(event), "the record itself is not touched"
    assert seen(event, include_content=True, include_client=True) == event


def test_content_and_addresses_are_asked_for_apart() -> None:
    event = usage_event(7)
    with_content = seen(event, include_content=True)
    assert (with_content["request"], with_content["error"]) == (event["request"], event["error"])
    assert with_content["client"] == {"sdk": "python/3.0"}
    with_client = seen(event, include_client=True)
    assert with_client["client"] == event["client"]
    assert "request" not in with_client


def test_content_is_redacted() -> None:
    event = usage_event(
        7,
        request={
            "headers": {"x": "a@example.com"},
            "body": {"messages": [{"content": "I am a@example.com"}]},
        },
        response={"body": "call +49 30 1234 5678"},
        error={"type": "t", "code": "c", "message": "no user a@example.com"},
        user={"id": "a@example.com", "source": "user"},
        request_metadata={"mail": "a@example.com"},
    )
    value = seen(event, include_content=True, redactor=redactor(["all"]))
    assert value["request"]["body"] == {"messages": [{"content": "I am [redacted:email]"}]}
    assert value["request"]["headers"] == {"x": "[redacted:email]"}
    assert value["response"]["body"] == "call [redacted:phone]"
    assert value["error"]["message"] == "no user [redacted:email]"
    assert value["request_metadata"] == {"mail": "[redacted:email]"}
    assert value["user"]["id"] == "a@example.com", "who called is no content"


def test_odd_records_pass() -> None:
    for value in (
        {},
        {"error": "text", "client": None},
        {"error": {}, "client": {}, "type": "llm_proxy_writer"},
    ):
        assert seen(value) == value


def test_from_the_command_line(spool: Path, tmp_path: Path, dispatch: Run) -> None:
    event = usage_event(1, response={"body": "mail a@example.com for PRJ-17"})
    write(spool, [event])
    output = tmp_path / "out"
    options = ("--include-content", "--include-client", "--redact", "email", "--redact", "re:PRJ-[0-9]+")
    done = dispatch("--service", "file", "--output", str(output), "--file-shape", "full", *options)
    assert done.returncode == 0, done.stderr
    sent = json.loads(output.read_text().splitlines()[0])
    assert sent["response"] == {"body": "mail [redacted:email] for [redacted:custom]"}
    assert sent["client"]["ip"] == "127.0.0.1"
    assert sent.keys() == {*event, "writer", "seq"}
    wrong = dispatch("--service", "file", "--output", str(output), "--redact", "mail")
    assert wrong.returncode == 2
    assert "--redact mail: not one of key, email" in wrong.stderr
