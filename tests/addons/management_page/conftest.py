"""The API that the page asks, and its routes, are served as for the tests of the API."""

from __future__ import annotations

from tests.addons.management_api.conftest import databases, engine_name, oidc_settings, served

__all__ = ["databases", "engine_name", "oidc_settings", "served"]
