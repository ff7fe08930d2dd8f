"""Declare the proxy's options, read their values, and refuse those of mitmproxy's that would open it."""
