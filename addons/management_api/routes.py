"""List the routes of the management API."""

from __future__ import annotations

from typing import Any

from tornado.web import RequestHandler

from addons.management_api import errors, openapi
from addons.management_api.context import Api
from addons.management_api.errors import ApiError
from addons.management_api.handler import ApiHandler
from addons.management_api.resources.agent_sessions import AgentSessions, OneAgentSession, SessionTopup
from addons.management_api.resources.audit import Audit, OneAuditEvent
from addons.management_api.resources.cache import CachePurge
from addons.management_api.resources.calls import Calls, OneCall
from addons.management_api.resources.insight import Explain, Health, Prices
from addons.management_api.resources.management_tokens import AllManagementTokens, OneManagementToken
from addons.management_api.resources.projects import OneProject, Projects, ProjectTopup, TokensOfProject
from addons.management_api.resources.session import SignIn
from addons.management_api.resources.tokens import OneToken, Revocation, Rotation, Tokens, TokenTopup
from addons.management_api.resources.usage import Budgets, Usage


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
    ("/manage/sessions", AgentSessions),
    ("/manage/sessions/topup", SessionTopup),
    ("/manage/sessions/ID", OneAgentSession),
    ("/manage/management-tokens", AllManagementTokens),
    ("/manage/management-tokens/ID", OneManagementToken),
    ("/manage/audit", Audit),
    ("/manage/audit/ID", OneAuditEvent),
    ("/manage/cache/purge", CachePurge),
    ("/manage/usage", Usage),
    ("/manage/budgets", Budgets),
    ("/manage/calls", Calls),
    ("/manage/calls/ID", OneCall),
    ("/manage/prices", Prices),
    ("/manage/explain", Explain),
    ("/manage/health", Health),
    ("/manage/session", SignIn),
    (openapi.PATH, openapi.OpenApi),
)
openapi.OpenApi.document = openapi.describe(ROUTES)


def routes(api: Api) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """Give the routes in tornado's form."""
    given = {"api": api}
    patterns = [(path.replace("ID", "([^/]+)"), handler, given) for path, handler in ROUTES]
    return [*patterns, ("/manage(?:/.*)?", Nothing, given)]
