"""Give mitmweb's column of comments the room that the figures of a call take.

Its style sheet fixes that column at 150 pixels, in which cost, tokens, time and project are cut off. The
sheet is served with rules of our own behind it. Where a version has no such column, mitmweb stays as it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tornado.web

COLUMN = ".flow-table .col-comment"
RULES = f"""
{COLUMN}{{width:46%}}
.flow-table td.col-comment{{text-align:left}}
"""
"""A part of the width, so that a list beside the details of a call keeps room for paths."""


class Sheet(tornado.web.RequestHandler):
    """Serves a style sheet from memory; there is nothing secret in it."""

    def initialize(self, text: str) -> None:
        self.text = text

    def get(self) -> None:
        self.set_header("Content-Type", "text/css")
        self.finish(self.text)


def widen_comments(master: Any) -> list[str]:
    """Serve the sheets that fix the column with RULES behind them; return their names. Reads files."""
    app = getattr(master, "app", None)
    folder = app.settings.get("static_path") if isinstance(app, tornado.web.Application) else None
    if app is None or folder is None:
        return []
    found = {path.name: text for path in Path(folder).glob("*.css") if COLUMN in (text := path.read_text())}
    handlers = [
        (rf"/static/{re.escape(name)}", Sheet, {"text": text + RULES}) for name, text in found.items()
    ]
    if handlers:
        app.add_handlers(r".*", handlers)
    return list(found)
