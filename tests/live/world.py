"""Two projects behind one upstream key, two proxies on one store, an upstream that keeps all it is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import trustme

from store.tokens.store import TokenStore
from tests.live.clients import authorised, reverse_sdk
from tests.live.conftest import REAL_KEY
from tests.live.harness import Proxy
from tests.live.keeping_upstream import Keeping
from tests.live.upstream import Upstream

OPTIONS = ("llm_endpoints=inference,storage,listing,unmetered",)


@dataclass
class World:
    """Project a with two tokens, project b with one."""

    proxies: tuple[Proxy, Proxy]
    upstream: Upstream
    keeping: Keeping
    tokens: dict[str, str]

    def client(self, who: str, proxy: int = 0) -> openai.OpenAI:
        return reverse_sdk(self.proxies[proxy], self.tokens[who])

    def send(self, who: str, method: str, path: str, body: Any = None, proxy: int = 0) -> httpx.Response:
        url = f"{self.proxies[proxy].reverse_url}/v1{path}"
        return httpx.request(
            method, url, json=body, headers=authorised(self.tokens[who]), trust_env=False, timeout=60
        )


def start(authority: trustme.CA, authority_file: Path, folder: Path, *options: str) -> Iterator[World]:
    store = TokenStore.open(folder / "store.db")
    tokens = {}
    for name in ("a", "b"):
        project = store.create_project(name, REAL_KEY)
        for number in (1, 2):
            tokens[f"{name}{number}"] = store.create_token(project.id)[1].reveal()
    store.close()
    keeping = Keeping()
    with Upstream(keeping, authority.issue_cert("localhost")).running() as upstream:
        settings = [
            f"llm_upstream={upstream.base_url}",
            f"ssl_verify_upstream_trusted_ca={authority_file}",
            *options,
        ]
        with Proxy(folder, settings) as first, Proxy(folder, settings) as second:
            yield World((first, second), upstream, keeping, tokens)
