"""Run inside mitmproxy: gate, capture, recorder. The only code that knows what a flow is."""
