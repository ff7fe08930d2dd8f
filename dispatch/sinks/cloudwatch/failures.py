"""Say what an error of the AWS SDK means for the dispatcher.

Sources: the API reference of PutLogEvents and CloudWatch Logs' common errors. The SDK itself retries nothing.
"""

from __future__ import annotations

from urllib.request import getproxies_environment, proxy_bypass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)

from dispatch.errors import DeliveryError, Misconfigured, Unavailable
from dispatch.sinks.cloudwatch.wire import NotFromAws
from store.core.urls import split_url

MALFORMED = frozenset({"InvalidParameterException", "SerializationException", "413"})
"""The call as a whole is refused, for something that is in it."""
DENIED = frozenset({"AccessDeniedException", "AccessDenied", "OptInRequired"})
CREDENTIALS = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "ExpiredTokenException",
        "ExpiredToken",
        "RequestExpired",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
    }
)
NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    NoAuthTokenError,
    TokenRetrievalError,
    SSOError,
)


def code_of(error: ClientError) -> str:
    """Give the service's code; the HTTP status where a load balancer answered in its place."""
    code = error.response.get("Error", {}).get("Code")
    return str(code or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))


def text_of(error: ClientError) -> str:
    return " ".join(str(error.response.get("Error", {}).get("Message") or "no reason given").split())


def _about_proxy(error: BotoCoreError) -> str:
    """Name the outgoing proxy that the SDK took; clients' own variable may have led it to llmproxy itself."""
    url = split_url(str(getattr(error, "kwargs", {}).get("endpoint_url") or "https://.amazonaws.com"))
    proxy = getproxies_environment().get(url.scheme)
    if proxy is None or proxy_bypass(url.hostname or ""):
        return ""
    where = split_url(proxy if "//" in proxy else f"//{proxy}")
    return (
        f" (sent through the proxy {where.hostname}:{where.port} of HTTPS_PROXY; "
        f"where that is llmproxy itself, put {url.hostname} into NO_PROXY)"
    )


def is_about_credentials(error: ClientError | BotoCoreError) -> bool:
    """Tell whether other credentials would help: they are read anew before the next call."""
    if isinstance(error, ClientError):
        return code_of(error) in CREDENTIALS
    return isinstance(error, NO_CREDENTIALS)


def explained(error: ClientError | BotoCoreError, group: str) -> DeliveryError:
    """Give the dispatcher's error: whether time or a person can heal it, and how."""
    if isinstance(error, NO_CREDENTIALS):
        return Misconfigured(
            f"cloudwatch: no usable credentials ({error}); see the AWS SDK's credential chain."
        )
    if isinstance(error, NotFromAws):
        return Misconfigured(f"cloudwatch: {error}")
    if not isinstance(error, ClientError):
        return Unavailable(f"cloudwatch: {error}{_about_proxy(error)}")
    code, text = code_of(error), text_of(error)
    if code in DENIED:
        return Misconfigured(
            f"cloudwatch: access to {group} is denied: the right logs:{error.operation_name} is missing "
            f"(`llmproxy cloudwatch policy` prints what is needed): {text}"
        )
    if code in CREDENTIALS:
        return Misconfigured(
            f"cloudwatch: {code}: {text} "
            f"(renew the credentials for logs:{error.operation_name}, or set the clock)"
        )
    if code == "LimitExceededException":
        return Misconfigured(f"cloudwatch: a quota of the account is used up: {text}")
    if code in MALFORMED:  # whatever events it holds: of the names, say
        return Misconfigured(f"cloudwatch: {error.operation_name} for {group}: {text}")
    return Unavailable(f"cloudwatch: {code or 'an error'}: {text}", retry_after=_retry_after(error))


def _retry_after(error: ClientError) -> float | None:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return float(headers["retry-after"])
    except (KeyError, ValueError):
        return None
