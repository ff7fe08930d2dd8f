"""Read the header fields by which requests and answers say what a cache may do (RFC 9110, 9111 and 9211)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from addons.openai.http.encoding import codings_of

LONGEST = 2**31
"""Seconds that stand for any longer time (RFC 9111 section 1.2.2)."""
DIRECTIVE = re.compile(r'\s*([!#$%&\'*+.^_`|~\w-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]*)))?\s*(?:,|$)')
QUALITY = re.compile(r"\s*([^\s;,]+)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?))?\s*", re.IGNORECASE)

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class CacheControl:
    """Holds the directives of ``Cache-Control``, by lower-case names; the first of each counts."""

    directives: Mapping[str, str]

    def __contains__(self, name: str) -> bool:
        return name in self.directives

    def seconds(self, name: str) -> int | None:
        """Read a directive's seconds; None where it is absent, 0 where it cannot be read."""
        value = self.directives.get(name)
        if value is None:
            return None
        return min(int(value), LONGEST) if value.isascii() and value.isdigit() else 0


def values_of(headers: Headers, name: str) -> str:
    """Join all fields of a name, as one field would have them; empty where there is none."""
    return ", ".join(value for key, value in headers if key.lower() == name)


def cache_control(headers: Headers) -> CacheControl:
    """Read ``Cache-Control``. What cannot be read ends the list, so that nothing is made up.

    >>> cache_control([("Cache-Control", "public, max-age=60")]).seconds("max-age")
    60
    """
    text, at = values_of(headers, "cache-control"), 0
    found: dict[str, str] = {}
    while at < len(text) and (match := DIRECTIVE.match(text, at)):
        quoted, plain = match[2], match[3]
        found.setdefault(match[1].lower(), plain or "" if quoted is None else quoted)
        at = match.end()
    return CacheControl(found)


def asks_anew(headers: Headers) -> bool:
    """Tell whether a request wants no answer that has not been checked upstream: ``no-cache`` in any form."""
    control = cache_control(headers)
    if not control.directives:
        return "no-cache" in values_of(headers, "pragma").lower()
    return "no-cache" in control or control.seconds("max-age") == 0


def wanted_lifetime(control: CacheControl) -> int:
    """Return the seconds for which a request lets its answer be kept: ``public`` and a time. Else 0."""
    if "public" not in control:
        return 0
    return control.seconds("s-maxage") or control.seconds("max-age") or 0


def stated_lifetime(headers: Headers) -> int | None:
    """Return the seconds for which an answer says that it stays fresh; None where it does not say.

    For a shared cache: ``s-maxage``, ``max-age``, then ``Expires`` less ``Date`` (RFC 9111 section 4.2.1).
    """
    control = cache_control(headers)
    for name in ("s-maxage", "max-age"):
        if (seconds := control.seconds(name)) is not None:
            return seconds
    if not (expires := values_of(headers, "expires")):
        return None
    end, begin = date_of(expires), date_of(values_of(headers, "date"))
    if end is None:
        return 0  # "0" and other text stand for the past
    return max(0, int((end - (begin or datetime.now(UTC))).total_seconds()))


def stated_age(headers: Headers) -> int:
    """Return the seconds that an answer has spent in caches before it came here."""
    age = values_of(headers, "age").partition(",")[0].strip()
    return min(int(age), LONGEST) if age.isascii() and age.isdigit() else 0


def vary_names(headers: Headers) -> tuple[str, ...]:
    """List the request's fields on which an answer depends, in lower case and in order; ``*`` is any."""
    names = {name.strip().lower() for name in values_of(headers, "vary").split(",")}
    return tuple(sorted(names - {""}))


def accepts_coding(headers: Headers, content_encoding: str) -> bool:
    """Tell whether the client of a request can read an answer of this content coding (RFC 9110, 12.5.3)."""
    codings = codings_of(content_encoding)
    if not codings:
        return True
    accepted = qualities(values_of(headers, "accept-encoding"))
    return all(accepted.get(coding, accepted.get("*", 0.0)) > 0 for coding in codings)


def accepts_identity(headers: Headers) -> bool:
    """Tell whether the client of a request can read an answer without a content coding."""
    accepted = qualities(values_of(headers, "accept-encoding"))
    return accepted.get("identity", accepted.get("*", 1.0)) > 0


def qualities(accept: str) -> dict[str, float]:
    """Read the weights of an ``Accept-Encoding``, by coding."""
    found: dict[str, float] = {}
    for part in accept.split(","):
        if match := QUALITY.fullmatch(part):
            found[match[1].lower().removeprefix("x-")] = float(match[2] or 1)
    return found


def normalized(name: str, values: Iterable[str]) -> str:
    """Bring a request's field into one form, so that equal wishes are told to be equal."""
    text = ", ".join(" ".join(value.split()) for value in values)
    if name == "accept-encoding":
        return ",".join(sorted(f"{coding}={quality:g}" for coding, quality in qualities(text).items()))
    return text


def matches_validators(request: Headers, answer: Headers) -> bool:
    """Tell whether a conditional request already has this answer (RFC 9110, sections 13.1.2 and 13.1.3)."""
    if wanted := values_of(request, "if-none-match"):
        tag = _opaque(values_of(answer, "etag"))
        tags = {_opaque(one) for one in wanted.split(",")}
        return wanted.strip() == "*" or (bool(tag) and tag in tags)
    since = date_of(values_of(request, "if-modified-since"))
    changed = date_of(values_of(answer, "last-modified"))
    return since is not None and changed is not None and changed <= since


def is_conditional(request: Headers) -> bool:
    """Tell whether a request asks for its answer only under a condition, or for a part of it."""
    return any(name.lower().startswith("if-") or name.lower() == "range" for name, _ in request)


def date_of(text: str) -> datetime | None:
    """Read an HTTP date; None for what is none."""
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _opaque(tag: str) -> str:
    return tag.strip().removeprefix("W/").strip('"')
