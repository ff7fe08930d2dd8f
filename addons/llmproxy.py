"""The script for ``mitmdump -s addons/llmproxy.py`` (or mitmweb).

mitmproxy loads a script under a private module name and reloads it when its time stamp changes,
so this file holds nothing but the list of addons; everything else is imported and keeps its state.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = str(HERE.parent)

# mitmproxy leaves the script's own folder on the path, where `openai/` would shadow the SDK of other scripts.
sys.path[:] = [ROOT, *(entry for entry in sys.path if entry != ROOT and Path(entry).resolve() != HERE)]

from addons.drain import Drains  # noqa: E402
from addons.gate import Gate  # noqa: E402
from addons.include_usage import IncludeUsage  # noqa: E402
from addons.inspector import Inspector  # noqa: E402
from addons.liveness import Liveness  # noqa: E402
from addons.management import Management  # noqa: E402
from addons.minting import Minting  # noqa: E402
from addons.opening import Opening  # noqa: E402
from addons.ownership import Ownership  # noqa: E402
from addons.realtime import Realtime  # noqa: E402
from addons.recorder import Recorder  # noqa: E402
from addons.runtime import Runtime  # noqa: E402

runtime = Runtime()
ownership = Ownership(runtime)
addons = [
    runtime,
    ownership,
    Gate(runtime, ownership),
    IncludeUsage(runtime),
    Drains(runtime),
    Opening(runtime),
    Realtime(runtime, ownership),
    Minting(runtime),
    Management(runtime),
    Liveness(runtime),
    Inspector(runtime),
    Recorder(runtime),
]
