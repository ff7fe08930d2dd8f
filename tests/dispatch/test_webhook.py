"""Webhooks for alerts, against real receivers: signed, once each, and tried again until they are taken."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
import urllib3
from click.testing import CliRunner, Result

from dispatch.alerting.sending import alert_of_test
from dispatch.delivery import GaveUp, Totals
from dispatch.errors import Misconfigured, Unavailable
from dispatch.sinks import webhook
from dispatch.sinks.webhook import SlackSink, WebhookSink
from scripts.cli import main
from store.core.event import AlertRecord, BudgetRecord, Error
from store.core.event_fields import to_fields
from store.spool import SpoolReader
from tests import nursery
from tests.dispatch.conftest import Run, command, environment, usage_event, write
from tests.dispatch.http_sinks import records, send
from tests.dispatch.webhook_receiver import OLD_SECRET, SECRET, Receiver
from tests.docs_commands import blocks
from tests.screens.pages import matches

MARK = to_fields(
    BudgetRecord(
        event_id="0197-mark",
        timestamp="2026-05-01T12:00:00.123Z",
        reached=80,
        side="token",
        limit="usd/day",
        allowed=10.0,
        used=8.5,
        percent=85.0,
        resets_at="2026-05-02T00:00:00.000Z",
        project_id="p1",
        project_name="acme <!channel>",
        token_id="t1",
    )
)


def alert(number: int = 1, **fields: Any) -> dict[str, Any]:
    record = AlertRecord(
        event_id=f"0197-{number}",
        timestamp="2026-05-01T12:00:00.123Z",
        alert="dispatcher_failing",
        state="firing",
        reason="sink_failing",
        summary="cloudwatch fails (60 s behind) (host:/spool)",
        error=Error(message="SECRET answer of a backend"),
        subject="cloudwatch",
    )
    return to_fields(record) | fields


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    with found.running():
        yield found


@pytest.fixture
def slack() -> Iterator[Receiver]:
    found = Receiver(slack=True)
    with found.running():
        yield found


def hook(receiver: Receiver, **more: Any) -> WebhookSink:
    given = {"url": receiver.url + receiver.path, "secret": ["env:HOOK_SECRET"], **more}
    return WebhookSink(**given)


def to_slack(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, **more: Any) -> SlackSink:
    monkeypatch.setenv("SLACK_URL", receiver.url + receiver.path)
    return SlackSink(url="env:SLACK_URL", **more)


def test_what_is_sent(receiver: Receiver) -> None:
    calls = [usage_event(n) for n in range(3)]
    assert send(hook(receiver), *calls, MARK, alert(), {"type": "llm_proxy_writer"}) == ([], 4)
    mark, failing = receiver.taken
    assert (mark["id"], mark["type"], mark["timestamp"]) == ("0197-mark", "budget.reached", MARK["timestamp"])
    assert mark["data"]["summary"] == (
        "80 % of the budget (day) of token t1 of project acme <!channel>: $8.50 of $10.00; "
        "it resets at 2026-05-02T00:00:00.000Z"
    )
    assert (mark["data"]["reached"], mark["data"]["used"], mark["data"]["event_id"]) == (80, 8.5, "0197-mark")
    assert failing["type"] == "dispatcher.failing"
    assert (failing["data"]["subject"], failing["data"]["state"]) == ("cloudwatch", "firing")
    assert "SECRET" not in json.dumps(receiver.taken)


def test_the_page_shows_what_is_sent(receiver: Receiver) -> None:
    page = Path(__file__).parents[2] / "docs" / "alerts.md"
    (shown,) = (json.loads(block.text) for block in blocks(page) if block.language == "json")
    fields = {name: value for name, value in shown["data"].items() if name in BudgetRecord.__struct_fields__}
    record = BudgetRecord(**{**fields, "timestamp": shown["timestamp"]})
    assert send(hook(receiver), to_fields(record)) == ([], 0)
    (told,) = receiver.taken
    del told["id"]  # from a header
    assert matches([json.dumps(shown)], [json.dumps(told)])


def test_an_error_text_goes_out_only_where_content_does(receiver: Receiver) -> None:
    assert send(hook(receiver, include_content=True), alert()) == ([], 0)
    assert receiver.taken[0]["data"]["error"]["message"] == "SECRET answer of a backend"


@pytest.mark.parametrize("fault", [500, 502, (503, {"retry-after": "0"}), 408], ids=str)
def test_what_time_heals_is_tried_again_with_the_same_id(receiver: Receiver, fault: Any) -> None:
    receiver.faults = [fault, fault]
    totals = Totals()
    assert send(hook(receiver), alert(), totals=totals) == ([], 0)
    assert (totals.retries, [each["id"] for each in receiver.taken]) == (2, ["0197-1"])


def test_a_receiver_that_hangs_is_left_and_asked_again(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "READ_SECONDS", 0.3)
    receiver.slow = 1.0
    sink, totals = hook(receiver), Totals()
    threading.Timer(0.7, lambda: setattr(receiver, "slow", 0.0)).start()
    assert send(sink, alert(), totals=totals) == ([], 0)
    assert totals.retries >= 1
    assert [each["id"] for each in receiver.taken] == ["0197-1"] * (totals.retries + 1), (
        "the same id each time"
    )


def test_an_answer_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "READ_SECONDS", 0.4)

    class Drip(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b".")
                self.wfile.flush()
                time.sleep(0.05)

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(OSError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Drip)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        sink = WebhookSink(url=f"http://127.0.0.1:{server.server_address[1]}/", secret=["env:HOOK_SECRET"])
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="does not end"):
            sink.send(sink.plan(records(alert())).parcels[0])
        assert time.monotonic() - begun < 10
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("changes", "whose"),
    [
        ({"side": "user", "token_id": None, "name": "ada"}, "user ada of project"),
        ({"side": "label", "token_id": None, "name": "team=a"}, "label team=a of project"),
        ({"side": "session", "name": "s-1"}, "session s-1 of token t1 of project"),
        ({"side": "session", "name": None}, "session (none) of token t1 of project"),
        ({"side": "project", "token_id": None, "name": None}, "project"),
    ],
)
def test_a_mark_says_whose_it_is(receiver: Receiver, changes: dict[str, Any], whose: str) -> None:
    assert send(hook(receiver), MARK | changes) == ([], 0)
    (mark,) = receiver.taken
    assert mark["data"]["summary"].startswith(f"80 % of the budget (day) of {whose} acme")


def test_slack_gets_its_shape_and_the_time_that_it_asks_for(
    slack: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    slack.faults = [(429, {"retry-after": "1"})]
    begun = time.monotonic()
    assert send(to_slack(slack, monkeypatch), MARK) == ([], 0)
    assert time.monotonic() - begun >= 1
    (taken,) = slack.taken
    assert "acme &lt;!channel&gt;" in taken["text"], "no mention"
    head, foot = taken["blocks"]
    assert head["text"]["text"].startswith("80 % of the budget (day) of token t1 of project acme <!channel>")
    assert "budget.reached | 2026-05-01T12:00:00.123Z | 0197-mark" in foot["elements"][0]["text"]


def test_a_login_page_takes_no_alert(slack: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    slack.page = True
    with pytest.raises(GaveUp, match="is a proxy or a login page in between"):
        send(to_slack(slack, monkeypatch), MARK, patient=False)


def test_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.faults = [(307, {"location": receiver.url + receiver.path})]
    with pytest.raises(GaveUp, match="307"):
        send(hook(receiver), alert(), patient=False)
    assert receiver.taken == []
    assert receiver.requests == 1


def test_what_is_refused_for_good_is_put_aside_and_holds_up_nothing(receiver: Receiver) -> None:
    receiver.faults = [422]
    assert send(hook(receiver), alert(1), alert(2)) == (["0197-1"], 0)
    assert [each["id"] for each in receiver.taken] == ["0197-2"]


def test_a_wrong_secret_is_for_a_person_to_mend(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", OLD_SECRET)
    with pytest.raises(GaveUp, match="401") as raised:
        send(hook(receiver), alert(), patient=False)
    assert OLD_SECRET not in str(raised.value)


def test_two_secrets_both_sign(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(OLD_SECRET + "\n")
    assert send(hook(receiver, secret=[f"file:{file}", "env:HOOK_SECRET"]), alert()) == ([], 0)
    receiver.secret = OLD_SECRET
    assert send(hook(receiver, secret=[f"file:{file}", "env:HOOK_SECRET"]), alert(2)) == ([], 0)
    assert [each["id"] for each in receiver.taken] == ["0197-1", "0197-2"]


def test_only_what_is_wanted(receiver: Receiver) -> None:
    hundred = MARK | {"event_id": "0197-100", "reached": 100}
    spend = alert(2, alert="spend_rate")
    sink = hook(receiver, alerts=["budget", "spend"], marks=["100"])
    assert send(sink, MARK, hundred, alert(1), spend) == ([], 2)
    assert [each["id"] for each in receiver.taken] == ["0197-100", "0197-2"]


def test_no_sink_is_told_that_it_fails_itself(receiver: Receiver) -> None:
    own = alert(1, subject="webhook")
    assert send(hook(receiver), own, alert(2, subject="slack")) == ([], 1)
    assert [each["id"] for each in receiver.taken] == ["0197-2"]


def test_one_process_sends_an_alert_once(receiver: Receiver) -> None:
    """Where the disk is full the cursor can't move, and the batch comes again and again."""
    sink = hook(receiver)
    for _ in range(2):
        for parcel in sink.plan(records(alert())).parcels:
            assert sink.send(parcel) == []
    assert len(receiver.taken) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"secret": [SECRET]}, "secret is a secret; write where it is: env:NAME"),
        ({"secret": []}, "no secret is given"),
        ({"secret": ["env:NOT_SET"]}, "env:NOT_SET: the variable is not set"),
        ({"secret": ["file:/not/there"]}, "file:/not/there: No such file"),
        ({"secret": ["env:PLAIN"]}, "the secret is not whsec_ and 24 bytes or more"),
        ({"url": "ftp://u:p@h/hooks/T0"}, "'ftp://h/...' is no http or https URL"),
    ],
    ids=str,
)
def test_settings_that_cannot_work(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("PLAIN", "hunter2")
    with pytest.raises(Misconfigured, match="webhook: ") as raised:
        hook(receiver, **given)
    assert said in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [("https://hooks.slack.com/services/T/B/x", "url is a secret"), ("env:PLAIN_HTTP", "is not https")],
)
def test_the_url_of_slack_is_a_secret(monkeypatch: pytest.MonkeyPatch, url: str, said: str) -> None:
    monkeypatch.setenv("PLAIN_HTTP", "http://hooks.example/services/T/B/x")
    with pytest.raises(Misconfigured, match=said) as raised:
        SlackSink(url=url)
    assert "services" not in str(raised.value)


def test_no_error_shows_the_path_of_the_url(slack: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    slack.faults = [(404, {})]
    with pytest.raises(GaveUp) as raised:
        send(to_slack(slack, monkeypatch), MARK, patient=False)
    assert slack.path not in str(raised.value)
    assert slack.url in str(raised.value)


def test_certificates_are_verified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = trustme.CA()
    receiver = Receiver()
    with receiver.running():
        port = int(receiver.url.rpartition(":")[2])
        server = _behind_tls(authority, port)
        url = f"https://localhost:{server.server_address[1]}{receiver.path}"
        try:
            with pytest.raises(GaveUp, match="CERTIFICATE_VERIFY_FAILED"):
                send(hook(receiver, url=url), alert(), patient=False)
            assert receiver.taken == []
            bundle = tmp_path / "ca.pem"
            authority.cert_pem.write_to_path(bundle)
            monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
            assert send(hook(receiver, url=url), alert()) == ([], 0)
            assert [each["id"] for each in receiver.taken] == ["0197-1"]
        finally:
            server.shutdown()
            server.server_close()


def _behind_tls(authority: trustme.CA, port: int) -> ThreadingHTTPServer:
    """A server with a certificate that hands requests on."""

    class Front(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            url = f"http://127.0.0.1:{port}{self.path}"
            answer = urllib3.request("POST", url, body=body, headers=dict(self.headers.items()))
            self.send_response(answer.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


def run(spool: Path, *arguments: str, **env: str) -> Result:
    return CliRunner().invoke(main, ["--spool", str(spool), "dispatch", *arguments], env=env)


def test_a_test_alert(spool: Path, receiver: Receiver, slack: Receiver, tmp_path: Path) -> None:
    config = tmp_path / "llmproxy.toml"
    config.write_text(
        f"""
        [dispatch]
        service = ["webhook", "slack", "file"]
        [dispatch.webhook]
        url = "{receiver.url}{receiver.path}"
        secret = "env:HOOK_SECRET"
        alerts = "budget"
        [dispatch.slack]
        url = "env:SLACK_URL"
        marks = "100"
        [dispatch.file]
        output = "{tmp_path}/events.jsonl"
        """
    )
    env = {"LLMPROXY_CONFIG": str(config), "SLACK_URL": slack.url + slack.path}
    done = run(spool, "--test-alert", **env)
    assert (done.exit_code, done.stdout) == (
        0,
        "webhook: ok: the test was taken\nslack: ok: the test was taken\n",
    )
    assert [each["type"] for each in receiver.taken] == ["test"]
    assert "This is a test" in slack.taken[0]["text"]
    assert not spool.exists()
    receiver.faults, slack.faults = [(401, {})], []
    done = run(spool, "--test-alert", "--json", **env)
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["ok"], found["sinks"]["webhook"]["ok"], found["sinks"]["slack"]["ok"]) == (
        False,
        False,
        True,
    )
    assert "401" in found["sinks"]["webhook"]["detail"]


def test_a_test_alert_wants_a_sink_for_alerts(spool: Path, tmp_path: Path) -> None:
    done = run(spool, "--service", "file", "--output", str(tmp_path / "x"), "--test-alert")
    assert done.exit_code == 2
    assert "--test-alert needs a sink for alerts: --service slack,webhook" in done.stderr


def test_check_writes_nothing(spool: Path, receiver: Receiver) -> None:
    arguments = ("--webhook-url", receiver.url + receiver.path, "--webhook-secret", "env:HOOK_SECRET")
    done = run(spool, "--service", "webhook", *arguments, "--check")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"webhook: ok: {receiver.url}/... is there (HEAD: 501)")
    assert receiver.taken == []


def test_one_that_was_killed_before_its_cursor_moved_sends_the_same_id(
    spool: Path, receiver: Receiver, dispatch: Run
) -> None:
    """kill -9 between delivery and cursor: the receiver has the alert, and its answer is on the way."""
    write(spool, [usage_event(1), MARK])
    receiver.slow = 5
    arguments = (
        *("--service", "webhook", "--webhook-url", receiver.url + receiver.path),
        *("--webhook-secret", "env:HOOK_SECRET"),
    )
    process = nursery.start(command(spool, *arguments), env=environment(HOOK_SECRET=SECRET))
    deadline = time.monotonic() + 60
    while not receiver.taken and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    receiver.slow = 0
    done = dispatch(*arguments, HOOK_SECRET=SECRET)
    assert done.returncode == 0, done.stderr
    assert [each["id"] for each in receiver.taken] == ["0197-mark", "0197-mark"]
    with SpoolReader(spool, "webhook") as reader:
        assert reader.backlog() == 0


def test_the_test_is_an_alert() -> None:
    assert alert_of_test().type == "llm_proxy_alert"


def test_the_receiver_of_the_docs(tmp_path: Path) -> None:
    """As it stands there: it takes what is genuine, once, and nothing else."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text()
    program = tmp_path / "receiver.py"
    program.write_text(page.split("```python\n")[1].split("```")[0])
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    env = {"PORT": str(port), "WEBHOOK_SECRET": SECRET, "PATH": os.environ["PATH"]}
    process = subprocess.Popen(
        [sys.executable, str(program)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        sink = {"url": f"http://127.0.0.1:{port}/", "secret": ["env:HOOK_SECRET"]}
        for _ in range(2):  # two processes of ours
            assert send(WebhookSink(**sink), MARK) == ([], 0)  # type: ignore[arg-type]
        body, at = b'{"type": "x", "data": {"summary": "forged"}}', int(time.time())
        good = webhook.signed([webhook._key("", SECRET)], "id", at, body)
        old = webhook.signed([webhook._key("", SECRET)], "id", at - 600, body)
        forged = webhook.signed([webhook._key("", OLD_SECRET)], "id", at, body)
        statuses = [
            urllib3.request("POST", str(sink["url"]), body=sent, headers=headers).status
            for sent, headers in ((body, forged), (body, old), (body + b" ", good), (body, {}))
        ]
        assert statuses == [401] * 4
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=30)
    (line,) = said.splitlines()
    assert line.startswith("budget.reached 80 % of the budget (day) of token t1")
