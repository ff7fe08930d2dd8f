"""Run a module of the rooms as a process, as ``python -m`` would: ``python -m llmproxy.module NAME ...``."""

from __future__ import annotations

import runpy
import sys

from llmproxy import find_rooms

find_rooms(first=True)
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
