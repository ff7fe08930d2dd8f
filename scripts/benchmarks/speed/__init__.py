"""Measure how fast the proxy is, beside bare mitmdump and other gateways: for docs/performance.md."""
