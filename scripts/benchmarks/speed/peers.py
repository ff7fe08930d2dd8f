"""Install other gateways by name, each into an environment of its own, and start them as their makers advise.

They do as little as they can: no record of calls, no spend, no log. LiteLLM checks a master key, as the
bundle checks a token; Portkey's gateway checks nothing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import click

from scripts.benchmarks.clients import Client, Environment
from scripts.benchmarks.speed.contenders import KEY, Contender
from scripts.benchmarks.speed.load import Door
from scripts.benchmarks.speed.upstream import HOST, MODEL
from scripts.client.proxy_process import pick_port

FOLDER = Path.home() / ".cache" / "llmproxy" / "peers"
MASTER_KEY = "sk-master-0123456789"
PACKAGES = {
    # soundfile's 0.14 may come without the library that it loads.
    "litellm": Client("litellm", ("litellm[proxy]", "soundfile<0.14"), "", ""),
    "portkey": Client("portkey", ("@portkey-ai/gateway",), "", "", node="any"),
}
LITELLM = """\
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: http://{host}:{port}/v1
      api_key: {key}
general_settings:
  master_key: {master}
  disable_spend_logs: true
litellm_settings:
  telemetry: false
  num_retries: 0
"""


def peer(name: str, folder: Path, port: int) -> Contender:
    """Install a gateway unless it is there, and describe it. Raises ClickException."""
    environment = Environment(FOLDER, PACKAGES[name])
    try:
        environment.install()
    except (subprocess.SubprocessError, OSError) as error:
        said = (getattr(error, "stderr", None) or b"").decode("utf-8", "replace").strip().splitlines()
        raise click.ClickException(f"{name} can't be installed: {(said or [str(error)])[-1]}") from error
    return MAKERS[name](environment, folder, port)


def _litellm(environment: Environment, folder: Path, port: int) -> Contender:
    config = folder / "litellm.yaml"
    config.write_text(LITELLM.format(model=MODEL, host=HOST, port=port, key=KEY, master=MASTER_KEY))
    own = pick_port(0, "--against")
    command = [
        *(str(environment.folder / "bin" / "litellm"), "--config", str(config)),
        *("--host", HOST, "--port", str(own), "--num_workers", "1"),
    ]
    return Contender(
        "LiteLLM",
        "one worker, master key, no record, no retries, `LITELLM_MODE=PRODUCTION`, `LITELLM_LOG=ERROR`",
        f"litellm {environment.version()}",
        command,
        Door(own, (("Authorization", f"Bearer {MASTER_KEY}"),)),
        {
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PATH": environment.path,
        },
    )


def _portkey(environment: Environment, _: Path, port: int) -> Contender:
    own = pick_port(0, "--against")
    start = environment.folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    headers = (
        ("Authorization", f"Bearer {KEY}"),
        ("x-portkey-provider", "openai"),
        ("x-portkey-custom-host", f"http://{HOST}:{port}/v1"),
    )
    return Contender(
        "Portkey gateway",
        "`--headless`, `NODE_ENV=production`, no key checked, no record",
        f"@portkey-ai/gateway {environment.version()}",
        ["node", str(start), "--headless", f"--port={own}"],
        Door(own, headers),
        {"NODE_ENV": "production", "PATH": environment.path},
    )


MAKERS: dict[str, Callable[[Environment, Path, int], Contender]] = {"litellm": _litellm, "portkey": _portkey}
