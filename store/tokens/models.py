"""Describe projects, tokens and what a token grants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any

from store.core.times import rfc3339
from store.keys.project_keys import StoredKey
from store.tokens import label_limits as labels
from store.tokens import lifetimes, parameter_rules, validation
from store.tokens.calendar import TOTAL
from store.tokens.fields import (
    FLAG,
    KEY,
    LABELS,
    LIMITS,
    MOMENT,
    NAMES,
    NUMBER,
    PAIRS,
    TEXT,
    Field,
    InList,
    Option,
    as_json,
)
from store.tokens.limits import NONE, Limits
from store.tokens.parameter_rules import ParameterRule, parse_rule
from store.tokens.subjects import CLAIMED, KNOWN, PROJECT, TOKEN, ids_of_grant

METADATA = Option("--metadata", "A pair for the events; may be repeated.", "Drop a pair; may be repeated.")
HEADER_METADATA = Option(
    "--header-metadata",
    "Let clients add this name by the header X-LLMProxy-Metadata-NAME; may be repeated.",
    "No longer let clients add this name; may be repeated.",
)
CACHE = Option(
    "--cache",
    "Whose answers are kept to be given again: off, ask (of calls that ask for it) or all.",
    "Go by the proxy's option llm_cache_for again.",
)
ORIGINS = Option(
    "--origin",
    "Where pages must be from that use it in browsers: https://app.example.com, https://*.example.com; "
    "may be repeated.  [default: any]",
    "No longer take pages from there; may be repeated.",
)
LIFETIME = Option(
    "--token-lifetime", "How long tokens live that are made without --expires: 30d, 12h.", "Have no default."
)
MAX_LIFETIME = Option(
    "--token-max-lifetime", "How long tokens may live at most: 90d, 12h.", "Let them live any time."
)
PARAMETERS = Option(
    "--parameter",
    "A rule FIELD=VALUES for requests: temperature=0..1, service_tier=auto|flex, tools[].type=function; ! "
    "before the values where the field must be there. May be repeated.",
    "Drop the rule of a field; may be repeated.",
)
LIMIT_OPTIONS = Option("--", "An option for each limit, which begins with this flag.")
SESSION_LIMITS = Field(
    kind=LIMITS,
    keep=validation.session_limits,
    option=Option("--session-", "Of each agent session:"),
    only=validation.OF_SESSIONS,
    period=TOTAL,
)
LABEL_LIMITS = Field(
    kind=LABELS,
    keep=labels.kept,
    option=Option("--label-", "Of each value of a label, LABEL=LIMIT:"),
    only=validation.OF_USERS,
)


@dataclass(frozen=True, slots=True)
class Project:
    """Says who pays: the holder of a real key."""

    id: Annotated[str, Field(kind=TEXT, audited=False)]
    name: Annotated[str, Field(kind=TEXT, keep=validation.name)]
    key: Annotated[StoredKey, Field(kind=KEY, column="api_key")]
    """As the store has it: encrypted, or a reference (see :class:`~store.keys.key_cache.KeyCache`)."""
    active: Annotated[bool, Field(kind=FLAG, keep=int)]
    created_at: Annotated[datetime, Field(kind=MOMENT, audited=False)]
    updated_at: Annotated[datetime, Field(kind=MOMENT, audited=False)]
    limits: Annotated[Limits, Field(kind=LIMITS, keep=Limits.as_json, option=LIMIT_OPTIONS)] = NONE
    """For all its tokens together."""
    session_limits: Annotated[Limits, SESSION_LIMITS] = NONE
    """For each session of an agent, of each of its tokens."""
    user_limits: Annotated[
        Limits,
        Field(
            kind=LIMITS,
            keep=validation.user_limits,
            option=Option("--user-", "Of each user:"),
            only=validation.OF_USERS,
        ),
    ] = NONE
    """For each user, of all its tokens together."""
    address_limits: Annotated[
        Limits,
        Field(
            kind=LIMITS,
            keep=validation.address_limits,
            option=Option("--address-", "Of each client address:"),
            only=validation.OF_USERS,
        ),
    ] = NONE
    """For each address that clients call from, of all its tokens together."""
    label_limits: Annotated[Mapping[str, Limits], LABEL_LIMITS] = field(default_factory=lambda: labels.NONE)
    """For each value of a label, by its name, of all its tokens together. Read-only."""
    metadata: Annotated[Mapping[str, str], Field(kind=PAIRS, keep=validation.metadata, option=METADATA)] = (
        field(default_factory=dict)
    )
    """It is that of all its tokens' calls, where the token itself has no such key. Read-only."""
    header_metadata: Annotated[
        Sequence[str], Field(kind=NAMES, keep=validation.header_metadata, option=HEADER_METADATA)
    ] = ()
    """Names of metadata that clients of all its tokens may add by a header."""
    cache: Annotated[str | None, Field(kind=TEXT, keep=validation.cache, option=CACHE)] = None
    """It says whose answers are kept; None: as the proxy's option says. The stricter holds."""
    token_lifetime: Annotated[str | None, Field(kind=TEXT, keep=lifetimes.lifetime, option=LIFETIME)] = None
    """It is that of tokens that are made without an expiry, such as ``30d``; None: as for all tokens."""
    token_max_lifetime: Annotated[
        str | None, Field(kind=TEXT, keep=lifetimes.lifetime, option=MAX_LIFETIME)
    ] = None
    """Longest life of its tokens, from their making on; the shorter of this and that of all tokens holds."""
    parameters: Annotated[
        Mapping[str, str], Field(kind=PAIRS, keep=parameter_rules.parameters, option=PARAMETERS)
    ] = field(default_factory=dict)
    """Rules for the requests of all its tokens, by field (:mod:`store.tokens.parameter_rules`)."""
    origins: Annotated[Sequence[str], Field(kind=NAMES, keep=validation.origins, option=ORIGINS)] = ()
    """Globs of the origins whose pages may use its tokens; none: any. Calls without one pass."""
    deactivated_at: Annotated[datetime | None, Field(kind=MOMENT, audited=False)] = None
    """Since when it is not active; None while it is, and where that was before this was noted."""

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for JSON output; the key is left out."""
        return {**as_json(self), "is_active": self.active}


@dataclass(frozen=True, slots=True)
class Token:
    """Describes one proxy token. Its text is not here: the store keeps only the text's SHA-256.

    This is the list of a token's fields: rows, JSON, options and the management API are made from it. A new
    one needs a column, too (:mod:`store.database.schema`).
    """

    id: Annotated[str, Field(kind=TEXT, audited=False, in_list=InList(0))]
    prefix: Annotated[str, Field(kind=TEXT, audited=False, in_list=InList(1, 7))]
    """The first characters of the text, to tell tokens apart."""
    project_id: Annotated[str, Field(kind=TEXT, audited=False)]
    active: Annotated[bool, Field(kind=FLAG, in_list=InList(3))]
    created_at: Annotated[datetime, Field(kind=MOMENT, audited=False)]
    expires_at: Annotated[
        datetime | None,
        Field(
            kind=MOMENT,
            keep=validation.expires_at,
            option=Option(
                "--expires",
                "When it ends: 30d, 12h, a date, or never.  [default: the lifetime of the project's tokens]",
            ),
            in_list=InList(4, 5),
        ),
    ]
    max_requests: Annotated[
        int | None,
        Field(
            kind=NUMBER,
            keep=validation.max_requests,
            option=Option(
                "--max-requests", "Calls that it may make in all.", "Let it make any number of calls."
            ),
            in_list=InList(6, 3),
        ),
    ]
    """Calls that the token may make in all; None for any number."""
    request_count: Annotated[int, Field(kind=NUMBER, audited=False, in_list=InList(5, 6))]
    last_used_at: Annotated[datetime | None, Field(kind=MOMENT, audited=False, in_list=InList(7, 4))]
    metadata: Annotated[
        Mapping[str, str],
        Field(kind=PAIRS, keep=validation.metadata, option=METADATA, in_list=InList(9, 1)),
    ] = field(default_factory=dict)
    """Read-only."""
    last_used_from: Annotated[str | None, Field(kind=TEXT, audited=False, in_list=InList(8, 2))] = None
    """Address of the client that used it last."""
    previous_prefix: Annotated[str | None, Field(kind=TEXT, audited=False)] = None
    """It is that of the text that the token had before it was rotated."""
    previous_ends_at: Annotated[datetime | None, Field(kind=MOMENT)] = None
    """Until when that one is good, too."""
    limits: Annotated[Limits, Field(kind=LIMITS, keep=validation.token_limits, option=LIMIT_OPTIONS)] = NONE
    header_metadata: Annotated[
        Sequence[str], Field(kind=NAMES, keep=validation.header_metadata, option=HEADER_METADATA)
    ] = ()
    """Names of metadata that its clients may add by a header."""
    cache_hit_count: Annotated[int, Field(kind=NUMBER, audited=False)] = 0
    """It is that of its requests, those that were answered from the cache."""
    cache: Annotated[str | None, Field(kind=TEXT, keep=validation.cache, option=CACHE)] = None
    name: Annotated[
        str | None,
        Field(
            kind=TEXT,
            keep=validation.token_name,
            option=Option(
                "--name", "What people call it; commands take it in place of the id.", "Let it have none."
            ),
            in_list=InList(2, 8),
        ),
    ] = None
    """No other token of its project that is not revoked has it."""
    parameters: Annotated[
        Mapping[str, str], Field(kind=PAIRS, keep=parameter_rules.parameters, option=PARAMETERS)
    ] = field(default_factory=dict)
    """Rules for its requests, by field; those of its project hold as well."""
    origins: Annotated[Sequence[str], Field(kind=NAMES, keep=validation.origins, option=ORIGINS)] = ()
    """Globs of the origins whose pages may use it; none: any. Those of its project hold as well."""
    revoked_at: Annotated[datetime | None, Field(kind=MOMENT, audited=False)] = None
    """It says when it was revoked; None where it is not, and where that was before this was noted."""
    session_limits: Annotated[Limits, SESSION_LIMITS] = NONE
    """For each session of an agent; where its project has some, too, the smaller budget holds."""
    label_limits: Annotated[Mapping[str, Limits], LABEL_LIMITS] = field(default_factory=lambda: labels.NONE)
    """For each value of a label, by its name, of its own calls; its project's hold beside. Read-only."""

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for JSON output."""
        return {**as_json(self), "is_active": self.active}


@dataclass(frozen=True)  # no slots: what every call asks for is worked out once
class Grant:
    """Says what a known token stands for."""

    project: Project
    token: Token
    secret_ends_at: datetime | None = None
    """It says when the text that was presented ends: the token was rotated, and this is its previous one."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """It is what a call says of itself, by the names of subjects: its session, user, address. Its labels are
    by ``label:NAME``."""

    @cached_property
    def limits(self) -> tuple[Limits, ...]:
        """Give the limits of all subjects, the token's first; the stricter holds."""
        known = (limits for subject in KNOWN for _, limits in subject.members(self))
        claimed = (limits for subject in CLAIMED for _, limits in subject.members(self))
        return (*known, *(limits for limits in claimed if limits is not NONE))

    @cached_property
    def ids(self) -> dict[str, str]:
        """Give the ids of what its calls count for, by the columns that hold them; empty if none."""
        return ids_of_grant(self)

    @property
    def limited_labels(self) -> set[str]:
        """Give the labels each of whose values has limits."""
        return self.project.label_limits.keys() | self.token.label_limits.keys()

    @cached_property
    def limits_claims(self) -> bool:
        """Tell whether limits depend on what a call claims."""
        return any(limits.need_claims for subject in CLAIMED for _, limits in subject.members(self))

    def claiming(self, claims: Mapping[str, str]) -> Grant:
        """Give the same for a call that says so of itself."""
        return replace(self, claims=claims) if self.limits_claims and claims != self.claims else self

    @cached_property
    def parameter_rules(self) -> tuple[ParameterRule, ...]:
        """Give the rules of the token and of its project; all have to be kept. Raises Invalid."""
        sides = ((self.token.parameters, TOKEN), (self.project.parameters, PROJECT))
        return tuple(
            parse_rule(field, text, subject.name) for rules, subject in sides for field, text in rules.items()
        )

    @cached_property
    def needs_claim(self) -> bool:
        """Tell whether its calls have to ask the ledger before they may pass."""
        return self.token.max_requests is not None or any(each.need_claims for each in self.limits)

    @property
    def metadata(self) -> dict[str, str]:
        """Give the project's pairs, and over them the token's own."""
        return {**self.project.metadata, **self.token.metadata}

    @property
    def header_metadata(self) -> frozenset[str]:
        """Give the names of metadata that its clients may add by a header."""
        return frozenset((*self.project.header_metadata, *self.token.header_metadata))


class TokenOrder:
    """Describes a token to make; see :meth:`store.tokens.store.TokenStore.create_tokens`."""

    __slots__ = ("given", "project")

    def __init__(self, project: str, **given: Any) -> None:
        """Take `project`, an id or name, and `given`, by the names of the fields of Token.

        The others have their defaults.
        """
        self.project, self.given = project, given


@dataclass(frozen=True, slots=True)
class Selection:
    """Describes tokens that fit everything that is given."""

    project: str | None = None
    """Id or name."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Pairs that they have, among others."""
    created_before: datetime | None = None
    unused_since: datetime | None = None
    """Neither made nor used since."""

    def __str__(self) -> str:
        """Write what was given: ``project=search, metadata.team=a``."""
        given: dict[str, Any] = {
            "project": self.project,
            **{f"metadata.{key}": text for key, text in self.metadata.items()},
            "created_before": self.created_before and rfc3339(self.created_before),
            "unused_since": self.unused_since and rfc3339(self.unused_since),
        }
        return ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)
