"""Two projects behind one upstream key, two proxies on one store: objects belong to who made them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import trustme

from addons.flow.errors import UNKNOWN_OBJECT
from store.objects import admin as register
from store.tokens import limits
from store.tokens.store import TokenStore
from tests.live.clients import authorised
from tests.live.harness import wait_for
from tests.live.world import OPTIONS, World, start
from tests.scenarios.clients import CLIENTS


@pytest.fixture(scope="module")
def world(
    authority: trustme.CA, authority_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    yield from start(authority, authority_file, tmp_path_factory.mktemp("world"), *OPTIONS)


Make = Callable[[openai.OpenAI], Any]
Use = Callable[[openai.OpenAI, str], Any]

MADE: dict[str, tuple[Make, list[Use]]] = {
    "file": (
        lambda c: c.files.create(file=("a.txt", b"x"), purpose="user_data"),
        [
            lambda c, i: c.files.retrieve(i),
            lambda c, i: c.files.content(i),
            lambda c, i: c.responses.create(
                model="gpt-4o",
                input=[{"role": "user", "content": [{"type": "input_file", "file_id": i}]}],
            ),
            lambda c, i: c.chat.completions.create(
                model="gpt-4o",
                messages=[{"role": "user", "content": [{"type": "file", "file": {"file_id": i}}]}],
            ),
            lambda c, i: c.batches.create(completion_window="24h", endpoint="/v1/responses", input_file_id=i),
            lambda c, i: c.fine_tuning.jobs.create(model="gpt-4o", training_file=i),
            lambda c, i: c.vector_stores.create(file_ids=[i]),
            lambda c, i: c.post("/images/edits", body={"images": [{"file_id": i}]}, cast_to=object),
            lambda c, i: c.files.delete(i),
        ],
    ),
    "response": (
        lambda c: c.responses.create(model="gpt-4o", input="hi"),
        [
            lambda c, i: c.responses.retrieve(i),
            lambda c, i: c.responses.input_items.list(i),
            lambda c, i: c.responses.cancel(i),
            lambda c, i: c.responses.create(model="gpt-4o", input="hi", previous_response_id=i),
            lambda c, i: c.responses.delete(i),
        ],
    ),
    "conversation": (
        lambda c: c.conversations.create(),
        [
            lambda c, i: c.conversations.retrieve(i),
            lambda c, i: c.conversations.items.list(i),
            lambda c, i: c.responses.create(model="gpt-4o", input="hi", conversation=i),
            lambda c, i: c.responses.create(model="gpt-4o", input="hi", conversation={"id": i}),
            lambda c, i: c.conversations.delete(i),
        ],
    ),
    "vector_store": (
        lambda c: c.vector_stores.create(),
        [
            lambda c, i: c.vector_stores.retrieve(i),
            lambda c, i: c.vector_stores.files.list(i),
            lambda c, i: c.vector_stores.search(i, query="x"),
            lambda c, i: c.responses.create(
                model="gpt-4o", input="hi", tools=[{"type": "file_search", "vector_store_ids": [i]}]
            ),
            lambda c, i: c.beta.assistants.create(
                model="gpt-4o", tool_resources={"file_search": {"vector_store_ids": [i]}}
            ),
            lambda c, i: c.vector_stores.delete(i),
        ],
    ),
    "thread": (
        lambda c: c.beta.threads.create(),
        [
            lambda c, i: c.beta.threads.retrieve(i),
            lambda c, i: c.beta.threads.messages.list(i),
            lambda c, i: c.beta.threads.delete(i),
        ],
    ),
    "container": (
        lambda c: c.containers.create(name="x"),
        [
            lambda c, i: c.containers.retrieve(i),
            lambda c, i: c.containers.files.list(i),
            lambda c, i: c.responses.create(
                model="gpt-4o", input="hi", tools=[{"type": "code_interpreter", "container": i}]
            ),
            lambda c, i: c.containers.delete(i),
        ],
    ),
    "stored completion": (
        lambda c: c.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hi"}], store=True
        ),
        [
            lambda c, i: c.chat.completions.retrieve(i),
            lambda c, i: c.chat.completions.messages.list(i),
            lambda c, i: c.chat.completions.delete(i),
        ],
    ),
    "batch": (
        lambda c: c.batches.create(
            completion_window="24h",
            endpoint="/v1/responses",
            input_file_id=c.files.create(file=("a.jsonl", b"x"), purpose="batch").id,
        ),
        [lambda c, i: c.batches.retrieve(i), lambda c, i: c.batches.cancel(i)],
    ),
    "video": (
        lambda c: c.post("/videos", body={"prompt": "x"}, cast_to=dict[str, Any]),
        [
            lambda c, i: c.videos.retrieve(i),
            lambda c, i: c.videos.remix(i, prompt="x"),
            lambda c, i: c.post("/videos/edits", body={"video": {"id": i}, "prompt": "x"}, cast_to=object),
            lambda c, i: c.videos.delete(i),
        ],
    ),
}


@pytest.mark.slow  # each refusal takes its quarter of a second
@pytest.mark.parametrize("kind", MADE)
def test_what_another_project_made_is_not_found(world: World, kind: str) -> None:
    make, uses = MADE[kind]
    mine, theirs, colleague = world.client("a1"), world.client("b1", 1), world.client("a2", 1)
    made = make(mine)
    id_ = made["id"] if isinstance(made, dict) else made.id
    before = len(world.upstream.requests)
    for use in uses:
        with pytest.raises(openai.NotFoundError) as raised:
            use(theirs, id_)
        assert id_ in raised.value.message
        assert raised.value.response.headers["x-should-retry"] == "false"
    assert len(world.upstream.requests) == before
    for use in uses:
        use(colleague, id_)
    with pytest.raises(openai.NotFoundError):
        (uses[0])(mine, f"{id_}x")


def test_the_apis_own_words(world: World) -> None:
    def error(method: str, path: str, body: Any = None) -> Any:
        answer = world.send("b1", method, path, body)
        assert answer.status_code == 404
        return answer.json()["error"]

    resp = "resp_0e2800fd5f0ca7a60168c9ef3cb4308190b5165fa836f8862b"
    assert error("GET", f"/responses/{resp}") == {
        "message": f"Response with id '{resp}' not found. {UNKNOWN_OBJECT}",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert error("DELETE", "/chat/completions/chatcmpl-1")["code"] == "not_found"
    assert (
        error("POST", "/responses", {"model": "m", "previous_response_id": resp})["param"]
        == "previous_response_id"
    )
    assert error("POST", "/chat/completions", {"model": "ft:gpt-4o:a::1"})["code"] == "model_not_found"
    event = world.proxies[0].wait_call("/v1/chat/completions/chatcmpl-1")
    assert (event["outcome"], event["error"]["code"]) == ("refused", "not_found")


def test_a_coding_agent_names_threads_of_its_own(world: World) -> None:
    """Each request that was recorded of Codex passes: its `thread_id` is no object of the API."""
    for sent in CLIENTS["codex"]:
        answer = world.send("b1", "POST", "/responses", json.loads(sent.request.body) | {"stream": False})
        assert answer.status_code == 200, answer.text


def test_lists_hold_what_is_mine(world: World) -> None:
    mine, theirs = world.client("a1"), world.client("b1", 1)
    for client, count in ((mine, 3), (theirs, 2)):
        for number in range(count):
            client.files.create(file=(f"{number}.txt", b"x"), purpose="user_data")
            client.containers.create(name="x")
    world.keeping.keep("file-", "file")  # made elsewhere
    listed = {
        who: {file.id for file in world.client(who, 1).files.list(limit=100)} for who in ("a1", "a2", "b1")
    }
    assert listed["a1"] == listed["a2"]
    assert len(listed["a1"]) >= 3
    assert len(listed["b1"]) == 2
    assert not listed["a1"] & listed["b1"]
    page = world.send("b1", "GET", "/containers?limit=100").json()
    assert page["first_id"] == page["data"][0]["id"]
    assert page["last_id"] == page["data"][-1]["id"]
    assert len(page["data"]) == 2
    listings = wait_for(lambda: [one for one in world.proxies[0].calls() if is_listing(one)], "an event")
    assert len(listings[-1]["response"]["body"]["data"]) == 2, "the event shows what the client saw"


FOLLOWING = openai.DefaultHttpxClient(trust_env=False, timeout=60)
"""As the SDK makes it: it follows redirects."""


def test_a_list_goes_on_behind_what_is_anothers(world: World) -> None:
    mine = world.client("a1").with_options(http_client=FOLLOWING)
    theirs = world.client("b2", 1).with_options(http_client=FOLLOWING)
    wanted = {mine.vector_stores.create().id for _ in range(3)}
    for _ in range(130):
        world.keeping.keep("vs_", "vector_store")
    wanted |= {mine.vector_stores.create().id for _ in range(2)}
    known = {one.id for one in mine.vector_stores.list(limit=2)}
    assert wanted <= known
    assert len(mine.vector_stores.list(limit=2).data) == 2
    made = theirs.vector_stores.create().id
    assert [one.id for one in theirs.vector_stores.list()] == [made], "behind two pages of others"


def is_listing(event: dict[str, Any]) -> bool:
    return (event["method"], event["path"]) == ("GET", "/v1/containers")


def test_fine_tuned_models(world: World) -> None:
    mine, theirs = world.client("a1"), world.client("b1")
    file = mine.files.create(file=("a.jsonl", b"x"), purpose="fine-tune")
    job = mine.fine_tuning.jobs.create(model="gpt-4o", training_file=file.id)
    model = "ft:gpt-4o:acme::1"
    world.keeping.objects[model] = {"id": model, "object": "model"}
    world.keeping.complete(job.id, fine_tuned_model=model)
    assert mine.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == model
    assert [one.id for one in theirs.models.list()] == ["gpt-4o"]
    assert [one.id for one in mine.models.list()] == ["gpt-4o", model]
    chat: Any = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    assert mine.chat.completions.create(**chat).choices
    with pytest.raises(openai.NotFoundError):
        theirs.chat.completions.create(**chat)
    with pytest.raises(openai.NotFoundError):
        theirs.models.retrieve(model)


def test_a_fine_tuned_model_that_a_list_names(world: World) -> None:
    store = TokenStore.open(world.proxies[0].store)
    register.adopt(store, ["ft:gpt-4o:acme::2"], "model", project="a")
    lists = limits.of({"models": ["ft:gpt-4o:known:*", "ft:gpt-4o:acme:*"]})
    _, token = store.create_token(store.get_project("b").id, limits=lists)
    store.close()
    client = world.client("b1").with_options(api_key=token.reveal())
    chat: Any = {"messages": [{"role": "user", "content": "hi"}]}
    assert client.chat.completions.create(model="ft:gpt-4o:known::7", **chat).choices
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="ft:gpt-4o:acme::2", **chat)


def test_items_of_an_answer(world: World) -> None:
    made = world.client("a1").responses.create(model="gpt-4o", input="hi")
    item: Any = [{"type": "item_reference", "id": made.output[0].id}]
    assert world.client("a1", 1).responses.create(model="gpt-4o", input=item).id
    with pytest.raises(openai.NotFoundError):
        world.client("b1").responses.create(model="gpt-4o", input=item)


def test_an_id_is_good_as_soon_as_its_stream_begins(world: World) -> None:
    world.keeping.pause = threading.Event()
    try:
        with world.client("a1").responses.create(model="gpt-4o", input="hi", stream=True) as stream:
            id_ = next(iter(stream)).response.id  # type: ignore[union-attr]
            assert world.client("a1", 1).responses.retrieve(id_).id == id_
            assert world.client("a1", 0).responses.retrieve(id_).id == id_
            with pytest.raises(openai.NotFoundError):
                world.client("b1", 1).responses.retrieve(id_)
            world.keeping.pause.set()
    finally:
        world.keeping.pause = None


def test_many_answers_are_gone_on_with_at_another_process(world: World) -> None:
    """No client is refused because it was faster than the store."""
    first, second = world.client("a1"), world.client("a1", 1)
    for _ in range(25):
        id_ = first.responses.create(model="gpt-4o", input="hi").id
        assert second.responses.create(model="gpt-4o", input="hi", previous_response_id=id_).id


def test_what_is_deleted_is_forgotten(world: World) -> None:
    client = world.client("a1")
    file = client.files.create(file=("a.txt", b"x"), purpose="user_data")
    client.files.delete(file.id)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    assert world.upstream.requests[-1].method == "DELETE"


def test_bodies_that_cannot_be_read(world: World) -> None:
    url = f"{world.proxies[0].reverse_url}/v1/responses"
    headers = authorised(world.tokens["b1"]) | {"content-type": "application/json"}
    answer = httpx.post(url, headers=headers, content=b'{"file_id": ', trust_env=False, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "body_unreadable")
    assert world.send("b1", "POST", "/files", {"a": 1}).status_code == 200


@pytest.mark.slow
def test_tokens_apart_and_no_ownership_at_all(
    authority: trustme.CA, authority_file: Path, tmp_path: Path
) -> None:
    for mode, allowed in (("token", {"a1"}), ("off", {"a1", "a2", "b1"})):
        folder = tmp_path / mode
        folder.mkdir()
        for world in start(authority, authority_file, folder, *OPTIONS, f"llm_ownership={mode}"):
            id_ = world.client("a1").responses.create(model="gpt-4o", input="hi").id
            path = f"/responses/{id_}"
            found = {who for who in ("a1", "a2", "b1") if world.send(who, "GET", path, proxy=1).is_success}
            assert found == allowed
