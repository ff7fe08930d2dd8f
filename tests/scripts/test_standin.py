"""The stand-in, seen through the real openai SDK."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest

from scripts.standin import KEY, StandIn
from scripts.standin_answers import MODELS, TEXT

HELLO = [{"role": "user", "content": "two words"}]


@pytest.fixture(scope="module")
def standin() -> Iterator[StandIn]:
    with StandIn(delay=0) as server:
        yield server


def sdk(standin: StandIn, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(
        api_key=key,
        base_url=f"{standin.base_url}/v1",
        max_retries=0,
        http_client=httpx.Client(trust_env=False, timeout=20),
    )


@pytest.fixture
def client(standin: StandIn) -> Iterator[openai.OpenAI]:
    with sdk(standin) as client:
        yield client


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "gpt-4o-mini"
    assert answer.usage
    assert answer.usage.prompt_tokens == 2
    assert answer.usage.total_tokens == 2 + answer.usage.completion_tokens
    assert answer._request_id is not None
    assert answer._request_id.startswith("req_")


def test_streamed_chat_has_usage_only_when_asked(client: openai.OpenAI) -> None:
    def run(**settings: object) -> list[openai.types.chat.ChatCompletionChunk]:
        return list(
            client.chat.completions.create(model="m", messages=HELLO, stream=True, **settings)  # type: ignore[call-overload]
        )

    without, asked = run(), run(stream_options={"include_usage": True})
    for chunks in (without, asked):
        texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
        assert "".join(texts) == TEXT
    assert all(chunk.usage is None for chunk in without)
    assert asked[-1].choices == []
    assert asked[-1].usage
    assert asked[-1].usage.prompt_tokens == 2


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="one two three")
    assert answer.choices[0].text == TEXT
    assert answer.usage
    assert answer.usage.prompt_tokens == 3
    stream = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="one", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == TEXT


def test_responses(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="gpt-4o-mini", input="one two", instructions="three")
    assert answer.output_text == TEXT
    assert answer.usage
    assert answer.usage.input_tokens == 3


def test_streamed_responses_are_numbered_and_end_completed(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="gpt-4o-mini", input="one", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == TEXT
    assert events[-1].response.usage


@pytest.mark.parametrize("given", ["one text", ["one text", "another"], [1, 2, 3], [[1, 2], [3]]])
def test_embeddings(client: openai.OpenAI, given: object) -> None:
    several = isinstance(given, list) and not isinstance(given[0], int)
    # The SDK asks for base64; the plain form must decode to the same numbers.
    default = client.embeddings.create(model="e", input=given, dimensions=16)  # type: ignore[arg-type]
    floats = client.embeddings.create(model="e", input=given, dimensions=16, encoding_format="float")  # type: ignore[arg-type]
    assert len(default.data) == (len(given) if several and isinstance(given, list) else 1)
    for one, other in zip(default.data, floats.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert sum(x * x for x in one.embedding) == pytest.approx(1, abs=1e-5)


def test_models(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == set(MODELS)


def test_wrong_key_is_refused_as_the_api_refuses_it(standin: StandIn) -> None:
    with sdk(standin, "sk-wrong") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.code == "invalid_api_key"
    assert "sk-wrong" not in str(caught.value)


def test_unknown_path_and_bad_bodies_are_errors_of_the_api(standin: StandIn) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=standin.base_url, headers=headers, trust_env=False, timeout=20) as client:
        assert client.post("/v1/nothing", json={}).json()["error"]["code"] == "unknown_url"
        for body in (b"{", b"[1]", b"\xff"):
            answer = client.post("/v1/chat/completions", content=body)
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert client.get("/v1/models").status_code == 200


def test_chunked_request_body_is_read(standin: StandIn) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"model": "chunked",'
        yield b'"messages": []}'

    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=standin.base_url, headers=headers, trust_env=False, timeout=20) as client:
        answer = client.post("/v1/chat/completions", content=body())
        assert answer.json()["model"] == "chunked"
        assert client.get("/v1/models").status_code == 200, "the connection is in step after a chunked body"


def test_a_client_that_leaves_does_not_harm_the_next() -> None:
    with StandIn(delay=0.01) as server:
        with sdk(server) as client:
            stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)  # type: ignore[call-overload]
            next(iter(stream))
            stream.close()
        with sdk(server) as client:
            assert list(client.models.list())


def test_taken_port_is_an_os_error(standin: StandIn) -> None:
    with pytest.raises(OSError, match="in use"):
        StandIn(port=standin.port)
