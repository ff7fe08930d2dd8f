"""Hook into mitmproxy: the script for ``mitmdump -s addons/llmproxy.py`` (or mitmweb).

mitmproxy loads a script under a private module name and reloads it when its time stamp changes,
so this file holds nothing but the list of addons; everything else is imported and keeps its state.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = str(HERE.parent)

# mitmproxy leaves the script's own folder on the path, where `openai/` would shadow the SDK of other scripts.
sys.path[:] = [ROOT, *(entry for entry in sys.path if entry != ROOT and Path(entry).resolve() != HERE)]

from addons.hooks.browsers import BrowserHeaders, Preflights  # noqa: E402
from addons.hooks.circuits import Circuits  # noqa: E402
from addons.hooks.connection_limits import ConnectionLimits  # noqa: E402
from addons.hooks.destinations import DestinationGuard  # noqa: E402
from addons.hooks.drain import Drain  # noqa: E402
from addons.hooks.ephemeral_keys import EphemeralKeys  # noqa: E402
from addons.hooks.gate import Gate  # noqa: E402
from addons.hooks.include_usage import IncludeUsage  # noqa: E402
from addons.hooks.inspector import Inspector  # noqa: E402
from addons.hooks.journaling import Journaling  # noqa: E402
from addons.hooks.liveness import Liveness  # noqa: E402
from addons.hooks.management import Management  # noqa: E402
from addons.hooks.ownership import Ownership  # noqa: E402
from addons.hooks.recorder import Recorder  # noqa: E402
from addons.hooks.redaction import Redaction  # noqa: E402
from addons.hooks.response_cache import ResponseCache  # noqa: E402
from addons.hooks.self_service import SelfService  # noqa: E402
from addons.hooks.shutdown import Shutdown  # noqa: E402
from addons.hooks.upstream_failures import UpstreamFailures  # noqa: E402
from addons.hooks.websockets.addon import Realtime  # noqa: E402
from addons.runtime import Runtime  # noqa: E402

runtime = Runtime()
ownership = Ownership(runtime)
addons = [
    runtime,
    ownership,
    ConnectionLimits(runtime),
    DestinationGuard(runtime),
    Preflights(runtime),
    SelfService(runtime),
    Gate(runtime),
    IncludeUsage(runtime),
    Drain(runtime),
    UpstreamFailures(runtime),
    Journaling(runtime),
    Redaction(),
    ResponseCache(runtime),
    Realtime(runtime, ownership),
    EphemeralKeys(runtime),
    Management(runtime),
    Liveness(runtime),
    Shutdown(runtime),
    Inspector(runtime),
    Circuits(runtime),
    BrowserHeaders(runtime),
    Recorder(runtime),
]
