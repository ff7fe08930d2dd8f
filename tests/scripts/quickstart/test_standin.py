"""The stand-in, seen through the real openai SDK."""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
import websockets
import websockets.sync.client
from websockets.typing import Subprotocol

from scripts.quickstart.standin import KEY, StandIn
from scripts.quickstart.standin_answers import MODELS, TEXT

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


def ask(client: openai.OpenAI, model: str, **more: object) -> object:
    return client.chat.completions.create(model=model, messages=HELLO, **more)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("day", "error", "code"),
    [
        ("429", openai.RateLimitError, "rate_limit_exceeded"),
        ("quota", openai.RateLimitError, "insufficient_quota"),
        ("500", openai.InternalServerError, None),
        ("503", openai.InternalServerError, "overloaded"),
        ("no-such-day", openai.NotFoundError, "model_not_found"),
    ],
)
def test_a_bad_day_comes_by_the_name_of_the_model(
    client: openai.OpenAI, day: str, error: type[openai.APIStatusError], code: str | None
) -> None:
    for stream in (False, True):
        with pytest.raises(error) as caught:
            ask(client, f"stand-in/{day}", stream=stream)
        assert caught.value.code == code
    with pytest.raises(error):
        client.embeddings.create(model=f"stand-in/{day}", input="one")


def test_a_stream_that_is_cut(client: openai.OpenAI) -> None:
    seen = []
    with pytest.raises((httpx.RemoteProtocolError, openai.APIConnectionError)):
        seen += list(ask(client, "stand-in/cut@gpt-4o-mini", stream=True))  # type: ignore[call-overload]
    with pytest.raises(openai.APIConnectionError):
        ask(client, "stand-in/cut")


def test_an_answer_without_usage(client: openai.OpenAI) -> None:
    answer = ask(client, "stand-in/no-usage@gpt-4o-mini")
    assert (answer.usage, answer.model) == (None, "gpt-4o-mini")  # type: ignore[attr-defined]
    events = list(client.responses.create(model="stand-in/no-usage", input="one", stream=True))
    assert events[-1].response.usage is None  # type: ignore[union-attr]


def test_a_page_in_place_of_an_answer(standin: StandIn) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    body = {"model": "stand-in/html", "messages": []}
    answer = httpx.post(
        f"{standin.base_url}/v1/chat/completions", json=body, headers=headers, trust_env=False
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_a_slow_day(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("scripts.quickstart.standin_troubles.time.sleep", waited.append)
    ask(client, "stand-in/slow")
    assert waited == [0.5]


def test_a_tool_that_a_request_insists_on(client: openai.OpenAI) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]}},
    }
    function = {"name": "weather", "parameters": parameters}
    tools: Any = [{"type": "function", "function": function}]
    wanted = {"city": "stand-in", "unit": "C"}
    assert ask(client, "m", tools=tools).choices[0].message.content == TEXT  # type: ignore[attr-defined]
    named = {"type": "function", "function": {"name": "weather"}}
    answer: Any = ask(client, "m", tools=tools, tool_choice=named)
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", wanted)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("tool_calls", 5)
    with client.chat.completions.stream(
        model="m", messages=HELLO, tools=tools, tool_choice="required"
    ) as stream:  # type: ignore[arg-type]
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or ()
    assert json.loads(call.function.arguments) == wanted
    flat: Any = [{"type": "function", "strict": False, **function}]
    with client.responses.stream(model="m", input="a", tools=flat, tool_choice="required") as events:
        (item,) = events.get_final_response().output
    assert (item.type, json.loads(item.arguments)) == ("function_call", wanted)  # type: ignore[union-attr]


def test_files_and_a_batch_of_them(client: openai.OpenAI) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    body = {"model": "gpt-4o-mini", "messages": HELLO}
    content = json.dumps(line | {"body": body}).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    assert (file.filename, file.bytes) == ("in.jsonl", len(content))
    assert client.files.content(file.id).read() == content
    made = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert made.status == "validating"
    done = client.batches.retrieve(made.id)
    assert (done.status, done.request_counts and done.request_counts.completed) == ("completed", 1)
    assert done.output_file_id
    (answered,) = client.files.content(done.output_file_id).text.splitlines()
    assert json.loads(answered)["response"]["body"]["usage"]["prompt_tokens"] == 2
    assert file.id in [one.id for one in client.files.list()]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_sound_pictures_and_moderation(client: openai.OpenAI) -> None:
    sound = client.audio.speech.create(model="tts-1", voice="alloy", input="one two").read()
    heard = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", sound))
    assert heard.text == TEXT
    with wave.open(io.BytesIO(sound)) as file:
        assert file.getnframes() / file.getframerate() == 0.25
    picture = client.images.generate(model="gpt-image-1", prompt="a b c", n=2)
    assert picture.usage
    assert (picture.usage.input_tokens, picture.usage.output_tokens) == (3, 2112)
    assert picture.data
    assert base64.b64decode(picture.data[0].b64_json or "").startswith(b"\x89PNG")
    assert [one.flagged for one in client.moderations.create(input=["a", "b"]).results] == [False, False]


HERE: dict[str, object] = {"proxy": None}
"""Of the client of `websockets`, which would take the environment's."""


def realtime(client: openai.OpenAI, model: str = "gpt-realtime") -> Any:
    return client.realtime.connect(model=model, websocket_connection_options=HERE)  # type: ignore[arg-type]


def until(connection: Any, kind: str) -> list[Any]:
    """The events up to the one of that type."""
    found = []
    for event in connection:
        found.append(event)
        if event.type == kind:
            return found
    raise AssertionError(f"the connection ended without {kind}")


def test_a_realtime_session_in_text(client: openai.OpenAI) -> None:
    with realtime(client) as session:
        first = session.recv()
        assert (first.type, first.session.model) == ("session.created", "gpt-realtime")
        session.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        message = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "two words"}],
        }
        session.conversation.item.create(item=message)
        session.response.create()
        events = until(session, "response.done")
        assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == TEXT
        usage = events[-1].response.usage
        assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (4, 18, 22)
        session.response.create(response={"instructions": "one more word"})
        usage = until(session, "response.done")[-1].response.usage
        assert usage.input_tokens == 2 + 18 + 3, "what was said before goes in again"


def test_a_realtime_session_in_sound(client: openai.OpenAI) -> None:
    with realtime(client) as session:
        heard = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
        session.session.update(session={"type": "realtime", "audio": heard})
        session.input_audio_buffer.commit()
        assert until(session, "error")[-1].error.code == "input_audio_buffer_commit_empty"
        session.input_audio_buffer.append(audio=base64.b64encode(bytes(48_000)).decode())
        session.input_audio_buffer.commit()
        transcribed = until(session, "conversation.item.input_audio_transcription.completed")[-1]
        assert (transcribed.transcript, transcribed.usage.input_tokens) == (TEXT, 10)
        session.response.create()
        events = until(session, "response.done")
        assert "".join(e.delta for e in events if e.type == "response.output_audio_transcript.delta") == TEXT
        assert all(base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta")
        details = events[-1].response.usage.output_token_details
        assert (details.text_tokens, details.audio_tokens) == (18, 9)
        assert events[-1].response.usage.input_token_details.audio_tokens == 10
        session.send({"type": "no.such.event", "event_id": "mine"})
        assert until(session, "error")[-1].error.event_id == "mine"


def test_responses_on_a_socket(client: openai.OpenAI) -> None:
    with client.responses.connect(websocket_connection_options=HERE) as socket:  # type: ignore[arg-type]
        socket.response.create(model="gpt-4o-mini", input="one two")
        events = until(socket, "response.completed")
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert (events[-1].response.output_text, events[-1].response.usage.input_tokens) == (TEXT, 2)
        socket.send({"type": "response.create", "model": "gpt-4o-mini", "input": "a", "generate": False})  # type: ignore[arg-type]
        assert until(socket, "response.completed")[-1].response.output == []
        for model, status in (("stand-in/429", 429), ("stand-in/no-such-day", 404)):
            socket.response.create(model=model, input="one")
            assert until(socket, "error")[-1].status == status
        socket.response.create(model="stand-in/no-usage@gpt-4o-mini", input="one")
        last = until(socket, "response.completed")[-1].response
        assert (last.usage, last.model) == (None, "gpt-4o-mini")
        socket.response.create(model="stand-in/cut", input="one")
        with pytest.raises(websockets.ConnectionClosedError):
            until(socket, "response.completed")


def test_bad_days_of_a_session(client: openai.OpenAI) -> None:
    for model, status in (("stand-in/429", 429), ("stand-in/html", 200), ("stand-in/no-such-day", 404)):
        with pytest.raises(websockets.InvalidStatus) as caught, realtime(client, model):
            pass
        assert caught.value.response.status_code == status
    with realtime(client, "stand-in/no-usage@gpt-realtime") as session:
        session.response.create()
        assert until(session, "response.done")[-1].response.usage is None
    with realtime(client, "stand-in/cut@gpt-realtime") as session:
        session.response.create()
        with pytest.raises(websockets.ConnectionClosedError):
            until(session, "response.done")


def test_a_socket_takes_the_key_as_browsers_send_it_and_no_other(standin: StandIn) -> None:
    address = standin.base_url.replace("http:", "ws:") + "/v1/realtime?model=gpt-realtime"
    for key in (KEY, "sk-wrong"):
        offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{key}")]
        try:
            with websockets.sync.client.connect(address, subprotocols=offered, proxy=None) as socket:
                assert key == KEY
                assert socket.subprotocol == "realtime"
                assert json.loads(socket.recv())["type"] == "session.created"
                socket.ping().wait(5)
        except websockets.InvalidStatus as error:
            assert (key, error.response.status_code) == ("sk-wrong", 401)  # noqa: PT017
