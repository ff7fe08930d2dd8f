"""Paths: names, risk classes, and what must not be taken for something harmless."""

from __future__ import annotations

import pytest

from addons.openai.endpoint import Bills, ModelIn
from addons.openai.endpoints import KNOWN_NAMES, RISK_CLASSES, ROUTES, guess, resolve
from addons.openai.providers import OPENAI, deployment_in, provider_of


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
        ("DELETE", "/v1/models/ft:gpt-4o", "model_deletion", "administration"),
        ("POST", "/v1/files", "files", "storage"),
        ("POST", "/v1/batches", "jobs", "unmetered"),
        ("GET", "/v1/batches/batch_1", "jobs", "storage"),
        ("POST", "/v1/realtime/client_secrets", "realtime_credentials", "key_minting"),
        ("POST", "/v1/realtime/translations/client_secrets", "realtime_credentials", "key_minting"),
        ("POST", "/v1/realtime/transcription_sessions", "realtime_credentials", "key_minting"),
        ("POST", "/v1/chatkit/sessions", "chatkit_credentials", "key_minting"),
        ("POST", "/v1/realtime/calls", "realtime_calls", "unmetered"),
        ("POST", "/v1/realtime/calls/rtc_1/refer", "realtime_calls", "unmetered"),
        ("POST", "/v1/live/sessions", "live", "unmetered"),
        ("GET", "/v1/organization/admin_api_keys", "administration", "administration"),
        ("POST", "/v1/fine_tuning/checkpoints/x/permissions", "administration", "administration"),
        ("POST", "/openai/deployments/d/chat/completions", "chat", "inference"),
        ("POST", "/openai/v1/responses", "responses", "inference"),
        ("POST", "/models/chat/completions", "chat", "inference"),
        ("POST", "/v1/decisions", "decisions", "inference"),
        ("POST", "/v1/agents", "agents", "storage"),
        ("POST", "/v1/agents/agent_1", "agents", "storage"),
        ("POST", "/v1/agents/sessions", "agents", "unmetered"),
        ("POST", "/v1/agents/sessions/sess_1/events", "agents", "unmetered"),
        ("POST", "/v1/agents/automations", "agents", "unmetered"),
        ("GET", "/v1/agents/sessions/sess_1/turns/turn_1", "agents", "storage"),
        ("POST", "/v1/vaults", "vaults", "storage"),
        ("POST", "/v1/webhook_endpoints", "administration", "administration"),
        ("GET", "/v1/webhook_event_types", "administration", "administration"),
        ("GET", "/v1/safety/alerts/alert_1", "administration", "administration"),
        ("GET", "/v1/audio/voice_consents", "hosted", "storage"),
        ("DELETE", "/v1/audio/voices/voice_1", "hosted", "storage"),
        ("POST", "/v1/chatkit/sessions/cksess_1/cancel", "hosted", "storage"),
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


def test_sessions() -> None:
    assert resolve("GET", "/v1/responses", upgrade=True).risk == "inference"
    assert resolve("GET", "/v1/realtime", upgrade=True).risk == "inference"
    assert resolve("GET", "/v1/realtime", upgrade=True, query="model=a&Call_ID=rtc_1").risk == "unmetered"
    assert resolve("GET", "/v1/realtime/translations", upgrade=True).risk == "unmetered"
    assert resolve("GET", "/v1/live/sessions", upgrade=True).name == "live"
    assert resolve("GET", "/v1/models", upgrade=True).risk == "other"


@pytest.mark.parametrize(
    ("method", "path", "query", "upgrade"),
    [
        ("POST", "/v1/realtime/calls", "", False),
        ("POST", "/v1/realtime/calls/rtc_1/accept", "", False),
        ("GET", "/v1/realtime", "call_id=rtc_1", True),
        ("GET", "/v1/live/sessions", "", True),
        ("POST", "/v1/live/sessions/s/refer", "", False),
    ],
)
def test_what_goes_past_the_proxy_is_allowed_by_its_name_only(
    method: str, path: str, query: str, upgrade: bool
) -> None:
    endpoint = resolve(method, path, upgrade=upgrade, query=query)
    assert not endpoint.allowed_by([*RISK_CLASSES, "realtime"])
    assert endpoint.allowed_by([endpoint.name])


def test_the_table_uses_known_risk_classes_and_is_reachable() -> None:
    assert {route.endpoint.risk for route in ROUTES} <= RISK_CLASSES.keys()
    assert "other" in KNOWN_NAMES


def test_guess_sees_behind_any_prefix_but_only_for_the_record() -> None:
    assert guess("POST", "/gateway/acme/openai/chat/completions").name == "chat"
    assert guess("POST", "/projects/acme/completions").name == "completions"
    assert resolve("POST", "/gateway/acme/openai/chat/completions").name == "other"
    assert guess("GET", "/gateway/chat/completions").name == "other"


@pytest.mark.parametrize(
    ("method", "path", "bills", "model_in", "counted"),
    [
        ("POST", "/v1/chat/completions", Bills.TOKENS, ModelIn.JSON, True),
        ("GET", "/v1/chat/completions", Bills.NOTHING, ModelIn.NOWHERE, False),
        ("POST", "/v1/engines/ada/completions", Bills.TOKENS, ModelIn.PATH, True),
        ("POST", "/v1/responses/compact", Bills.TOKENS, ModelIn.JSON, True),
        ("POST", "/v1/responses/input_tokens", Bills.NOTHING, ModelIn.JSON, False),
        ("GET", "/v1/responses/resp_1", Bills.NOTHING, ModelIn.NOWHERE, False),
        ("POST", "/v1/moderations", Bills.NOTHING, ModelIn.JSON, False),
        ("POST", "/v1/images/generations", Bills.TOKENS | Bills.IMAGES, ModelIn.JSON, False),
        ("POST", "/v1/images/edits", Bills.TOKENS | Bills.IMAGES, ModelIn.JSON | ModelIn.FORM, False),
        ("POST", "/v1/images/variations", Bills.IMAGES, ModelIn.FORM, False),
        ("POST", "/v1/audio/transcriptions", Bills.TOKENS | Bills.SECONDS, ModelIn.FORM, False),
        ("POST", "/v1/audio/translations", Bills.SECONDS, ModelIn.FORM, False),
        ("POST", "/v1/audio/speech", Bills.TOKENS | Bills.CHARACTERS, ModelIn.JSON, False),
        ("POST", "/v1/threads/runs", Bills.TOKENS, ModelIn.JSON, False),
        ("POST", "/v1/threads/t/runs/r/submit_tool_outputs", Bills.TOKENS, ModelIn.ELSEWHERE, False),
        ("POST", "/v1/batches", Bills.LATER, ModelIn.ELSEWHERE, False),
        ("POST", "/v1/fine_tuning/jobs", Bills.LATER, ModelIn.JSON, False),
        ("POST", "/v1/evals/e/runs", Bills.LATER, ModelIn.ELSEWHERE, False),
        ("POST", "/v1/videos", Bills.LATER, ModelIn.JSON | ModelIn.FORM, False),
        ("POST", "/v1/videos/v/remix", Bills.LATER, ModelIn.ELSEWHERE, False),
        ("POST", "/v1/files", Bills.NOTHING, ModelIn.NOWHERE, False),
        ("POST", "/v1/realtime/client_secrets", Bills.LATER, ModelIn.SESSION, False),
        ("POST", "/v1/new/thing", Bills.UNKNOWN, None, False),
    ],
)
def test_what_is_billed_and_where_the_model_is(
    method: str, path: str, bills: Bills, model_in: ModelIn | None, counted: bool
) -> None:
    endpoint = resolve(method, path)
    assert (endpoint.bills, endpoint.counted) == (bills, counted)
    assert model_in is None or endpoint.model_in == model_in


def test_azure() -> None:
    assert deployment_in("/openai/deployments/my-gpt/chat/completions") == "my-gpt"
    assert deployment_in("//OpenAI/deployments/my%20gpt/embeddings") == "my gpt"
    assert deployment_in("/v1/chat/completions") is None
    assert provider_of("ACME.openai.azure.com", "/v1/models").name == "azure"
    assert provider_of("azure.acme.example", "/openai/deployments/x/embeddings").name == "azure"
    assert provider_of("api.openai.com", "/v1/chat/completions") is OPENAI
    assert provider_of("openai.azure.com.evil.example", "/v1/chat/completions") is OPENAI
    azure = provider_of("acme.openai.azure.com", "/openai/v1/responses", {"Prod": "gpt-4o"})
    assert (azure.deployment, azure.model("prod"), azure.model("test"), azure.model(None)) == (
        None,
        "gpt-4o",
        None,
        None,
    )
    assert (azure.hides_model("prod"), azure.hides_model("test")) == (False, True)
    assert azure.credential("k") == ("api-key", "k")
    assert (OPENAI.model("prod"), OPENAI.hides_model("test")) == (None, False)
    assert OPENAI.credential("k") == ("authorization", "Bearer k")
