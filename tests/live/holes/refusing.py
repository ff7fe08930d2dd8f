"""A gate that refuses everything, as a plain mitmproxy script; tests break its file while it runs."""

from mitmproxy import http


class Gate:
    def requestheaders(self, flow):
        flow.response = http.Response.make(401, b"{}", {"content-type": "application/json"})


addons = [Gate()]
