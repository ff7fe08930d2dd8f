"""Cases of the cache: what requests say (:mod:`tests.live.test_cache_rules`)."""

from __future__ import annotations

import gzip
import json

from tests.live.cache_cases import (
    ASKS,
    HELLO,
    RESPONSE_ASKED,
    RESPONSES,
    Ask,
    Case,
    bodies,
    control,
    kept,
    lists,
    of,
)
from tests.live.conftest import EMBEDDING, RESPONSE

PLAIN = json.dumps(HELLO).encode()

REQUESTS = [
    # Who asks for it
    Case("not asked for", "none none", control=None),
    Case("public alone", "none none", control="public"),
    Case("a time alone", "none none", control="max-age=60"),
    Case("no time at all", "none none", control="public, max-age=0"),
    Case("a time that is none", "none none", control="public, max-age=soon"),
    Case("a negative time", "none none", control="public, max-age=-5"),
    Case("public and max-age", "stored hit", control="public, max-age=60"),
    Case("public and s-maxage", "stored hit", control="public, s-maxage=60"),
    Case("in any case and order", "stored hit", control="MAX-AGE=60 ,  Public"),
    Case("a quoted time", "stored hit", control='public, max-age="60"'),
    Case("beside what is not known", "stored hit", control='public, max-age=60, x="a, public"'),
    Case(
        "s-maxage where max-age is 0 wants a new one",
        "stored stored",
        control="public, max-age=0, s-maxage=9",
    ),
    Case("only the first asks", "stored none", control("public, max-age=60", "max-age=60"), control=None),
    Case("no-store", "bypass bypass", control="no-store, public, max-age=60"),
    Case("no-store after one is kept", "stored bypass hit", control(ASKS, f"{ASKS}, no-store", ASKS)),
    Case("no-cache", "stored stored", control=f"{ASKS}, no-cache"),
    Case("no-cache, then any", "stored stored hit", control(ASKS, f"{ASKS}, no-cache", ASKS)),
    Case("no-cache with fields", "stored stored", control(ASKS, f'{ASKS}, no-cache="a"')),
    kept("Pragma", "stored stored hit", of({}, {"pragma": "no-cache"}, {})),
    kept(
        "Pragma beside Cache-Control",
        "stored hit",
        of({}, {"pragma": "no-cache", "cache-control": "max-age=9"}),
    ),
    kept("max-age=0", "stored stored", control("max-age=9", "max-age=0")),
    kept("max-stale changes nothing", "stored hit", control("max-age=9", "max-stale=9")),
    kept("min-fresh within", "stored hit", control("max-age=9", "min-fresh=30")),
    kept("min-fresh beyond", "stored stored", control("max-age=9", "min-fresh=90")),
    kept("no-transform", "stored hit", control("no-transform", "no-transform")),
    kept("only-if-cached first", "not-cached stored hit", control("only-if-cached", "", "only-if-cached")),
    Case(
        "only-if-cached is asking", "not-cached stored hit", control("only-if-cached", ASKS, "only-if-cached")
    ),
    Case(
        "only-if-cached of what is never kept",
        "not-cached",
        (Ask({"cache-control": "only-if-cached"}, body={**HELLO, "store": True}),),
    ),
    Case(
        "only-if-cached and no-store",
        "not-cached",
        control("only-if-cached, no-store"),
    ),
    lists(
        "only-if-cached of a list", "not-cached stored hit", control("only-if-cached", "", "only-if-cached")
    ),
    # What is the same request
    Case("white space in JSON", "stored stored", bodies(PLAIN, PLAIN.replace(b", ", b",  "))),
    Case("the order of members", "stored stored", bodies(HELLO, dict(reversed(HELLO.items())))),
    Case("an escaped letter", "stored stored", bodies(PLAIN, PLAIN.replace(b'"hi"', b'"\\u0068i"'))),
    Case(
        "other letters",
        "stored stored",
        bodies(HELLO, {**HELLO, "messages": [{"role": "user", "content": "HI"}]}),
    ),
    Case("another model", "stored stored", bodies(HELLO, {**HELLO, "model": "gpt-4o"})),
    Case(
        "a field that nobody knows", "stored stored hit", bodies(HELLO, {**HELLO, "x": 1}, {**HELLO, "x": 1})
    ),
    Case("temperature", "stored stored", bodies(HELLO, {**HELLO, "temperature": 1})),
    Case("n", "stored stored hit", bodies(HELLO, {**HELLO, "n": 1}, {**HELLO, "n": 1})),
    Case(
        "seed", "stored stored hit", bodies({**HELLO, "seed": 1}, {**HELLO, "seed": 2}, {**HELLO, "seed": 1})
    ),
    Case("user", "stored stored", bodies({**HELLO, "user": "a"}, {**HELLO, "user": "b"})),
    Case(
        "coded body", "stored hit", (Ask(body=PLAIN), Ask({"content-encoding": "gzip"}, gzip.compress(PLAIN)))
    ),
    Case("type of the body", "stored stored", of({}, {"content-type": "application/json; charset=utf-8"})),
    Case("Accept", "stored stored hit", of({}, {"accept": "text/html"}, {"accept": "text/html"})),
    Case("spaces in Accept", "stored hit", of({"accept": "a/b,  c/d"}, {"accept": "a/b, c/d"})),
    Case("Accept-Language", "stored stored", of({"accept-language": "de"}, {"accept-language": "fr"})),
    Case("OpenAI-Beta", "stored stored", of({}, {"openai-beta": "x=v1"})),
    Case("User-Agent", "stored hit", of({"user-agent": "a"}, {"user-agent": "b"})),
    Case("retries", "stored hit", of({}, {"x-stainless-retry-count": "1"})),
    Case("request ids", "stored hit", of({"x-request-id": "a"}, {"x-request-id": "b"})),
    Case("Cookie", "stored hit", of({"cookie": "a"}, {"cookie": "b"})),
    Case("X-Forwarded-For", "stored hit", of({"x-forwarded-for": "10.0.0.1"}, {})),
    Case(
        "namespaces",
        "stored stored hit",
        of({}, {"x-llm-proxy-cache-namespace": "a"}, {"x-llm-proxy-cache-namespace": "a!"}),
    ),
    Case("order of parameters", "stored hit", (Ask(query="a=1&b=2"), Ask(query="b=2&a=1"))),
    Case("order of one parameter's values", "stored stored", (Ask(query="a=1&a=2"), Ask(query="a=2&a=1"))),
    Case("another parameter", "stored stored", (Ask(query="a=1"), Ask(query="a=2"))),
    Case(
        "bytes that are no text",
        "stored stored hit",
        (Ask(query="a=%FF"), Ask(query="a=%FE"), Ask(query="a=%ff")),
    ),
    Case("a plus sign is no space", "stored stored", (Ask(query="a=%2B"), Ask(query="a=+"))),
    Case("tokens of a project", "stored hit", (Ask(), Ask(token=1))),
    Case("projects", "stored stored hit", (Ask(), Ask(token=2), Ask(token=2))),
    Case("the address of the client", "stored hit", of({}, {"x-real-ip": "10.1.1.1"})),
    # What is never kept
    Case("store", "none none", body={**HELLO, "store": True}),
    Case("store: false", "stored hit", body={**HELLO, "store": False}),
    Case(
        "own functions",
        "stored hit",
        body={**HELLO, "tools": [{"type": "function", "function": {"name": "f"}}]},
    ),
    Case(
        "web search", "none none", body={**HELLO, "web_search_options": {}, "model": "gpt-4o-search-preview"}
    ),
    Case("audio", "none none", body={**HELLO, "audio": {"voice": "alloy", "format": "wav"}}),
    Case("a member twice", "none none", body=PLAIN.replace(b"{", b'{"model": "gpt-4o-mini", ', 1)),
    Case("more than a megabyte", "none none", body={**HELLO, "x": "x" * 2**20}),
    Case("Range", "bypass bypass", of({"range": "bytes=0-9"}, {"range": "bytes=0-9"})),
    Case("If-None-Match of a POST", "bypass bypass", of({"if-none-match": "*"}, {"if-none-match": "*"})),
    Case(
        "embeddings",
        "stored hit",
        path="/v1/embeddings",
        body={"model": "text-embedding-3-small", "input": "a"},
        value=EMBEDDING,
    ),
    Case(
        "moderations",
        "stored hit",
        path="/v1/moderations",
        body={"model": "omni-moderation-latest", "input": "a"},
        value={"id": "m", "model": "omni-moderation-latest", "results": []},
    ),
    Case("responses", "stored hit", path=RESPONSES, body=RESPONSE_ASKED, value=RESPONSE),
    Case(
        "responses that are kept",
        "none none",
        path=RESPONSES,
        body={"model": "gpt-4o-mini", "input": "a"},
        value=RESPONSE,
    ),
    Case(
        "hosted tools",
        "none none",
        path=RESPONSES,
        body={**RESPONSE_ASKED, "tools": [{"type": "web_search"}]},
        value=RESPONSE,
    ),
    Case(
        "background", "none none", path=RESPONSES, body={**RESPONSE_ASKED, "background": True}, value=RESPONSE
    ),
    Case(
        "going on",
        "none none",
        path=RESPONSES,
        body={**RESPONSE_ASKED, "prompt": {"id": "pmpt_1"}},
        value=RESPONSE,
    ),
    Case(
        "a stream beside none",
        "stored stored hit",
        bodies(HELLO, {**HELLO, "stream": True}, {**HELLO, "stream": True}),
    ),
]
