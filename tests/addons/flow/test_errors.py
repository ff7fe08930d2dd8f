from __future__ import annotations

import json

import openai
import pytest

from addons.checks.limits import limit_errors
from addons.flow import errors
from store.ledger import LimitExceeded
from store.tokens.lookup import Reason

ALL = [*errors.BY_REASON.values(), errors.INTERNAL, errors.SEALED, errors.STORE_UNAVAILABLE]


def test_every_reason_has_a_refusal() -> None:
    assert set(errors.BY_REASON) == set(Reason)


@pytest.mark.parametrize("why", ALL, ids=lambda why: why.message[:30])
def test_body_is_the_error_object_of_the_api(why: errors.Refusal) -> None:
    response = why.response()
    error = json.loads(response.content or b"")["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert openai.types.ErrorObject.model_validate(error).code == why.code
    assert response.status_code == why.status
    assert response.headers["content-type"] == "application/json"


def test_each_response_has_a_request_id_of_its_own() -> None:
    ids = {errors.SEALED.response().headers["x-request-id"] for _ in range(100)}
    assert len(ids) == 100


def test_only_what_may_heal_is_worth_another_try() -> None:
    quota = limit_errors.ended(LimitExceeded("max_requests", "token", 5, 5, 1)).response()
    assert quota.headers["x-should-retry"] == "false"
    assert "retry-after" not in quota.headers
    store = errors.STORE_UNAVAILABLE.response()
    assert store.headers["x-should-retry"] == "true"
    assert int(store.headers["retry-after"]) > 0
