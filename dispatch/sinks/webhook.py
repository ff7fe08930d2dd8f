"""Post alerts to a webhook: budgets' marks, fast spenders, failing dispatchers and proxies, one a request.

Signed as the Standard Webhooks specification has it (https://www.standardwebhooks.com): `webhook-id` is the
record's `event_id`, the same whenever it is sent, so that a receiver takes it once. Slack's incoming
webhooks take another shape and no signature: there the URL is the secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from dispatch.errors import Misconfigured
from dispatch.message import encode, message
from dispatch.sinks import Parcel, Plan, Rejected
from dispatch.sinks.http import Answer, Endpoint, Refused
from store.core.errors import Invalid, KeyUnavailable
from store.core.event import ALERT_TYPE, BUDGET_TYPE
from store.keys import key_references
from store.spool import Record

READ_SECONDS = 15.0
KINDS = {
    "spend_rate": "spend",
    "dispatcher_failing": "dispatcher",
    "proxy_unhealthy": "proxy",
    "test": "test",
}
"""It is what a setting calls an alert, by what its record does."""
BUDGET = "budget"
CHOICES = (BUDGET, "spend", "dispatcher", "proxy")
MARKS = ("50", "80", "100")
TYPES = {
    ("spend_rate", "firing"): "spend.rising",
    ("dispatcher_failing", "firing"): "dispatcher.failing",
    ("dispatcher_failing", "resolved"): "dispatcher.recovered",
    ("proxy_unhealthy", "firing"): "proxy.unhealthy",
    ("proxy_unhealthy", "resolved"): "proxy.recovered",
    ("test", "firing"): "test",
}
REACHED = "budget.reached"
SECRET_PREFIX, VERSION = "whsec_", "v1"
SHORTEST_SECRET = 24
"""Bytes, by the specification."""
REMEMBERED = 1000
"""Alerts that this process has sent, and does not send again where only the cursor could not be moved."""
LONGEST_TEXT = 2900
"""Characters: Slack takes 3000 in a block."""

_Typed = msgspec.defstruct("_Typed", [("type", str, "")])
_typed: Any = msgspec.json.Decoder(_Typed).decode


@dataclass(frozen=True, slots=True)
class Alert:
    """Holds an alert as it is told."""

    id: str
    type: str
    timestamp: str
    summary: str
    data: Mapping[str, Any]


class AlertSink(ABC):
    """Sends alerts, never calls."""

    name: str

    def __init__(
        self, endpoint: Endpoint, alerts: Sequence[str], marks: Sequence[str], content: bool
    ) -> None:
        self._endpoint, self._alerts, self._marks, self._content = endpoint, alerts, marks, content
        self._sent: OrderedDict[str, None] = OrderedDict()

    def plan(self, records: Sequence[Record]) -> Plan:
        plan = Plan()
        for record in records:
            found = self._alert(record)
            if found is None:
                plan.skipped += 1
            else:
                plan.parcels.append(Parcel([record], found))
        return plan

    def send(self, parcel: Parcel) -> list[Rejected]:
        alert: Alert = parcel.content
        if alert.id in self._sent:
            return []
        try:
            self._post(alert)
        except Refused as error:
            return [Rejected(parcel.records[0], str(error))]
        self._sent[alert.id] = None
        if len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)
        return []

    def check(self) -> str:
        status = self._endpoint.reach()
        return f"{self._endpoint.url} is there (HEAD: {status}); --test-alert shows whether it takes alerts"

    def close(self) -> None:
        self._endpoint.close()

    @abstractmethod
    def _post(self, alert: Alert) -> None: ...

    def _alert(self, record: Record) -> Alert | None:
        """Give what a record tells; None where it is no alert, or none that is wanted."""
        if not _may_be(record):
            return None
        value = record.value
        if value.get("type") == BUDGET_TYPE:
            wanted = BUDGET in self._alerts and str(value.get("reached")) in self._marks
            kind, summary = REACHED, _mark(value)
        else:
            alert = str(value.get("alert"))
            wanted = KINDS.get(alert) in (*self._alerts, "test") and not self._is_own(value)
            kind, summary = TYPES.get((alert, str(value.get("state"))), alert), str(value.get("summary"))
        if not wanted:
            return None
        shown = message(value, include_content=self._content)
        data = {name: shown[name] for name in shown if name not in ("schema", "type", "writer", "seq")}
        return Alert(
            str(value.get("event_id")),
            kind,
            str(value.get("timestamp")),
            summary,
            {**data, "summary": summary},
        )

    def _is_own(self, value: Mapping[str, Any]) -> bool:
        """Tell whether an alert says that this sink fails: it would come when that is over."""
        return value.get("alert") == "dispatcher_failing" and value.get("subject") == self.name


class WebhookSink(AlertSink):
    """Posts JSON, signed."""

    name = "webhook"

    def __init__(
        self,
        *,
        url: str,
        secret: Sequence[str],
        alerts: Sequence[str] = CHOICES,
        marks: Sequence[str] = MARKS,
        include_content: bool = False,
    ) -> None:
        """Take as `secret` references (``env:NAME``, ``file:/PATH``); each one's key signs.

        Raises Misconfigured.
        """
        endpoint = Endpoint(
            self.name,
            _referred(self.name, "url", url) if key_references.is_reference(url) else url,
            {"content-type": "application/json", "user-agent": "llmproxy"},
            read_seconds=READ_SECONDS,
            secret=True,
        )
        super().__init__(endpoint, alerts, marks, include_content)
        self._keys = [_key(self.name, _referred(self.name, "secret", one)) for one in secret]
        if not self._keys:
            raise Misconfigured("webhook: no secret is given; write env:NAME or file:/PATH.")

    def _post(self, alert: Alert) -> None:
        body = encode({"type": alert.type, "timestamp": alert.timestamp, "data": alert.data}).encode()
        self._endpoint.post(body, signed(self._keys, alert.id, int(time.time()), body))


class SlackSink(AlertSink):
    """Posts to an incoming webhook of Slack, or of what takes the same."""

    name = "slack"

    def __init__(
        self,
        *,
        url: str,
        alerts: Sequence[str] = CHOICES,
        marks: Sequence[str] = MARKS,
        include_content: bool = False,
    ) -> None:
        """Take as `url` a reference, since who knows it may write. Raises Misconfigured."""
        found = _referred(self.name, "url", url)
        if not found.startswith(("https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:")):
            raise Misconfigured(f"slack: the URL in {url} is not https; it is a secret, so it has to be.")
        headers = {"content-type": "application/json", "user-agent": "llmproxy"}
        endpoint = Endpoint(self.name, found, headers, read_seconds=READ_SECONDS, secret=True)
        super().__init__(endpoint, alerts, marks, include_content)

    def _post(self, alert: Alert) -> None:
        answer: Answer = self._endpoint.post(encode(for_slack(alert)).encode())
        if answer.body.strip() != b"ok":
            raise self._endpoint.stranger(answer.status, answer.body)


def signed(keys: Sequence[bytes], id_: str, at: int, body: bytes) -> dict[str, str]:
    """Give the headers that prove who has sent a body, and when."""
    content = b".".join((id_.encode(), str(at).encode(), body))
    marks = (base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"{VERSION},{mark}" for mark in marks),
    }


def for_slack(alert: Alert) -> dict[str, Any]:
    """Give the body for Slack. Names are shown as they are: what looks like a mention is none."""
    head = {"type": "plain_text", "text": alert.summary[:LONGEST_TEXT], "emoji": False}
    foot = {"type": "plain_text", "text": f"{alert.type} | {alert.timestamp} | {alert.id}", "emoji": False}
    escaped = alert.summary.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {
        "text": escaped[:LONGEST_TEXT],
        "blocks": [{"type": "section", "text": head}, {"type": "context", "elements": [foot]}],
    }


def _may_be(record: Record) -> bool:
    """Tell by the line whether a record can be an alert: most are calls, and need not be parsed."""
    try:
        return not record.line or _typed(record.line).type in (BUDGET_TYPE, ALERT_TYPE)
    except ValueError:
        return False


def _mark(value: Mapping[str, Any]) -> str:
    """Say which mark of a budget was reached."""
    unit, _, period = str(value.get("limit")).partition("/")
    amounts = (_amount(value.get(name), unit) for name in ("used", "allowed"))
    whose = f"project {value.get('project_name') or value.get('project_id')}"
    if value.get("token_id"):
        whose = f"token {value.get('token_id')} of {whose}"
    if value.get("side") not in ("token", "project"):
        whose = f"{value.get('side')} {value.get('name') or '(none)'} of {whose}"
    resets = f"; it resets at {value['resets_at']}" if value.get("resets_at") else ""
    return f"{value.get('reached')} % of the budget ({period}) of {whose}: {' of '.join(amounts)}{resets}"


def _amount(value: Any, unit: str) -> str:
    if not isinstance(value, int | float):
        return "?"
    return f"${value:,.2f}" if unit == "usd" else f"{value:,} {unit}"


def _referred(sink: str, option: str, reference: str) -> str:
    """Read what a reference leads to. Raises Misconfigured, which never shows it."""
    if not key_references.is_reference(reference):
        raise Misconfigured(f"{sink}: {option} is a secret; write where it is: env:NAME or file:/PATH.")
    try:
        return key_references.read_text(key_references.check(reference))
    except (Invalid, KeyUnavailable) as error:
        raise Misconfigured(f"{sink}: {option}: {error}") from error


def _key(sink: str, text: str) -> bytes:
    """Read a secret of the specification's form. Raises Misconfigured, which never shows it."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(SECRET_PREFIX) or len(key) < SHORTEST_SECRET:
        raise Misconfigured(
            f"{sink}: the secret is not {SECRET_PREFIX} and {SHORTEST_SECRET} bytes or more in base64; "
            f'make one: echo "{SECRET_PREFIX}$(openssl rand -base64 32)"'
        )
    return key
