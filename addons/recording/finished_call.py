"""Make of a finished call what is recorded of it: plain data, which no longer needs its flow."""

from __future__ import annotations

import time

from addons.flow.call import Call
from addons.flow.capture import Body
from addons.recording.exchange import Exchange


def exchange_of(call: Call, outcome: str) -> Exchange:
    """Give what the worker has to know of a call that is over."""
    flow, response = call.flow, call.flow.response
    if call.held_whole and call.answer is not None and response is not None:
        call.answer.take_whole(response.raw_content or b"")
    form = call.request_form
    if form is not None:
        request_body = Body(b"", size=form.size)
    else:
        content = call.request_body or flow.request.raw_content or b""
        request_body = Body(content, size=len(content))
    exchange = Exchange(
        id=call.id,
        method=call.method,
        host=call.host,
        url=call.url,
        endpoint=call.endpoint,
        started_at=call.started_at,
        started=call.started,
        ended=time.monotonic(),
        outcome=outcome,
        request_headers=call.headers,
        request_body=request_body,
        request_value=call.body.kept_value if call.body is not None else None,
        request_has_few_values=call.body is not None and call.body.has_few_values,
        request_form=form.form() if form is not None else None,
        error_code=call.refused or call.cut or call.failure,
        error_message=flow.error.msg if flow.error else None,
        # The request is whole when it has ended; upstream is dialled after that, or has been before.
        sent=flow.request.timestamp_end is not None and flow.server_conn.timestamp_tcp_setup is not None,
        usage_added=call.usage_added,
        client_address=call.client_address,
        grant=call.grant,
        request_metadata=call.request_metadata,
        secrets=call.secrets,
        provider=call.provider,
        models=call.models,
    )
    if outcome == "ok":
        exchange.summary = call.summary
    if call.cache is not None:
        exchange.cache = call.cache.result
    if response is not None:
        exchange.status = response.status_code
        exchange.response_headers = list(response.headers.items(multi=True))
        if call.answer is not None and call.capture is not None:
            exchange.response_body = call.answer.kept()
            exchange.first_byte_at = call.capture.first_byte_at or call.headers_at
            if call.held_whole:
                exchange.first_byte_at = call.headers_at
        else:
            content = response.raw_content or b""
            exchange.response_body = Body(content, size=len(content))
        if (kept := call.kept_answer) is not None:
            # With the usage that the client does not get: it says what was saved.
            exchange.response_body = Body(kept.body, size=len(kept.body))
            exchange.first_byte_at, exchange.kept_from = call.headers_at, kept.call_id
    return exchange
