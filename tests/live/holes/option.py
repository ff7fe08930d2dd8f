"""A gate with an option of its own, as a plain mitmproxy script."""

from mitmproxy import http


class Gate:
    def load(self, loader):
        loader.add_option("hole_limit", int, 5, "A number.")

    def requestheaders(self, flow):
        flow.response = http.Response.make(401, b"{}", {"content-type": "application/json"})


addons = [Gate()]
