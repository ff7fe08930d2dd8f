"""Serve ``/manage/session``: signing in to the page, and out."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from addons.management_api import errors, sessions
from addons.management_api.access import bearer
from addons.management_api.form_fields import form_fields
from addons.management_api.handler import ApiHandler, Roles
from addons.management_api.sessions import Session
from store.core.errors import StoreUnavailable
from store.tokens.management_tokens import PROJECT, READ


class SignIn(ApiHandler):
    """Who asks, and where the proxy listens."""

    roles: ClassVar[Roles] = dict.fromkeys(("GET", "POST", "DELETE"), (READ, PROJECT))

    async def get(self) -> None:
        self.query()
        mine = self.caller.projects
        self.answer(
            {
                "actor": self.caller.actor,
                "role": self.caller.role,
                "projects": None if mine is None else sorted(mine),
                "listeners": self.api.listeners(),
                "fields": form_fields(),
            }
        )

    async def post(self) -> None:
        """Open a session for the token of this request. Its cookie is for the page alone, which asks so."""
        self.fields()
        if not sessions.is_of_the_page(self.request):
            raise errors.not_the_page()
        token = bearer(self.request.headers.get("Authorization", ""))
        if not token:
            raise errors.unauthorised()
        await self.leave()
        name = await asyncio.to_thread(self.api.sessions.begin, Session(token))
        self.set_header("Set-Cookie", sessions.cookie(self.request, name))
        await self.get()

    async def delete(self) -> None:
        """End the session of this request, if it has one, and say where the issuer ends its own."""
        self.fields()
        ended = await self.leave()
        self.set_header("Set-Cookie", sessions.cookie(self.request, ""))
        url = None if ended is None else await asyncio.to_thread(self.sign_out_url, ended)
        self.answer({} if url is None else {"sign_out_url": url})

    def sign_out_url(self, ended: Session) -> str | None:
        """Give where to go to sign out of the issuer, too. An issuer that is away holds up nobody."""
        if self.api.code_flow is None or ended.page is None:
            return None
        try:
            return self.api.code_flow.sign_out_url(ended.text, ended.page)
        except StoreUnavailable:
            return None

    async def leave(self) -> Session | None:
        """End the session that the browser has until now."""
        if (name := sessions.name_in(self.request)) is None:
            return None
        found = await asyncio.to_thread(self.api.sessions.find, name)
        await asyncio.to_thread(self.api.sessions.end, name)
        return found
