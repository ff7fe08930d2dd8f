"""Run mitmproxy's own command by the Python that measures, as a module."""

from mitmproxy.tools.main import mitmdump

if __name__ == "__main__":
    mitmdump()
