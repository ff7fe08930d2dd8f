"""mitmweb's style sheet, which fixes the width of its columns; a new version may do that otherwise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import tornado.web
from mitmproxy import version
from mitmproxy.tools import web

from addons.mitm.web_columns import COLUMN, RULES, widen_comments

STATIC = Path(web.__file__).parent / "static"


def application(folder: Path) -> tornado.web.Application:
    return tornado.web.Application([], static_path=str(folder))


@pytest.mark.skipif(version.VERSION.startswith("11."), reason="mitmweb 11 is refused, and has no such column")
def test_the_column_is_fixed_in_one_sheet_of_mitmweb() -> None:
    app = application(STATIC)
    (name,) = widen_comments(SimpleNamespace(app=app))
    text = (STATIC / name).read_text()
    assert f"{COLUMN}{{width:150px" in text
    assert app.default_router.rules[0].target.rules[0].target_kwargs == {"text": text + RULES}  # type: ignore[attr-defined]


def test_without_such_a_sheet_mitmweb_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "index.css").write_text(".flow-table .col-path{}")
    app = application(tmp_path)
    before = len(app.default_router.rules)
    assert widen_comments(SimpleNamespace(app=app)) == []
    assert widen_comments(SimpleNamespace()) == []
    assert len(app.default_router.rules) == before
