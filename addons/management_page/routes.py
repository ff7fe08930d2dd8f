"""List the routes of the page."""

from __future__ import annotations

from typing import Any

from tornado.web import RequestHandler

from addons.management_api.context import Api
from addons.management_page.files import file_routes
from addons.management_page.sign_in import Callback, SignInAtIssuer


def page_routes(api: Api) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """Give the routes in tornado's form."""
    return [
        ("/page/oidc", SignInAtIssuer, {"api": api}),
        ("/page/oidc/callback", Callback, {"api": api}),
        *file_routes(),
    ]
