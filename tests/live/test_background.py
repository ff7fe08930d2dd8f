"""Usage that comes later is counted once: whoever polls, however often, over all processes."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import genai_prices
import pytest
import trustme
from click.testing import CliRunner

from scripts.cli import main
from tests.cases import PRICED
from tests.live.harness import Proxy, wait_for
from tests.live.world import OPTIONS, World, start

OLD = "price_context" not in inspect.signature(genai_prices.calc_price).parameters
"""The last release for Python 3.11, which knows no prices of batches."""


@pytest.fixture(scope="module")
def world(
    authority: trustme.CA, authority_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    yield from start(authority, authority_file, tmp_path_factory.mktemp("world"), *OPTIONS)


def events(world: World, id_: str, count: int) -> list[dict[str, Any]]:
    """The events that are about an object, once there are so many."""

    def found() -> list[dict[str, Any]]:
        calls = world.proxies[0].calls()
        return [call for call in calls if id_ in call["path"] or call["response_id"] == id_]

    return wait_for(lambda: found() if len(found()) >= count else [], f"{count} events of {id_}", 40)


def counted(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in found if event["usage"]]


def test_a_background_response_is_counted_once_and_for_its_maker(world: World) -> None:
    maker, other = world.client("a1"), world.client("a2", 1)
    made = maker.responses.create(model="gpt-4o", input="hi", background=True, service_tier="priority")
    assert other.responses.retrieve(made.id).status == "queued"
    world.keeping.complete(made.id)
    threads = [
        threading.Thread(target=lambda c=client: [c.responses.retrieve(made.id) for _ in range(5)])
        for client in (maker, other, world.client("a1", 1), world.client("a2"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    maker.responses.cancel(made.id)
    list(maker.responses.retrieve(made.id, stream=True, starting_after=1))
    found = events(world, made.id, 24)
    create = next(event for event in found if event["method"] == "POST" and event["path"] == "/v1/responses")
    assert (create["outcome"], create["usage"], create["usage_missing_code"]) == ("queued", None, "later")
    with_usage = counted(found)
    assert len(with_usage) == 1
    assert with_usage[0]["usage"]["total_tokens"] == 120
    assert with_usage[0]["cost"]["usd"]
    # The stand-in names no tier: what the look costs is priced by the one that the first call asked for.
    assert with_usage[0]["service_tier_requested"] == "priority"
    assert with_usage[0]["cost"]["reason"] == "lower_bound"
    assert with_usage[0]["token_id"] == create["token_id"]
    assert with_usage[0]["usage_of"]["id"] == made.id
    codes = {event["usage_missing_code"] for event in found if not event["usage"]}
    assert codes == {"later", "unbilled", "counted"}


def test_a_look_has_the_completion_window_that_was_asked_for(world: World) -> None:
    client = world.client("a1")
    window: dict[str, Any] = {"background_options": {"completion_window": "8h"}}
    made = client.responses.create(model="gpt-4o", input="hi", background=True, extra_body=window)
    world.keeping.complete(made.id)
    client.responses.retrieve(made.id)
    (found,) = counted(events(world, made.id, 2))
    reason = "lower_bound" if PRICED else "tier_unknown"
    assert (found["service_tier"], found["cost"]["reason"]) == ("background/8h", reason)


def test_a_background_stream_has_its_usage_and_no_look_has_it_again(world: World) -> None:
    client = world.client("a1")
    stream = list(client.responses.create(model="gpt-4o", input="hi", background=True, stream=True))
    id_ = stream[0].response.id  # type: ignore[union-attr]
    client.responses.retrieve(id_)
    world.client("a2", 1).responses.retrieve(id_)
    assert [event["method"] for event in counted(events(world, id_, 3))] == ["POST"]


def test_a_stored_answer_is_not_counted_again(world: World) -> None:
    client = world.client("a1")
    made = client.responses.create(model="gpt-4o", input="hi")
    chat = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "hi"}], store=True
    )
    world.keeping.objects[chat.id]["usage"] = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    for _ in range(2):
        client.responses.retrieve(made.id)
        client.chat.completions.retrieve(chat.id)
    found = events(world, made.id, 3)
    assert [bool(event["usage"]) for event in found] == [True, False, False]
    assert found[-1]["usage_missing_code"] == "counted"
    assert {event["usage_missing_code"] for event in events(world, chat.id, 3)[1:]} == {"counted"}


def test_a_run_is_counted_once(world: World) -> None:
    client = world.client("a1")
    assistant = client.beta.assistants.create(model="gpt-4o")
    thread = client.beta.threads.create()
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    world.keeping.complete(run.id, usage=usage)
    for proxy in (0, 1, 0):
        world.client("a2", proxy).beta.threads.runs.retrieve(run.id, thread_id=thread.id)
    found = events(world, run.id, 5)
    assert [event["usage"]["total_tokens"] for event in counted(found)] == [10]
    assert counted(found)[0]["token_id"] == found[0]["token_id"]
    assert found[0]["outcome"] == "queued"


def line(model: str, total: int) -> dict[str, Any]:
    usage = {"input_tokens": total - 1, "output_tokens": 1, "total_tokens": total}
    return {"custom_id": "x", "response": {"status_code": 200, "body": {"model": model, "usage": usage}}}


def test_a_batch_is_counted_by_its_output_file(world: World) -> None:
    maker, other = world.client("a1"), world.client("a2", 1)
    file = maker.files.create(file=("a.jsonl", b"x"), purpose="batch")
    batch = maker.batches.create(completion_window="24h", endpoint="/v1/responses", input_file_id=file.id)
    assert [row["id"] for row in listed(world)] == [batch.id]
    output = world.keeping.batch_output(batch.id, [line("gpt-4o-mini-2024-07-18", 11)] * 40_000)
    assert other.batches.retrieve(batch.id).output_file_id == output
    assert listed(world)[0]["status"] == "completed"
    reading = world.client("a2", 1)
    assert len(reading.files.content(output).content) > 4 * 2**20  # the first cost loads prices, too
    before = world.proxies[1].rss()
    for client in (world.client("a2", 0), reading):
        assert len(client.files.content(output).content) > 4 * 2**20
    assert world.proxies[1].rss() - before < 50 * 2**20
    found = events(world, output, 3)
    assert [event["usage"]["total_tokens"] for event in counted(found)] == [440_000]
    event = counted(found)[0]
    created = next(call for call in world.proxies[0].calls() if call["response_id"] == batch.id)
    assert (event["token_id"], event["service_tier"]) == (created["token_id"], "batch")
    assert (event["usage_of"]["id"], event["usage_of"]["lines"]) == (batch.id, 40_000)
    if not OLD:
        # 400,000 input and 40,000 output tokens of gpt-4o-mini, at half price.
        assert float(event["cost"]["usd"]) == pytest.approx((0.4 * 0.15 + 0.04 * 0.6) / 2)
    wait_for(lambda: listed(world) == [], "the batch is accounted for")


def listed(world: World) -> list[dict[str, Any]]:
    """`llmproxy batches`."""
    store = str(world.proxies[0].store)
    result = CliRunner().invoke(main, ["batches", "--store", store, "--json"])
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


@pytest.mark.once
@pytest.mark.slow
def test_a_killed_proxy_loses_no_usage_and_counts_none_twice(
    authority: trustme.CA, authority_file: Path, tmp_path: Path
) -> None:
    """SIGKILL right behind the look that shows the usage: before, between or after store and disk."""
    for world in start(authority, authority_file, tmp_path, *OPTIONS):
        maker = world.client("a1")
        made = [maker.responses.create(model="gpt-4o", input="hi", background=True).id for _ in range(12)]
        for id_ in made:
            world.keeping.complete(id_)
        first, second = world.proxies
        for id_ in made[:6]:
            maker.responses.retrieve(id_)
        first.kill()
        for id_ in made[:9]:
            world.client("a2", 1).responses.retrieve(id_)
        second.kill()
        with Proxy(first.folder, first.options) as third:
            world.proxies = third, second

            def totals(world: World = world, made: list[str] = made) -> dict[str, int]:
                for id_ in made:
                    world.client("a1").responses.retrieve(id_)
                return usages(world.proxies[0], made)

            wait_for(partial(is_all_counted, totals), "each counted, and once", 60)
            assert totals() == dict.fromkeys(made, 120)


def is_all_counted(totals: Callable[[], dict[str, int]]) -> bool:
    return set(totals().values()) == {120}


def usages(proxy: Proxy, made: list[str]) -> dict[str, int]:
    """The tokens of each response, over all events; an event that is there twice counts once."""
    sums = dict.fromkeys(made, 0)
    for event in {call["event_id"]: call for call in proxy.calls()}.values():
        if event["usage"] and event["response_id"] in sums:
            sums[event["response_id"]] += event["usage"]["total_tokens"]
    return sums
