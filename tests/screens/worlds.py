"""What each world has before its pages begin: a store, a proxy, what plays the services of others."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scripts.client.proxy_process import pick_port
from scripts.quickstart.standin import KEY, StandIn
from store.core.event import USAGE_TYPE
from store.tokens.store import TokenStore
from store.usage.rollups import RollUps, line_of
from tests.addons.importing.test_importing import WHOLE, as_entry, as_flow, as_flows, as_har
from tests.dispatch import cloudwatch
from tests.dispatch.reconciliation.vendor_standin import (
    ADMIN_KEY,
    OTHER_KEY_ID,
    REAL_KEY,
    Billed,
    VendorStandin,
)
from tests.dispatch.webhook_receiver import Receiver
from tests.events import typed
from tests.live.harness import wait_for
from tests.screens.pages import Screen, marked
from tests.screens.world import World

GROUP = "/llm/usage"
NO_KEY = "mkdir data"
STORE = (NO_KEY, f"llmproxy keys init && echo {KEY} | llmproxy project create search --api-key -")
CREATE = "llmproxy token create --project search --json"
PROGRAM = """\
import openai

for question in ("Who?", "Where to?", "Why not?"):
    messages = [{"role": "user", "content": question}]
    openai.OpenAI().chat.completions.create(model="gpt-4o-mini", messages=messages)
"""
PRICES = [
    {
        "id": "openai",
        "models": [
            {"id": "gpt-4o", "match": {"equals": "gpt-4o"}, "prices": {"input_mtok": 2, "output_mtok": 8}},
            {"id": "gpt-9", "match": {"equals": "gpt-9"}, "prices": {"input_mtok": 5, "output_mtok": 20}},
            {"id": "gpt-next", "match": {"equals": "gpt-next"}, "prices": {"teleport_mtok": 1}},
        ],
    }
]
"""A newer list: a price changes, a model comes, and one has a price of a kind that is not known yet."""


def play(world: str, folder: Path) -> Iterator[Screen]:
    """Run the blocks of one world."""
    with StandIn() as standin, World(folder, standin.base_url) as here:
        if world in BEGINNINGS:
            BEGINNINGS[world](here)
        for block in marked()[world]:
            for command in block.commands():
                yield here.run(command)


def _after(*commands: str) -> Callable[[World], None]:
    return lambda world: world.begin(*commands)


def _amazon(world: World) -> str:
    """Have moto play AWS for what runs in the shell; return its address."""
    address = world.keep(cloudwatch.moto_server())
    world.export(
        AWS_ENDPOINT_URL=address,
        AWS_ACCESS_KEY_ID="any",
        AWS_SECRET_ACCESS_KEY="any",
        AWS_REGION=cloudwatch.REGION,
        AWS_DEFAULT_REGION=cloudwatch.REGION,
    )
    cloudwatch.client(address).create_log_group(logGroupName=GROUP)
    return address


class _Signed(Receiver):
    """Has the secret that the reader has made."""

    def __init__(self, secret: Path) -> None:
        super().__init__(path="/")
        self._secret = secret

    def judge(self, path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        self.secret = self._secret.read_text().strip()
        return super().judge(path, headers, body)


def _aws(world: World) -> None:
    """Begin with a secret in an account, receivers of alerts, and nothing where a collector could be."""
    address = _amazon(world)
    cloudwatch.client(address, "secretsmanager").create_secret(Name="prod/openai", SecretString=KEY)
    world.stands["http://localhost:4318"] = f"http://localhost:{pick_port(0, '')}"
    settings = world.make_folder("/etc/llmproxy")
    (settings / "dispatcher.toml").write_text(
        f'service = ["cloudwatch", "otlp"]\n[cloudwatch]\nlog_group = "{GROUP}"\n'
        f'[otlp]\nendpoint = "{world.stands["http://localhost:4318"]}"\n'
    )
    world.export(DISPATCHER_CLOUDWATCH_LOG_GROUP=GROUP)
    hook = _Signed(settings / "webhook.secret")
    world.stands["https://ops.example/llmproxy"] = world.keep(hook.running())
    world.stands["https://hooks.slack.com/services/..."] = world.keep(
        Receiver(path="/", slack=True).running()
    )
    world.begin(NO_KEY)


def _calls(world: World) -> None:
    """Begin with calls that went well or not, all of them in CloudWatch."""
    address = _amazon(world)
    world.begin(f"./scripts/up --log-group {GROUP} --set llm_management=9090")
    hello = [{"role": "user", "content": "Hello"}]
    for _ in range(5):
        world.call("chat/completions", model="gpt-4o-mini", messages=hello)
    for _ in range(2):
        world.call("embeddings", model="text-embedding-3-small", input="Hello")
    world.call("chat/completions", model="stand-in/429@gpt-4o-mini", messages=hello)
    world.call("chat/completions", token="sk-llmp-mistyped", model="gpt-4o-mini", messages=hello)

    def settled() -> bool:
        status = json.loads(world.printed_by("llmproxy status --json"))
        return (
            status["proxies"][0]["recorded"] == 10
            and not any(one["backlog_bytes"] for one in status["spool"]["consumers"].values())
            and sum(one["type"] == USAGE_TYPE for one in cloudwatch.stored(address, GROUP)) == 10
        )

    wait_for(settled, "all events in CloudWatch", 60)


def _prices(world: World) -> None:
    """Begin with calls, one of them of a model that no list has yet, and a newer list."""
    (world.folder / "data.json").write_text(json.dumps(PRICES))
    world.begin("./scripts/up")
    for model in ("gpt-4o-mini", "gpt-9"):
        world.call("chat/completions", model=model, messages=[{"role": "user", "content": "Hello"}])
    wait_for(lambda: world.printed_by("llmproxy report usage --by model").count("gpt-9"), "sums", 30)


def _import(world: World) -> None:
    world.begin(*STORE)
    (world.folder / "traffic.har").write_bytes(as_har([as_entry(WHOLE[0])]))
    (world.folder / "monday.flows").write_bytes(as_flows([as_flow(each) for each in WHOLE[:12]]))


@contextlib.contextmanager
def _store(world: World) -> Iterator[TokenStore]:
    store = TokenStore.open(world.folder / "data" / "store.db")
    try:
        yield store
    finally:
        store.close()


def _count(store: TokenStore, project: str, billed: Billed) -> None:
    """Add a call to the sums, as a proxy would have done that day."""
    event = {
        "type": "llm_proxy_usage",
        "timestamp": f"{billed.day}T12:00:00.000Z",
        "outcome": "ok",
        "project_id": store.project_id(project),
        "model": billed.model,
        "endpoint": "chat",
        "usage": {
            "input_tokens": billed.input_tokens,
            "output_tokens": billed.output_tokens,
            "total_tokens": billed.input_tokens + billed.output_tokens,
        },
        "cost": {"usd": billed.usd},
    }
    with store.connection.transaction():
        RollUps().add(store.connection, [line_of(typed(event))])


def _days_ago(count: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=count):%Y-%m-%d}"


def _reconcile(world: World) -> None:
    """Begin with calls of three days that both sides know, and one that went past the proxy."""
    vendor = world.keep(VendorStandin().running())
    world.export(LLMPROXY_ADMIN_BASE_URL=vendor.url, OPENAI_ADMIN_KEY=ADMIN_KEY)
    world.begin(NO_KEY)
    with _store(world) as store:
        store.create_project("search", REAL_KEY)
        for count in (1, 2, 3):
            vendor.billed.append(Billed(_days_ago(count)))
            _count(store, "search", vendor.billed[-1])
    vendor.billed.append(Billed(_days_ago(2), key=OTHER_KEY_ID, input_tokens=1000, usd="7"))


def _management(world: World) -> None:
    world.begin(NO_KEY, f"llmproxy keys init && echo {KEY} | llmproxy project create first --api-key -")
    with _store(world) as store:
        for model, usd in (("gpt-4o", "0.25"), ("gpt-4o-mini", "0.06")):
            _count(store, "first", Billed(_days_ago(1), model, usd=usd))


def _upkeep(world: World) -> None:
    world.make_folder("/var/backups/llmproxy")
    world.begin(*STORE, CREATE)


def _checkout(world: World) -> None:
    """Begin with nothing but a key and a program."""
    (world.folder / "app.py").write_text(PROGRAM)
    world.export(OPENAI_API_KEY=KEY)


BEGINNINGS: dict[str, Callable[[World], None]] = {
    "aws": _aws,
    "calls": _calls,
    "checkout": _checkout,
    "cli": _after(*STORE, f"{CREATE} --metadata env=staging --metadata team=ranking"),
    "client": _after("./scripts/up"),
    "explain": _after(*STORE, f"{CREATE} --budget 5usd/day --budget 100000tokens/month --max-concurrent 4"),
    "import": _import,
    "management": _management,
    "prices": _prices,
    "reconcile": _reconcile,
    "upkeep": _upkeep,
    "web": _after(*STORE),
}
"""What a world begins with; those that are not here begin with nothing."""
