"""Reach into mitmproxy: the internals that we rely on are touched by no other module."""
