"""A gate as one would write it first: it knows one token, and puts the real key in its place."""

import os

from mitmproxy import http

TOKEN, KEY = os.environ["HOLE_TOKEN"], os.environ["HOLE_KEY"]


class Gate:
    def requestheaders(self, flow):
        if flow.request.headers.get("authorization") != f"Bearer {TOKEN}":
            flow.response = http.Response.make(401, b"{}", {"content-type": "application/json"})
            return
        flow.request.headers["authorization"] = f"Bearer {KEY}"


addons = [Gate()]
