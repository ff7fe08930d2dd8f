from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.http.members import BOM, members
from addons.openai.usage.include_usage import insert, read
from tests.addons.openai.http.test_members import VALUES

ASKED = {"include_usage": True}

CASES = {
    '{"stream":true}': {"stream": True, "stream_options": ASKED},
    ' {"stream" : true , "n": 1 } \n': {"stream": True, "n": 1, "stream_options": ASKED},
    '{"stream":true,"stream_options":null}': {"stream": True, "stream_options": ASKED},
    '{"stream_options":null,"stream":true}': {"stream": True, "stream_options": ASKED},
    '{"stream_options":{},"stream":true}': {"stream": True, "stream_options": ASKED},
    '{"stream_options":{ },"stream":true}': {"stream": True, "stream_options": ASKED},
    '{"stream_options":{"include_obfuscation":false},"stream":true}': {
        "stream": True,
        "stream_options": {"include_obfuscation": False, **ASKED},
    },
    '{"stream":true,"stream_options":{"include_usage":null}}': {"stream": True, "stream_options": ASKED},
    '{"stream":true,"stream_options":{"include_usage":true},"stream_options":{}}': {
        "stream": True,
        "stream_options": ASKED,
    },
    '{"stream":false,"stream":true}': {"stream": True, "stream_options": ASKED},
    '{"\\u0073tream":true,"stream\\u005foptions":{"a":"}"}}': {
        "stream": True,
        "stream_options": {"a": "}", **ASKED},
    },
    '{"m":"日本 \\" }","stream":true,"stream_options":{"é":1},"z":"ü"}': {
        "m": '日本 " }',
        "stream": True,
        "stream_options": {"é": 1, **ASKED},
        "z": "ü",
    },
    '{"messages":[{"stream":false,"stream_options":{"include_usage":false}}],"stream":true}': {
        "messages": [{"stream": False, "stream_options": {"include_usage": False}}],
        "stream": True,
        "stream_options": ASKED,
    },
}


def is_subsequence(short: bytes, long: bytes) -> bool:
    rest = iter(long)
    return all(byte in rest for byte in short)


@pytest.mark.parametrize("bom", [b"", BOM])
@pytest.mark.parametrize("text", CASES)
def test_request_that_says_nothing_is_made_to_ask(text: str, bom: bytes) -> None:
    body = bom + text.encode()
    asking = insert(body)
    assert asking is not None
    assert json.loads(asking) == CASES[text]
    assert is_subsequence(body, asking)
    assert insert(asking) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"stream":false}',
        b'{"stream":true,"stream":false}',
        b'{"stream":1}',
        b'{"model":"m"}',
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        b'{"stream":true,"stream_options":{"include_usage":false}}',
        b'{"stream":true,"stream_options":{},"stream_options":{"include_usage":false}}',
        b'{"stream":true,"stream_options":{"include_usage":null,"include_\\u0075sage":false}}',
        b'{"stream":true,"stream_options":{"include_usage":"yes"}}',
        b'{"stream":true,"stream_options":[]}',
        b'{"stream":true,"stream_options":"x"}',
        b'{"stream":true',
        b'{"stream":true}{"stream":true}',
        b'{"stream":true,}',
        b"{'stream':true}",
        b'{"stream":true,"x":NaN}',
        b'{"stream":true,"x":"\xff"}',
        b'{"stream":true,"x":' + b"9" * 10_000 + b"}",
        b'{"stream":true,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'[{"stream":true}]',
        '{"stream":true}'.encode("utf-16"),
        '{"stream":true}'.encode("utf-32"),
        b"\x1f\x8b\x08stream",
    ],
)
def test_anything_else_is_left_alone(body: bytes) -> None:
    assert insert(body) is None


OPTIONS = st.none() | st.dictionaries(st.sampled_from(["include_obfuscation", "é", "x"]), VALUES, max_size=3)


@given(
    before=st.dictionaries(st.text(max_size=5), VALUES, max_size=3),
    options=st.lists(OPTIONS, max_size=2),
    after=st.dictionaries(st.text(max_size=5), VALUES, max_size=3),
    separators=st.sampled_from([(",", ":"), (" , ", ":\t"), (",\n", ": ")]),
    escaped=st.booleans(),
)
def test_only_the_one_key_is_added(
    before: dict[str, Any],
    options: list[Any],
    after: dict[str, Any],
    separators: tuple[str, str],
    escaped: bool,
) -> None:
    def dumps(value: Any) -> str:
        return json.dumps(value, separators=separators, ensure_ascii=escaped)

    pairs = [*before.items(), *(("stream_options", value) for value in options), ("stream", True)]
    pairs += [pair for pair in after.items() if pair[0] not in ("stream", "stream_options")]
    comma, colon = separators
    body = ("{" + comma.join(dumps(key) + colon + dumps(value) for key, value in pairs) + "}").encode()

    asking = insert(body)
    assert asking is not None
    expected = json.loads(body)
    said = expected.get("stream_options")
    expected["stream_options"] = (said if isinstance(said, dict) else {}) | ASKED
    assert json.loads(asking) == expected
    assert len(asking) - len(body) <= len(',"stream_options":{"include_usage":true}')
    assert is_subsequence(body, asking)


def test_what_the_request_said() -> None:
    text = '{"stream":true,"data_sources":[],"stream_options":{"include_usage":false}}'
    request = read(text, members(text))
    assert request is not None
    assert request.include_usage is False
    assert request.keys == {"stream", "data_sources", "stream_options"}
