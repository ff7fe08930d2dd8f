"""Find the version of what is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def llmproxy_version() -> str:
    """Return the installed version; `source` for a checkout that is not installed."""
    try:
        return version("llmproxy")
    except PackageNotFoundError:
        return "source"
