"""Paths: names, risk classes, and what must not be taken for something harmless."""

from __future__ import annotations

import pytest

from addons.openai.endpoints import KNOWN_NAMES, RISK_CLASSES, ROUTES, deployment, guess, resolve


@pytest.mark.parametrize(
    ("method", "path", "name", "risk"),
    [
        ("POST", "/v1/chat/completions", "chat", "inference"),
        ("post", "/v1/chat/completions/", "chat", "inference"),
        ("GET", "/v1/chat/completions", "chat", "storage"),
        ("GET", "/v1/chat/completions/chatcmpl-1/messages", "chat", "storage"),
        ("POST", "/v1/completions", "completions", "inference"),
        ("POST", "/v1/responses", "responses", "inference"),
        ("POST", "/v1/responses/resp_1/cancel", "responses", "inference"),
        ("GET", "/v1/responses/resp_1", "responses", "storage"),
        ("DELETE", "/v1/responses/resp_1", "responses", "storage"),
        ("POST", "/v1/embeddings", "embeddings", "inference"),
        ("POST", "/v1/moderations", "moderations", "inference"),
        ("POST", "/v1/images/edits", "images", "inference"),
        ("POST", "/v1/audio/transcriptions", "audio_transcriptions", "inference"),
        ("POST", "/v1/audio/speech", "audio_speech", "inference"),
        ("POST", "/v1/threads/th_1/runs", "assistants", "inference"),
        ("POST", "/v1/threads", "assistants", "storage"),
        ("GET", "/v1/models", "models", "listing"),
        ("GET", "/v1/models/gpt-4o", "models", "listing"),
        ("DELETE", "/v1/models/ft:gpt-4o", "other", "other"),
        ("POST", "/v1/files", "files", "storage"),
        ("POST", "/v1/batches", "jobs", "unmetered"),
        ("GET", "/v1/batches/batch_1", "jobs", "storage"),
        ("POST", "/v1/realtime/client_secrets", "realtime_credentials", "key_minting"),
        ("POST", "/v1/realtime/translations/client_secrets", "realtime_credentials", "key_minting"),
        ("POST", "/v1/realtime/transcription_sessions", "realtime_credentials", "key_minting"),
        ("POST", "/v1/chatkit/sessions", "chatkit_credentials", "key_minting"),
        ("POST", "/v1/realtime/calls", "realtime", "unmetered"),
        ("GET", "/v1/organization/admin_api_keys", "administration", "administration"),
        ("POST", "/v1/fine_tuning/checkpoints/x/permissions", "administration", "administration"),
        ("POST", "/openai/deployments/d/chat/completions", "chat", "inference"),
        ("POST", "/openai/v1/responses", "responses", "inference"),
        ("POST", "/models/chat/completions", "chat", "inference"),
        ("POST", "/v1/new/thing", "other", "other"),
        ("TRACE", "/v1/chat/completions", "other", "other"),
        ("GET", "/", "other", "other"),
    ],
)
def test_resolve(method: str, path: str, name: str, risk: str) -> None:
    endpoint = resolve(method, path)
    assert (endpoint.name, endpoint.risk) == (name, risk)


@pytest.mark.parametrize(
    "path",
    [
        "/v1//chat/completions",
        "//v1/chat/completions",
        "/v1/chat/../organization/users",
        "/v1/./models",
        "/v1/models/%2e%2e/organization/users",
        "/v1/models/..%2forganization",
        "/v1/models\\..\\organization",
        "/v1/models;x=/organization",
        "/v1/chat/completions\x00",
        "/v1/chat /completions",
        "/v1/Chat/Completions",
        "/v1/chat/completions/..",
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_none_of_them(path: str) -> None:
    assert resolve("POST", path).risk == "other"
    assert resolve("GET", path).risk == "other"


def test_sessions_hold_calls_that_are_not_looked_into() -> None:
    assert resolve("GET", "/v1/responses", upgrade=True).risk == "unmetered"
    assert resolve("GET", "/v1/realtime", upgrade=True).risk == "unmetered"
    assert resolve("GET", "/v1/models", upgrade=True).risk == "other"


def test_the_table_uses_known_risk_classes_and_is_reachable() -> None:
    assert {route[3] for route in ROUTES} <= RISK_CLASSES.keys()
    assert "other" in KNOWN_NAMES


def test_guess_sees_behind_any_prefix_but_only_for_the_record() -> None:
    assert guess("POST", "/gateway/acme/openai/chat/completions") == "chat"
    assert resolve("POST", "/gateway/acme/openai/chat/completions").name == "other"
    assert guess("GET", "/gateway/chat/completions") == "other"


def test_deployment() -> None:
    assert deployment("/openai/deployments/my-gpt/chat/completions") == "my-gpt"
    assert deployment("/v1/chat/completions") is None
