"""A gate that raises, as a plain mitmproxy script: the request goes on upstream."""


class Gate:
    def requestheaders(self, flow):
        raise RuntimeError("a defect in the gate")


addons = [Gate()]
