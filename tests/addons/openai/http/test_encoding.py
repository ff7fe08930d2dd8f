"""Content codings: chains, cuts, several members, bombs, rubbish."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.http.encoding import MOST_MEMBERS, PIECE, Brotli, Decoder, codings_of, decode, decode_whole
from tests.codings import CODINGS, br, flushed, gzipped, raw_deflate, zstd

TEXT = b"".join(b"data: {%d}\n\n" % number for number in range(20_000))
ONE_LAYER = {"gzip": gzipped, "deflate": zlib.compress, "br": br, "zstd": zstd}


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, ()),
        ("", ()),
        ("identity", ()),
        ("GZIP", ("gzip",)),
        ("x-gzip", ("gzip",)),
        ("gzip,br", ("gzip", "br")),
        (" deflate , identity ,, zstd", ("deflate", "zstd")),
    ],
)
def test_header(header: str | None, expected: tuple[str, ...]) -> None:
    assert codings_of(header) == expected


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [1, 1000, 10**9])
def test_any_cut_gives_the_same(coding: str, size: int) -> None:
    header, encode = CODINGS[coding]
    text = TEXT[:20_000] if size == 1 else TEXT
    decoder = Decoder(codings_of(header))
    assert b"".join(decoder.feed(piece) for piece in pieces(encode(text), size)) == text
    assert decoder.error is None


@given(
    st.binary(max_size=300).map(lambda data: data * 20),
    st.lists(st.sampled_from(sorted(ONE_LAYER)), max_size=3),
    st.integers(1, 400),
)
def test_chains(data: bytes, chain: list[str], size: int) -> None:
    coded = data
    for name in chain:
        coded = ONE_LAYER[name](coded)
    decoder = Decoder(chain)
    assert b"".join(decoder.feed(piece) for piece in pieces(coded, size)) == data
    assert decoder.error is None


@pytest.mark.parametrize("name", ONE_LAYER)
def test_flushed_events_come_out_at_once(name: str) -> None:
    events = [b"data: {%d}\n\n" % number for number in range(50)]
    decoder = Decoder([name])
    found = [decoder.feed(piece) for piece in flushed(name, events)]
    assert found == [*events, b""]


@pytest.mark.parametrize("name", ONE_LAYER)
@given(st.integers(0, 49), st.data())
def test_a_cut_stream_gives_what_was_flushed(name: str, last: int, draw: st.DataObject) -> None:
    events = [b"data: {%d}\n\n" % number for number in range(50)]
    coded = list(flushed(name, events))
    cut = coded[last][: draw.draw(st.integers(0, len(coded[last])))]
    found, error = decode(b"".join(coded[:last]) + cut, name)
    assert error is None
    assert b"".join(events).startswith(found)
    assert found.startswith(b"".join(events[:last]))


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_cut_body_gives_a_beginning(coding: str, share: float) -> None:
    header, encode = CODINGS[coding]
    coded = encode(TEXT)
    found, error = decode(coded[: int(share * len(coded))], header)
    assert error is None
    assert TEXT.startswith(found)


def test_several_members_and_frames() -> None:
    assert decode(gzipped(b"one ") + gzipped(b"two"), "gzip") == (b"one two", None)
    assert decode(zstd(b"one ") + zstd(b"two"), "zstd") == (b"one two", None)
    streamed = zstandard.ZstdCompressor().compressobj()
    unsized = streamed.compress(b"one ") + streamed.flush() + zstd(b"two")
    assert decode(unsized, "zstd") == (b"one two", None)


def test_what_follows_the_end_is_ignored() -> None:
    assert decode(gzipped(b"text") + b"\0\0\0", "gzip") == (b"text", None)
    assert decode(zlib.compress(b"text") + b"junk", "deflate") == (b"text", None)
    assert decode(raw_deflate(b"text") + b"junk", "deflate") == (b"text", None)


@pytest.mark.parametrize("name", ONE_LAYER)
def test_rubbish_keeps_what_came_before(name: str) -> None:
    coded = list(flushed(name, [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"]))
    decoder = Decoder([name])
    found = decoder.feed(coded[0]) + decoder.feed(coded[1])
    assert found == b"data: 1\n\ndata: 2\n\n"
    for _ in range(20):
        decoder.feed(b"\xff\x07rubbish" * 500)
    assert decoder.error is not None
    assert decoder.error.startswith("content coding is broken")
    assert decoder.feed(coded[2]) == b""


@given(st.binary(max_size=500), st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, br", "what"]))
def test_rubbish_never_raises(data: bytes, header: str) -> None:
    found, error = decode(data, header)
    assert isinstance(found, bytes)
    assert error is None or found is not None


def test_unknown_coding() -> None:
    assert decode(b"data", "gzip, compress") == (b"", "unknown content coding 'compress'")


@pytest.mark.parametrize("name", ONE_LAYER)
def test_a_bomb_is_given_up_at_the_budget(name: str) -> None:
    coded = ONE_LAYER[name](b"\0" * (64 * PIECE))
    tracemalloc.start()
    try:
        found, error = decode(coded, name, budget=4 * PIECE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error == "the decoded body is larger than the limit"
    assert 2 * PIECE < len(found) <= 4 * PIECE
    assert peak < 32 * PIECE


def test_a_bomb_within_a_bomb() -> None:
    coded = gzip.compress(gzip.compress(b"\0" * (256 * PIECE)))
    found, error = decode(coded, "gzip, gzip", budget=4 * PIECE)
    assert error == "the decoded body is larger than the limit"
    assert len(found) <= 4 * PIECE


@pytest.mark.parametrize(
    "inner", [gzip.compress(b""), zstd(b""), b"\0" * 20], ids=["members", "frames", "zeros"]
)
def test_a_bomb_that_decodes_to_nothing(inner: bytes) -> None:
    """What an outer layer gives is work too, and so is a piece without a byte."""
    outer = "zstd, gzip" if inner[:1] == b"\x28" else "gzip, gzip"
    found, error = decode(gzip.compress(inner * (8 * PIECE // len(inner))), outer, budget=PIECE)
    assert found == b""
    assert error is not None


def test_a_chain_has_an_end() -> None:
    found, error = decode(b"x", ", ".join(["gzip"] * 50))
    assert (found, error) == (b"", "50 content codings, one over the other")


def test_pulling_bit_by_bit() -> None:
    plain = bytes(range(256)) * (64 * PIECE // 256)
    decoder = Decoder(["gzip"])
    coded = gzip.compress(plain)
    decoder.push(coded)
    decoder.push(b"")
    found = []
    while not decoder.done:
        found.append(decoder.pull(2 * PIECE))
        assert len(found[-1]) <= 3 * PIECE
    assert b"".join(found) == plain
    assert decoder.error is None


@pytest.mark.parametrize("coding", ["gzip", "zstd", "gzip, br", "deflate", "gzip, deflate"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"usage": {"total_tokens": 3}}' * 50,
        b'{\n  "usage": {"total_tokens": 3}\n}' * 50,
        b'{\r\n\t"usage": {}\r\n}',
        b"{}",
        b'\n{"usage": {}}',
        b'[{"usage": {}}]' * 50,
        b"data: {}\n\n" * 50,
        b"event: x\ndata: {}\n\n" * 50,
        b": ping\n\ndata: {}\n\n" * 50,
    ],
)
def test_a_plain_body_under_a_coding_is_taken_as_it_is(coding: str, body: bytes) -> None:
    assert decode(body, coding) == (body, None)
    decoder = Decoder(codings_of(coding))
    assert b"".join(decoder.feed(body[at : at + 7]) for at in range(0, len(body), 7)) == body
    assert decode_whole(body, coding, budget=PIECE)[1] is not None, "not where it is decided upon"


@pytest.mark.parametrize("coding", sorted(CODINGS.keys() - {"identity"}))
def test_a_decision_takes_a_whole_body_only(coding: str) -> None:
    header, encode = CODINGS[coding]
    coded = encode(b'{"model": "gpt-4o"}')
    assert decode_whole(coded, header, budget=PIECE) == (b'{"model": "gpt-4o"}', None)
    assert decode_whole(coded[:-1], header, budget=PIECE)[1] is not None


@pytest.mark.parametrize(("name", "parts"), [("gzip", "members"), ("zstd", "frames")])
def test_members_and_frames_have_an_end(name: str, parts: str) -> None:
    one = ONE_LAYER[name](b"x")
    assert decode(one * MOST_MEMBERS, name) == (b"x" * MOST_MEMBERS, None)
    assert decode(one * (MOST_MEMBERS + 1), name)[1] == (
        f"content coding is broken: more than {MOST_MEMBERS} {parts}"
    )


def test_brotli_without_a_bound_is_fed_in_small_bites(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library before 1.2 decodes all that it gets at once."""
    monkeypatch.setattr(Brotli, "LIMITED", False)
    decoder = Decoder(["br"])
    assert decoder.feed(br(TEXT[:20_000])) + decoder.feed(b"junk") == TEXT[:20_000]
    assert decoder.error is None
    found, error = decode(br(b"\0" * (64 * PIECE)), "br", budget=PIECE)
    assert error == "the decoded body is larger than the limit"
    assert len(found) <= PIECE


def test_an_unknown_coding_of_nothing_is_no_error() -> None:
    nothing = gzip.compress(b"")
    assert decode(nothing, "compress, gzip") == (b"", "unknown content coding 'compress'")
    assert decode(b"", "compress") == (b"", None)
