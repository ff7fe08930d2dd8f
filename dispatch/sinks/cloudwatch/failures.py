"""What an error of the AWS SDK means for the dispatcher.

Sources: the API reference of PutLogEvents and CloudWatch Logs' common errors. The SDK itself retries nothing.
"""

from __future__ import annotations

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
    """The service's code; the HTTP status where a load balancer answered in its place."""
    code = error.response.get("Error", {}).get("Code")
    return str(code or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))


def text_of(error: ClientError) -> str:
    return " ".join(str(error.response.get("Error", {}).get("Message") or "no reason given").split())


def is_about_credentials(error: ClientError | BotoCoreError) -> bool:
    """Whether other credentials would help: they are read anew before the next call."""
    if isinstance(error, ClientError):
        return code_of(error) in CREDENTIALS
    return isinstance(error, NO_CREDENTIALS)


def explained(error: ClientError | BotoCoreError, group: str) -> DeliveryError:
    """The dispatcher's error: whether time or a person can heal it, and how."""
    if isinstance(error, NO_CREDENTIALS):
        return Misconfigured(
            f"cloudwatch: no usable credentials ({error}); see the AWS SDK's credential chain."
        )
    if not isinstance(error, ClientError):
        return Unavailable(f"cloudwatch: {error}")
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
    if code in MALFORMED:  # of the names: CreateLogGroup, CreateLogStream
        return Misconfigured(f"cloudwatch: {error.operation_name} for {group}: {text}")
    return Unavailable(f"cloudwatch: {code or 'an error'}: {text}", retry_after=_retry_after(error))


def _retry_after(error: ClientError) -> float | None:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return float(headers["retry-after"])
    except (KeyError, ValueError):
        return None
