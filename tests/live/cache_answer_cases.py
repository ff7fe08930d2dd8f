"""Cases of the cache: what answers say (:mod:`tests.live.test_cache_rules`)."""

from __future__ import annotations

import gzip
import json

from tests.live.cache_cases import (
    ASKS,
    DATED,
    HELLO,
    LIST,
    MODELS,
    PUBLIC,
    RESPONSE_ASKED,
    RESPONSES,
    TAGGED,
    Ask,
    Case,
    control,
    kept,
    lists,
    of,
)
from tests.live.conftest import CHAT, chat_chunks

ANSWERS = [
    *(
        Case(f"status {status}", "miss miss", status=status)
        for status in (201, 202, 203, 206, 301, 308, 400, 404, 410, 429, 500, 503)
    ),
    *(
        Case(f"status {status}, public", "miss miss", status=status, answer=PUBLIC)
        for status in (203, 301, 404, 410)
    ),
    Case("an error with 200", "stored stored", value={"error": {"message": "x", "type": "server_error"}}),
    Case("no JSON", "stored stored", value=b"{}{", answer={"content-type": "application/json"}),
    Case("HTML", "miss miss", value=b"<html>", answer={"content-type": "text/html"}),
    Case("an empty body", "stored stored", value=b""),
    Case("no-store", "miss miss", answer={"cache-control": "no-store"}),
    Case("no-store and public", "miss miss", answer={"cache-control": "public, max-age=60, no-store"}),
    Case("private", "miss miss", answer={"cache-control": "private, max-age=60"}),
    Case("private fields", "miss miss", answer={"cache-control": 'private="x", max-age=60'}),
    Case("no-cache", "miss miss", answer={"cache-control": "no-cache"}),
    Case("max-age=0", "miss miss", answer={"cache-control": "max-age=0"}),
    Case("s-maxage=0", "miss miss", answer={"cache-control": "s-maxage=0, max-age=60"}),
    Case("max-age that is none", "miss miss", answer={"cache-control": "max-age=x"}),
    Case("must-revalidate", "stored hit", answer={"cache-control": "max-age=60, must-revalidate"}),
    Case("proxy-revalidate", "stored hit", answer={"cache-control": "max-age=60, proxy-revalidate"}),
    Case("immutable", "stored hit", answer={"cache-control": "max-age=60, immutable"}),
    Case(
        "stale-while-revalidate",
        "stored hit",
        answer={"cache-control": "max-age=60, stale-while-revalidate=9"},
    ),
    Case("s-maxage", "stored hit", answer={"cache-control": "s-maxage=60, max-age=0"}),
    Case("an old one", "miss miss", answer={**PUBLIC, "age": "60"}),
    Case("one that is not too old", "stored hit", answer={**PUBLIC, "age": "30"}),
    Case("Expires in the past", "miss miss", answer={"expires": "Sun, 06 Nov 1994 08:49:37 GMT"}),
    Case("Expires: 0", "miss miss", answer={"expires": "0"}),
    Case("Expires to come", "stored hit", answer={"expires": "Fri, 06 Nov 2099 08:49:37 GMT"}),
    Case("max-age before Expires", "stored hit", answer={**PUBLIC, "expires": "0"}),
    Case("Pragma of an answer", "stored hit", answer={"pragma": "no-cache"}),
    Case("Set-Cookie", "stored hit", answer={"set-cookie": "a=b"}),
    Case(
        "Vary: Origin",
        "stored stored hit",
        of({"origin": "https://a"}, {"origin": "https://b"}, {"origin": "https://a"}),
        answer={"vary": "Origin"},
    ),
    Case("Vary by one that is absent", "stored stored hit", of({}, {"x-a": "1"}, {}), answer={"vary": "X-A"}),
    Case("Vary in any case", "stored hit", of({"x-a": "1"}, {"X-A": "1"}), answer={"vary": "x-A"}),
    Case(
        "Vary by two",
        "stored stored hit",
        of({"x-a": "1"}, {"x-b": "1"}, {"x-a": "1"}),
        answer={"vary": "X-A, X-B"},
    ),
    Case(
        "Vary by what does not matter", "stored hit", of({"x-b": "1"}, {"x-b": "2"}), answer={"vary": "X-A"}
    ),
    Case(
        "Vary: Authorization",
        "stored stored hit",
        (Ask(), Ask(token=1), Ask()),
        answer={"vary": "Authorization"},
    ),
    Case("Vary: * and asked for", "stored hit", answer={"vary": "*"}),
    kept("Vary: *", "miss miss", answer={"vary": "*"}),
    kept("Vary: X, *", "miss miss", answer={"vary": "X, *"}),
    Case(
        "Vary: Accept-Encoding",
        "stored hit stored",
        of({"accept-encoding": "gzip, br"}, {"accept-encoding": "br,gzip;q=1"}, {"accept-encoding": "zstd"}),
        answer={"vary": "Accept-Encoding"},
    ),
    Case(
        "coded, for who reads it",
        "stored hit",
        of({"accept-encoding": "gzip"}, {"accept-encoding": "gzip"}),
        answer={"content-encoding": "gzip"},
        value=gzip.compress(json.dumps(CHAT).encode()),
    ),
    Case(
        "coded, for who does not",
        "stored stored",
        of({"accept-encoding": "gzip"}, {"accept-encoding": "identity"}),
        answer={"content-encoding": "gzip"},
        value=gzip.compress(json.dumps(CHAT).encode()),
    ),
    Case("plain, for who forbids it", "stored stored", of({}, {"accept-encoding": "gzip, identity;q=0"})),
    # Lists, which are kept where their answer says so
    lists("a public list", "stored hit"),
    lists("one for shared caches", "stored hit", answer={"cache-control": "s-maxage=60"}),
    lists("with a time alone", "miss miss", answer={"cache-control": "max-age=60"}),
    lists("that says nothing", "miss miss", answer={}),
    lists("with a validator alone", "miss miss", answer={"etag": '"v1"'}),
    lists("public, without a time", "miss miss", answer={"cache-control": "public"}),
    lists("that is asked for", "stored hit", control=ASKS, answer={}),
    lists("kept for who asks", "stored miss hit", control(ASKS, "", ASKS), answer={}),
    lists(
        "one of them",
        "stored hit",
        path=f"{MODELS}/gpt-4o-mini",
        value={"id": "gpt-4o-mini", "object": "model"},
    ),
    lists("other projects", "stored stored", (Ask(), Ask(token=2))),
    lists("Range", "bypass bypass", of({"range": "bytes=0-4"}, {"range": "bytes=0-4"})),
    lists("no-store", "bypass bypass", control("no-store", "no-store")),
    lists("no-cache without a validator", "stored stored", control("", "no-cache")),
    lists("no-cache with one", "stored revalidated hit", control("", "no-cache", ""), answer=TAGGED),
    lists("no-cache with a date", "stored revalidated hit", control("", "no-cache", ""), answer=DATED),
    lists(
        "an answer that is to be confirmed",
        "stored revalidated",
        answer={**TAGGED, "cache-control": "public, max-age=60, no-cache"},
    ),
    lists("If-None-Match", "stored 304", of({}, {"if-none-match": '"v1"'}), answer=TAGGED),
    lists("If-None-Match, weakly", "stored 304", of({}, {"if-none-match": 'W/"v1"'}), answer=TAGGED),
    lists("If-None-Match of several", "stored 304", of({}, {"if-none-match": '"v0", "v1"'}), answer=TAGGED),
    lists("If-None-Match of any", "stored 304", of({}, {"if-none-match": "*"}), answer=TAGGED),
    lists("If-None-Match of another", "stored hit", of({}, {"if-none-match": '"v2"'}), answer=TAGGED),
    lists(
        "If-Modified-Since", "stored 304", of({}, {"if-modified-since": DATED["last-modified"]}), answer=DATED
    ),
    lists(
        "If-Modified-Since, earlier",
        "stored hit",
        of({}, {"if-modified-since": "Sun, 06 Nov 1994 08:49:36 GMT"}),
        answer=DATED,
    ),
    lists("If-Modified-Since, no date", "stored hit", of({}, {"if-modified-since": "soon"}), answer=DATED),
    lists("HEAD of what is kept", "stored hit", (Ask(), Ask(method="HEAD")), answer=TAGGED),
    lists("HEAD keeps nothing", "miss stored", (Ask(method="HEAD"), Ask(method="GET")), answer=TAGGED),
    lists(
        "HEAD under a condition",
        "stored 304",
        (Ask(), Ask({"if-none-match": '"v1"'}, method="HEAD")),
        answer=TAGGED,
    ),
    # Who keeps all
    kept("any call", "stored hit"),
    kept("of one project", "stored stored", (Ask(), Ask(token=2))),
    kept("a list", "stored hit", path=MODELS, value=LIST),
    kept("what is stored is not", "none none", body={**HELLO, "store": True}),
    kept("no-store of an answer", "miss miss", answer={"cache-control": "no-store"}),
    kept("the answer's time", "miss miss", answer={"cache-control": "max-age=0"}),
    kept("status 404", "miss miss", status=404),
    kept("a stream", "stored hit", body={**HELLO, "stream": True}),
    kept("a stream of responses", "stored hit", path=RESPONSES, body={**RESPONSE_ASKED, "stream": True}),
    kept(
        "a cut stream",
        "stored stored",
        body={**HELLO, "stream": True},
        value=b"".join(chat_chunks()[:2]),
        answer={"content-type": "text/event-stream"},
    ),
    kept(
        "a stream with an error",
        "stored stored",
        body={**HELLO, "stream": True},
        value=b'data: {"error": {"message": "x"}}\n\ndata: [DONE]\n\n',
        answer={"content-type": "text/event-stream"},
    ),
]
