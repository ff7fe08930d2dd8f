"""Keep secrets that the API makes for clients, and hand out the proxy's own in their place.

Only answers of endpoints of the class ``key_minting`` are touched, which are refused unless they are allowed
(option ``llm_endpoints``). What is not understood never reaches the client: it gets 502 instead, also where
this script is gone by the time that the answer comes (:mod:`addons.flow.final_guard`).
"""

from __future__ import annotations

import asyncio
import logging
import time

from mitmproxy import http

from addons.flow import errors, flow_metadata
from addons.flow.call import Call, open_calls
from addons.openai.http.encoding import decode
from addons.openai.realtime.ephemeral_reply import Found, NotUnderstood, rewrite
from addons.runtime import Runtime
from store.core.errors import KeyUnavailable
from store.core.secret import Secret
from store.keys.ephemeral_keys import EphemeralKey, EphemeralKeyMaker

logger = logging.getLogger(__name__)

LONGEST_SECONDS = 7200
"""For which a session may be begun with one of ours: as long as the API lets its own live."""
DECODED_BYTES = 2**20


class EphemeralKeys:
    """Stands behind the gate, which has marked the flow, and before the recorder."""

    name = "llmproxy-minting"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow_metadata.MINTS in flow.metadata and flow.response:
            flow.response.stream = False

    async def response(self, flow: http.HTTPFlow) -> None:
        if flow_metadata.MINTS not in flow.metadata or flow.response is None:
            return
        call, services = open_calls.get(flow.id), self.runtime.services
        try:
            assert call is not None
            assert services is not None
            content = await self._content(call, flow.response, services.mint)
        except NotUnderstood as error:
            logger.error("llmproxy: an answer with a new secret was withheld: %s", error)
            flow.response = errors.MINTED_UNKNOWN.response()
        except KeyUnavailable as error:
            logger.error("llmproxy: an ephemeral key could not be sealed: %s", error)
            flow.response = errors.NO_MASTER_KEY.response()
        except Exception:
            logger.exception("llmproxy: an answer with a new secret was withheld")
            flow.response = errors.MINTED_UNKNOWN.response()
        else:
            _set_content(flow.response, content)
        del flow.metadata[flow_metadata.MINTS]

    async def _content(self, call: Call, response: http.Response, mint: EphemeralKeyMaker) -> bytes:
        """Give the answer for the client. Raises NotUnderstood, KeyUnavailable."""
        coding = ",".join(response.headers.get_all("content-encoding"))
        body, undecoded = decode(response.raw_content or b"", coding, budget=DECODED_BYTES)
        if undecoded is not None:
            raise NotUnderstood("its content coding is unknown or broken")
        if response.status_code >= 400:
            return body  # an error; decoded, so that it is what was looked at
        made: list[Found] = []
        sealed: list[Secret] = []

        def seal(found: Found) -> str:
            made.append(found)
            sealed.append(mint.seal(_minted(call, found)))
            return sealed[-1].reveal()

        content = await asyncio.to_thread(rewrite, body, seal)
        secrets = [Secret(found.secret) for found in made]
        if any(secret.reveal() in value for secret in secrets for value in response.headers.values()):
            raise NotUnderstood("a header holds the secret too")
        call.secrets += [*secrets, *sealed]
        return content


def _set_content(response: http.Response, content: bytes) -> None:
    response.headers.pop("content-encoding", None)
    response.trailers = None
    response.content = content  # sets the length


def _minted(call: Call, found: Found) -> EphemeralKey:
    latest = int(time.time()) + LONGEST_SECONDS
    return EphemeralKey(
        secret=Secret(found.secret),
        fingerprint=call.fingerprint,
        expires_at=min(found.expires_at or latest, latest),
        host=call.host,
        opens=call.kind.ephemeral,
        model=found.model,
    )
