"""List the tables of a store on all engines: new stores are made from this list, earlier ones mended.

A store has the name of the last version of this list that it was made or brought up to date by. Where it is
an earlier one, the tables, columns and indexes are added that are missing, the triggers and views are made
anew, and then the statements of the versions since are run. So whoever adds a column adds it here, and a
version, which keeps an earlier llmproxy from opening the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

LONGEST = 255
EMPTY_DOCUMENT, EMPTY_LIST = "{}", "[]"

AMOUNTS = ("requests", "tokens", "nano_usd")
CLAIMED = (
    *("session_key", "user_key", "address_key"),
    *("label_1_key", "label_2_key", "label_3_key", "label_4_key"),
)
"""It is what a call counts for beside its token and project (:mod:`store.tokens.subjects`)."""
CLAIMED_LIMITS = ("session_limits", "user_limits", "address_limits")
FIGURES = (
    *("calls", "refused", "failed", "unreported", "unpriced", "lower_bound", "approximate"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "total_tokens"),
    *("milliseconds", "nano_usd", "cache_hits", "saved_tokens", "saved_nano_usd"),
)


def _sum_days() -> str:
    """Fill ``usage_days`` from the hours that there are."""
    columns = ("project_id", "token_id", "model", "endpoint")
    summed = ", ".join(f"SUM({name})" for name in FIGURES)
    return (
        f"INSERT INTO usage_days (hour, {', '.join((*columns, *FIGURES))}) "  # noqa: S608 - of the above
        f"SELECT hour - hour % 24, {', '.join(columns)}, {summed} FROM usage_hours "
        f"GROUP BY hour - hour % 24, {', '.join(columns)}"
    )


SUM_TIMINGS = (
    "INSERT INTO timing_days (hour, project_id, endpoint, measure, bucket, calls) "
    "SELECT hour - hour % 24, project_id, endpoint, measure, bucket, SUM(calls) FROM timing_hours "
    "GROUP BY hour - hour % 24, project_id, endpoint, measure, bucket"
)
MIGRATIONS = "llmproxy"
"""The name under which a SQLite file notes the versions that it has been through."""
VERSIONS: Mapping[str, Sequence[str]] = {
    "m001_projects_and_tokens": (),
    "m002_token_metadata": (),
    "m003_revision": (),
    # Keys say how they are kept: ``plain:``, ``aesgcm:v1:``, ``env:`` ... (store.keys.project_keys).
    "m004_key_schemes": ("UPDATE projects SET api_key = 'plain:' || api_key",),
    "m005_token_rotation": (),
    "m006_limits": (),
    "m008_attribution": (),
    "m010_usage_hours": (),
    "m009_objects": (),
    "m007_audit": (),
    "m011_budget_marks": (),
    "m012_views": (),
    "m013_prices": (),
    "m014_admin_keys": (),
    "m015_assumed_charges": (),
    "m016_most_of_holds": (),
    "m017_cache": (),
    "m018_management": (),
    "m019_use_of_assumed_charges": (),
    "m020_token_names": (),
    "m021_cache_hits": (),
    "m022_usage_days": (_sum_days(),),
    "m023_token_lifetimes": (),
    "m024_proxies": (),
    "m024_parameters": (),
    "m025_claimed_limits": (),
    "m026_origins": (),
    "m027_alerts": (),
    "m028_label_limits": (),
    "m029_recent_calls": (),
    "m030_marked_calls": (),
    "m031_label_hours": (),
    # MySQL cannot undo a step that was cut off: it begins anew.
    "m032_timing_days": ("DELETE FROM timing_days", SUM_TIMINGS),
}
"""In their order, with statements that change rows of a store from before. The first on servers is m006."""
NEWEST = list(VERSIONS)[-1]


@dataclass(frozen=True, slots=True)
class Column:
    """Describes a column of a table."""

    name: str
    kind: Literal["text", "document", "number"]
    null: bool = False
    default: str | int | None = None
    length: int = LONGEST
    """It is that of a text: most characters."""


@dataclass(frozen=True, slots=True)
class Index:
    """Describes an index of a table."""

    columns: Sequence[str]
    unique: bool = False
    where: str | None = None
    """Leaves out the rows that do not fit. (In MySQL all rows are in it.)"""


@dataclass(frozen=True, slots=True)
class Table:
    """Describes a table: its columns, those of its key, and what else the engine has to know."""

    name: str
    columns: Sequence[Column]
    key: Sequence[str]
    """By these it can be read page by page."""
    indexes: Sequence[Index] = ()
    refers: Mapping[str, str] | None = None
    """Tables to whose `id` a column refers."""
    rows: Sequence[Mapping[str, Any]] = ()
    """It is what is in it from the beginning."""
    raises_revision: bool = False
    """It tells whether a change raises the revision, by which proxies see that what they hold is out of
    date."""
    quiet: Sequence[str] = ()
    """Columns whose changes do not: what calls write."""
    clustered: bool = False
    """It tells whether SQLite keeps the rows in the order of the key."""

    @property
    def names(self) -> list[str]:
        """Give the names of its columns."""
        return [column.name for column in self.columns]

    @property
    def watched(self) -> list[str]:
        """Give those of its columns whose changes raise the revision."""
        return [name for name in self.names if name not in self.quiet]


def text(name: str, *, length: int = LONGEST, null: bool = False) -> Column:
    """Define a column of text, which is compared byte by byte."""
    return Column(name, "text", null, length=length)


def document(name: str, *, default: str | None = None, null: bool = False) -> Column:
    """Define a column of text of any length, such as JSON; no key."""
    return Column(name, "document", null, default)


def number(name: str, *, default: int | None = None, null: bool = False) -> Column:
    """Define a column of whole numbers, of 64 bits."""
    return Column(name, "number", null, default)


PROJECTS = Table(
    "projects",
    [
        text("id"),
        text("name"),
        document("api_key"),
        number("active"),
        text("created_at"),
        text("updated_at"),
        document("limits", default=EMPTY_DOCUMENT),
        document("metadata", default=EMPTY_DOCUMENT),
        document("header_metadata", default=EMPTY_LIST),
        text("cache", length=20, null=True),
        text("token_lifetime", length=20, null=True),
        text("token_max_lifetime", length=20, null=True),
        text("deactivated_at", null=True),
        document("parameters", default=EMPTY_DOCUMENT),
        *(document(name, default=EMPTY_DOCUMENT) for name in CLAIMED_LIMITS),
        document("origins", default=EMPTY_LIST),
        document("label_limits", default=EMPTY_DOCUMENT),
    ],
    ["id"],
    [Index(["name"], unique=True)],
    raises_revision=True,
)
TOKENS = Table(
    "tokens",
    [
        text("id"),
        text("sha256"),
        text("prefix"),
        text("project_id"),
        number("active"),
        text("created_at"),
        text("expires_at", null=True),
        number("max_requests", null=True),
        number("request_count", default=0),
        number("cache_hit_count", default=0),
        text("last_used_at", null=True),
        document("metadata", default=EMPTY_DOCUMENT),
        text("previous_sha256", null=True),
        text("previous_prefix", null=True),
        text("previous_ends_at", null=True),
        text("last_used_from", null=True),
        document("limits", default=EMPTY_DOCUMENT),
        document("header_metadata", default=EMPTY_LIST),
        text("cache", length=20, null=True),
        text("name", null=True),
        text("revoked_at", null=True),
        document("parameters", default=EMPTY_DOCUMENT),
        document("session_limits", default=EMPTY_DOCUMENT),
        document("origins", default=EMPTY_LIST),
        document("label_limits", default=EMPTY_DOCUMENT),
    ],
    ["id"],
    [
        Index(["sha256"], unique=True),
        Index(["project_id"]),
        Index(["previous_sha256"], unique=True),
        Index(["name"]),
    ],
    refers={"project_id": "projects"},
    raises_revision=True,
    quiet=["request_count", "cache_hit_count", "last_used_at", "last_used_from"],
)

LEDGER = (
    Table(
        "holds",
        [
            *map(text, ("call_id", "token_id", "project_id", "process")),
            *map(number, ("taken_at", "hour", *AMOUNTS, "counted", "running", "expires_at", "settled_at")),
            # What a call can use at most: it is charged with that where its usage does not become known.
            *(number(name, default=0) for name in ("most_tokens", "most_nano_usd")),
            *(text(name, null=True) for name in CLAIMED),
        ],
        ["call_id"],
        [
            *(Index([name, "settled_at"], where=f"{name} IS NOT NULL") for name in CLAIMED),
            Index(["token_id", "settled_at"]),
            Index(["project_id", "settled_at"]),
            Index(["process"]),
            Index(["settled_at"]),
        ],
    ),
    Table(
        "spend",
        [*map(text, ("subject", "period")), *map(number, ("starts_at", *AMOUNTS, "assumed"))],
        ["subject", "period", "starts_at"],
    ),
    Table(
        "rates",
        [text("subject"), *map(number, ("second", "requests", "tokens"))],
        ["subject", "second"],
        [Index(["second"])],
    ),
    Table(
        "topups",
        [*map(text, ("id", "subject", "unit", "period")), *map(number, ("amount", "at"))],
        ["id"],
        [Index(["subject"])],
    ),
    # Sessions of agents, as clients name them (store.ledger.sessions). A key of MySQL's has 3072 bytes.
    Table(
        "sessions",
        [
            *(text(name, length=64) for name in ("project_id", "token_id")),
            text("name", length=128),
            *(number(name, default=0) for name in ("first_at", "last_at")),
            *(number(name, default=0) for name in ("calls", "refused", "failed", "tokens", "nano_usd")),
        ],
        ["project_id", "token_id", "name"],
        [Index(["name"]), Index(["last_at"])],
    ),
    Table("rolled", [text("writer"), number("seq")], ["writer"]),
    # How far budgets were used: an event for each mark (store.ledger.budget_alerts).
    Table(
        "budget_marks",
        [
            *map(text, ("id", "subject", "name")),
            document("event"),
            *map(number, ("starts_at", "percent", "at", "told")),
        ],
        ["id"],
        [Index(["subject"]), Index(["told"])],
    ),
    # Calls that were charged with an assumption (store.ledger.assumed).
    Table(
        "assumed_charges",
        [
            *map(text, ("call_id", "token_id", "project_id", "outcome")),
            *map(number, ("hour", "at", "tokens", "nano_usd", "known_tokens", "known_nano_usd")),
            number("used_hour", default=0),
            *(text(name, null=True) for name in ("user_id", "model", "endpoint", *CLAIMED)),
        ],
        ["call_id"],
        [Index([name]) for name in ("token_id", "project_id", "outcome", "at", "used_hour")],
    ),
)
AUDIT = (
    # A row for each management action and for refused authentications (store.audit). It refers to nothing:
    # the log outlives what it is about.
    Table(
        "audit",
        [
            *map(number, ("seq", "version", "at")),
            number("since", null=True),
            *map(text, ("action", "outcome")),
            *(text(name, null=True) for name in ("actor", "address", "project_id", "token_id")),
            *(document(name, null=True) for name in ("reason", "before", "after")),
            number("count"),
            *map(text, ("previous", "hash")),
        ],
        ["seq"],
        [Index(["token_id"]), Index(["project_id"])],
    ),
    # The last row, kept apart: without it rows that are missing at the end would not be missed.
    Table(
        "audit_head",
        [number("id"), number("seq", null=True), text("hash", null=True)],
        ["id"],
        rows=[{"id": 1, "seq": 0, "hash": "0" * 64}],
    ),
)
# Whose the API's objects are, and whose usage is still to be counted (store.objects.table). Of millions of
# rows only those that are still to be counted are in the last index.
OBJECTS = Table(
    "objects",
    [
        text("id"),
        text("kind"),
        *(
            text(name, null=True)
            for name in ("project_id", "token_id", "parent", "status", "counted_by", "counted_writer")
        ),
        number("created_at"),
        number("due"),
        *(number(name, null=True) for name in ("expires_at", "deleted_at", "counted_at")),
    ],
    ["id"],
    [Index(["expires_at"]), Index(["counted_by"]), Index(["due", "created_at"], where="due = 1")],
)
# Hourly sums of calls (store.usage.rollups). A key of MySQL's has 3072 bytes at most, and a character four.
USAGE = Table(
    "usage_hours",
    [
        number("hour"),
        text("project_id", length=64),
        text("token_id", length=64),
        text("user_id", length=200),
        text("model", length=200),
        text("endpoint", length=100),
        *(number(name, default=0) for name in FIGURES),
    ],
    ["hour", "project_id", "user_id", "token_id", "model", "endpoint"],
    clustered=True,
)
# Their sums by the day (of UTC; `hour` is its first one), without the user: what long times are read from.
USAGE_DAYS = Table(
    "usage_days",
    [
        number("hour"),
        text("project_id", length=64),
        text("token_id", length=64),
        text("model", length=200),
        text("endpoint", length=100),
        *(number(name, default=0) for name in FIGURES),
    ],
    ["hour", "project_id", "token_id", "model", "endpoint"],
    clustered=True,
)
# The same by what headers of calls said for labels that their tokens allow, which no token tells later
# (store.usage.labels). Without the user: a key of MySQL's has no more room.
LABELS = Table(
    "label_hours",
    [
        number("hour"),
        text("project_id", length=64),
        text("label", length=64),
        text("value", length=128),
        text("token_id", length=64),
        text("model", length=200),
        text("endpoint", length=100),
        *(number(name, default=0) for name in FIGURES),
    ],
    ["hour", "project_id", "label", "value", "token_id", "model", "endpoint"],
    clustered=True,
)
PRICES = (
    Table(
        "price_lists",
        [number("number"), *map(text, ("name", "origin", "added_at", "sha256")), document("content")],
        ["number"],
    ),
    # What sums hold for calls that were repriced (store.prices).
    Table(
        "repricings",
        [
            text("call_id"),
            number("nano_usd"),
            *(number(name, default=0) for name in ("lower_bound", "approximate")),
        ],
        ["call_id"],
    ),
    # Keys that read what the vendor bills (store.keys.project_keys): no look-up of a call ever reads them.
    Table("admin_keys", [text("project_id"), document("api_key")], ["project_id"]),
)
# What is to be removed from the caches of all proxies.
PURGES = Table(
    "cache_purges",
    [
        *map(number, ("number", "at")),
        *(text(name, null=True) for name in ("project_id", "cache_key", "method")),
        document("target", null=True),
        number("beginning", default=0),
    ],
    ["number"],
)
MANAGEMENT = (
    # Named tokens of the management API (store.tokens.management_tokens).
    Table(
        "management_tokens",
        [
            *map(text, ("id", "name", "sha256", "prefix", "role")),
            document("projects"),
            text("created_at"),
            *(text(name, null=True) for name in ("expires_at", "revoked_at", "last_used_at")),
        ],
        ["id"],
        [Index(["name"], unique=True), Index(["sha256"], unique=True)],
    ),
    # The HTTP requests behind rows of the audit log.
    Table(
        "audit_requests",
        [
            number("seq"),
            text("request_id"),
            *(text(name, null=True) for name in ("correlation_id", "method", "path", "user_agent")),
        ],
        ["seq"],
        [Index(["request_id"])],
    ),
)
# What each proxy on the store says of itself (store.upkeep.fleet).
PROXIES = Table(
    "proxies",
    [text("writer"), text("host"), document("spool"), number("updated_at"), document("status")],
    ["writer"],
)
# What is wrong, and who was told (store.upkeep.alerts).
ALERTS = Table(
    "alerts",
    [
        *(text(name, length=64) for name in ("id", "state")),
        *map(number, ("since", "seen_at", "at", "told")),
        document("place"),
        document("event"),
    ],
    ["id"],
)
# How long calls took, counted by ranges (store.usage.timings).
TIMINGS = tuple(
    Table(
        name,
        [
            number("hour"),
            text("project_id", length=64),
            text("endpoint", length=100),
            text("measure", length=20),
            number("bucket"),
            number("calls", default=0),
        ],
        ["hour", "project_id", "endpoint", "measure", "bucket"],
        clustered=True,
    )
    for name in ("timing_hours", "timing_days")  # the latter by days of UTC, whose first hour `hour` is
)
# The latest calls of all proxies (store.usage.recent_calls).
RECENT_CALLS = Table(
    "recent_calls",
    [
        text("call_id", length=200),
        *map(number, ("at", "recorded_at")),
        text("request_id", length=200),
        *(text(name, length=200) for name in ("project_id", "token_id", "model", "endpoint", "outcome")),
        text("user_id", length=200, null=True),
        text("session", length=128, null=True),
        number("status", null=True),
        document("event"),
    ],
    ["call_id"],
    [
        Index(["at", "call_id"]),
        Index(["recorded_at"]),
        Index(["request_id"]),
        Index(["project_id", "at"]),
        Index(["token_id", "at"]),
        *(Index([name, "at"], where=f"{name} IS NOT NULL") for name in ("user_id", "session")),
    ],
)
REVISION = Table(
    "revision", [number("id"), number("number", null=True)], ["id"], rows=[{"id": 1, "number": 1}]
)

TABLES = (
    PROJECTS,
    TOKENS,
    *LEDGER,
    *AUDIT,
    OBJECTS,
    USAGE,
    USAGE_DAYS,
    LABELS,
    *PRICES,
    PURGES,
    *MANAGEMENT,
    *TIMINGS,
    PROXIES,
    ALERTS,
    RECENT_CALLS,
    REVISION,
)
"""In an order in which they can be filled: triggers raise the revision, which is the last, with each row of
others; while it is empty they have nothing to do."""


def pending(done: Sequence[str]) -> list[str]:
    """List the versions after those that a store has."""
    return [name for name in VERSIONS if name not in done]


def newer(done: Sequence[str]) -> str | None:
    """Return a version of the store that this llmproxy does not know, if there is one."""
    return next((name for name in reversed(done) if name not in VERSIONS), None)
