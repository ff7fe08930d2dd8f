"""Serve the files of the page from memory. Nothing in them is secret, so they need no session."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tornado.web import RequestHandler

STATIC = Path(__file__).with_name("static")
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
"""Content-Security-Policy: what is not a file of this port is not run, and no text becomes markup."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class File:
    """Holds a file of the page."""

    content: bytes
    content_type: str

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


def read_files() -> Mapping[str, File]:
    """Read all files of the page, by name."""
    return {
        path.name: File(path.read_bytes(), TYPES[path.suffix])
        for path in sorted(STATIC.iterdir())
        if path.suffix in TYPES
    }


class PageFile(RequestHandler):
    """Serves one of the files; `/page/` is the page itself."""

    def initialize(self, files: Mapping[str, File]) -> None:
        self.files = files

    def set_default_headers(self) -> None:
        self.set_header("Server", "llmproxy")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def get(self, name: str = "") -> None:
        found = self.files.get(name or INDEX)
        if found is None:
            self.set_status(404)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish("There is no such file.\n")
            return
        self.set_header("Content-Type", found.content_type)
        self.set_header("ETag", found.etag)
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
        else:
            self.finish(found.content)

    def head(self, name: str = "") -> None:
        self.get(name)


class ToPage(RequestHandler):
    """Leads from `/` to the page, by a path that also holds behind another server's prefix."""

    def get(self) -> None:
        self.set_header("Location", "page/")
        self.set_status(302)

    def head(self) -> None:
        self.get()


def file_routes() -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """Give the routes of the files, in tornado's form."""
    return [("/", ToPage, {}), ("/page/([a-z_.]*)", PageFile, {"files": read_files()})]
