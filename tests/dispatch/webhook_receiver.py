"""A receiver of alerts for tests: real HTTP, signatures verified by another implementation than ours."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import openai

from tests.dispatch.backends import Answer, Backend

SECRET = "whsec_" + "c2VjcmV0LW9mLTMyLWJ5dGVzLWZvci10ZXN0cy4u"
OLD_SECRET = "whsec_" + "b2xkLXNlY3JldC1vZi0zMi1ieXRlcy1mb3ItdGVzdA=="


@dataclass
class Receiver(Backend):
    """Takes what is signed by `secret`; of Slack what has its shape."""

    secret: str = SECRET
    path: str = "/hooks/T0/secret-path"
    taken: list[dict[str, Any]] = field(default_factory=list)
    """Bodies, each with its `webhook-id` as `id`."""
    slow: float = 0.0
    """Seconds before an answer, once an alert is taken."""
    slack: bool = False
    page: bool = False

    def judge(self, path: str, headers: Any, body: bytes) -> Answer:
        if path != self.path:
            return 404, b"no such hook"
        value = json.loads(body)
        if self.slack:
            assert value["text"]
            assert value["blocks"][0]["text"]["type"] == "plain_text"
            self.taken.append(value)
            return 200, b"<html>sign in</html>" if self.page else b"ok"
        try:
            # The specification's signatures, by another implementation than ours.
            client = openai.OpenAI(api_key="none", webhook_secret=self.secret)
            client.webhooks.verify_signature(body.decode(), dict(headers.items()))
        except openai.InvalidWebhookSignatureError:
            return 401, b"bad signature"
        self.taken.append({"id": headers["webhook-id"], **value})
        return 204, b""

    def take(self, path: str, headers: Any, body: bytes) -> Answer:
        answer = super().take(path, headers, body)
        wait = self.slow
        self.lock.release()  # others are answered meanwhile
        time.sleep(wait)
        self.lock.acquire()
        return answer
