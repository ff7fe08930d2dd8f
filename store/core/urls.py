"""URLs that people and other programs wrote."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

NOTHING = SplitResult("", "", "", "", "")


def split_url(url: str) -> SplitResult:
    """Split a URL into its parts; one whose host or port cannot be read has none.

    What is not a URL and what is no URL of the kind that is asked for are then one case for who asks.
    A list of hosts, as that of Redis' Sentinels, has no one port: reading it is left to who asks.

    >>> split_url("https://[::1/v1").hostname is None, split_url("http://localhost:99999").scheme
    (True, '')
    """
    try:
        parts = urlsplit(url)
        if "," not in parts.netloc:
            parts.port  # noqa: B018 - raises where it is no port
    except ValueError:
        return NOTHING
    return parts
