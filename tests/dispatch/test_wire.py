"""Only AWS may say that something is stored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dispatch.sinks.cloudwatch.wire import NotFromAws, _refuse_strangers


def operation(*, protocol: str = "json", has_answer: bool = True) -> Any:
    model = SimpleNamespace(resolved_protocol=protocol)
    return SimpleNamespace(
        name="PutLogEvents", service_model=model, output_shape=object() if has_answer else None
    )


def answered(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None, **how: Any) -> None:
    given = {"x-amzn-requestid": "1"} if headers is None else headers
    _refuse_strangers(operation(**how), {"status_code": status, "headers": given, "body": body})


def passes(body: bytes, **how: Any) -> bool:
    try:
        answered(body, **how)
    except NotFromAws:
        return False
    return True


def test_an_answer_of_aws_passes() -> None:
    assert passes(b"{}")
    assert passes(b"", has_answer=False)
    assert passes(b"<xml/>", protocol="query", headers={"x-amz-request-id": "1"})
    assert passes(b"<html>", status=503, headers={})
    assert not passes(b"<html>")


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"<html>Log in</html>", None, "no JSON"),
        (b"[]", None, "no JSON"),
        (b"", None, "no JSON"),
        (b"\xff", None, "no JSON"),
        (b"{}", {}, "no request id"),
    ],
)
def test_a_success_of_somebody_else_does_not(
    body: bytes, headers: dict[str, str] | None, reason: str
) -> None:
    with pytest.raises(NotFromAws) as raised:
        answered(body, headers=headers)
    assert reason in str(raised.value)
    assert "PutLogEvents was answered 200 by something that is not AWS" in str(raised.value)


def test_no_more_than_the_beginning_of_it_is_quoted() -> None:
    with pytest.raises(NotFromAws) as raised:
        answered(b"x" * 10_000)
    assert len(str(raised.value)) < 500
