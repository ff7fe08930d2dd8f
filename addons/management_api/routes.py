"""The routes of the management API."""

from __future__ import annotations

from typing import Any

from tornado.web import RequestHandler

from addons.management_api import errors
from addons.management_api.audit import Audit
from addons.management_api.errors import ApiError
from addons.management_api.handler import ApiHandler, Denied
from addons.management_api.projects import OneProject, Projects, ProjectTopup, TokensOfProject
from addons.management_api.store_thread import StoreThread
from addons.management_api.tokens import OneToken, Revocation, Rotation, Tokens, TokenTopup
from store.secret import Secret


class Nothing(ApiHandler):
    """Any other path."""

    def wrong_method(self) -> ApiError:
        return errors.no_such_route()


ROUTES: tuple[tuple[str, type[ApiHandler]], ...] = (
    ("/manage/projects", Projects),
    ("/manage/projects/ID", OneProject),
    ("/manage/projects/ID/topup", ProjectTopup),
    ("/manage/projects/ID/tokens/revoke", TokensOfProject),
    ("/manage/tokens", Tokens),
    ("/manage/tokens/revoke", Revocation),
    ("/manage/tokens/ID", OneToken),
    ("/manage/tokens/ID/rotate", Rotation),
    ("/manage/tokens/ID/topup", TokenTopup),
    ("/manage/audit", Audit),
)


def routes(
    store: StoreThread, token: Secret | None, denied: Denied
) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """For tornado. `denied` is told of requests without the token."""
    given = {"store": store, "token": token, "denied": denied}
    patterns = [(path.replace("ID", "([^/]+)"), handler, given) for path, handler in ROUTES]
    return [*patterns, ("/manage(?:/.*)?", Nothing, given)]
