"""A proxy starts without what few need: it would cost each start time, and memory for as long as it runs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_AT_START = {
    "authlib": "somebody signs in to the page",
    "boto3": "a key is kept at AWS",
    "genai_prices": "a thread of the proxy's reads calls, or one is priced before it is made: a budget",
    "httpx2": "genai-prices has it",
    "prometheus_client": "metrics are scraped (llm_management)",
    "psycopg": "the store is on PostgreSQL",
    "pydantic": "genai-prices has it: 10 MB",
    "redis": "there is a bus, or a cache on Redis",
    "requests": "somebody signs in to the page",
    "rich": "only commands print with it",
    "sqlalchemy": "the store is on a server",
    "sqlite_utils": "the store's schema is made or brought up to date",
    "tiktoken": "tokens have to be counted here",
    "tinytag": "a call has sound whose length decides its price",
    "tornado": "there is the management API (llm_management), or mitmweb",
}
"""When each is needed."""
LOAD = f"""
import importlib.util, sys
import mitmproxy.tools.dump, mitmproxy.tools.main
before = set(sys.modules)
spec = importlib.util.spec_from_file_location("script", {str(ROOT / "addons" / "llmproxy.py")!r})
spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(sorted(set(sys.modules) - before))
"""


def test_the_script_imports_nothing_large() -> None:
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
    found = ast.literal_eval(done.stdout)
    assert "addons.hooks.gate" in found
    assert {name for name in NOT_AT_START if name in found} == set()
