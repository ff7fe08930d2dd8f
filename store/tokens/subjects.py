"""List whose limits there are: what a call counts for, and where its limits are written.

Its token and its project are known. What it claims besides (a session, a user, the address that it comes
from, labels) splits what they may use, and counts beside them, so nothing is gained by claiming something
else. Its hold says what it claimed; where there are no such limits, nothing is kept of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal

from store.core.credential_patterns import CREDENTIAL
from store.tokens.calendar import PERIODS, TOTAL
from store.tokens.limits import NONE, Limits, stricter

if TYPE_CHECKING:
    from store.tokens.models import Grant

Side = Literal["token", "project", "session", "user", "address", "label"]
"""A subject's name."""
Member = tuple[str, Limits]
"""An id, empty where nothing is counted for it, and its limits."""
RECURRING = tuple(period for period in PERIODS if period != TOTAL)
LONGEST_NAME = 128
"""Characters of what is claimed; of a longer one, or one that not every database takes, a hash is kept."""
NO_VALUE = "(none)"
"""In place of a label's value, for people, where a call has no such label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Describes one kind of subject. Each one has an id of its own, by which the ledger's sums are kept."""

    side: Side
    columns: Sequence[str]
    """Their ids in holds and charges: a call counts for as many of them at most."""
    members: Callable[[Grant], Sequence[Member]]
    """It says which of them a call counts for."""
    whose: str
    """In a refusal: whose limit it is; ``{name}`` is what people call it."""
    name: str
    """In a refusal: who allows something."""
    table: str = ""
    """That has its limits; empty for what is claimed."""
    project_column: str = ""
    """It is that of that table: the project's id."""
    periods: tuple[str, ...] = PERIODS
    """In which its use is summed."""

    def limits_of(self, grant: Grant, id_: str) -> Limits:
        """Give the limits of one of them."""
        return next((limits for member, limits in self.members(grant) if member == id_), NONE)


def session_id(token_id: str, name: str) -> str:
    """Give the id of a session of a token; without a name it is that of all its calls that name none."""
    return f"session:{token_id}/{_kept(name)}"


def user_id(project_id: str, name: str) -> str:
    """Give the id of a user of a project."""
    return f"user:{project_id}/{_kept(name)}"


def address_id(project_id: str, name: str) -> str:
    """Give the id of an address from which a project is called."""
    return f"address:{project_id}/{_kept(name)}"


def label_id(owner_id: str, label: str, value: str) -> str:
    """Give the id of a label's value, of a project or token; without one, that of calls without the label."""
    return f"label:{owner_id}/{label}={_kept(value)}"


def label_claim(label: str) -> str:
    """Give the name under which a call's claims have the value of a label."""
    return f"label:{label}"


def _sessions(grant: Grant) -> Sequence[Member]:
    limits = stricter(grant.token.session_limits, grant.project.session_limits)
    id_ = session_id(grant.token.id, grant.claims.get("session", "")) if limits.need_claims else ""
    return [(id_, limits)]


def _users(grant: Grant) -> Sequence[Member]:
    limits = grant.project.user_limits
    # Who names no user shares what one may use with all such calls of the token.
    name = grant.claims.get("user") or f"token {grant.token.id}"
    return [(user_id(grant.project.id, name) if limits.need_claims else "", limits)]


def _addresses(grant: Grant) -> Sequence[Member]:
    limits, address = grant.project.address_limits, grant.claims.get("address")
    return [(address_id(grant.project.id, address) if address and limits.need_claims else "", limits)]


def _labels(grant: Grant) -> Sequence[Member]:
    """Give the labels of project and token. What either says of itself is no client's to claim."""
    if not (grant.project.label_limits or grant.token.label_limits):
        return ()
    said = grant.metadata
    return [
        (label_id(owner.id, label, said.get(label) or grant.claims.get(label_claim(label), "")), limits)
        for owner in (grant.project, grant.token)
        for label, limits in owner.label_limits.items()
        if limits.need_claims
    ]


def _kept(name: str) -> str:
    if len(name) <= LONGEST_NAME and name.isprintable() and not CREDENTIAL.search(name):
        return name
    return f"~{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def name_in(id_: str) -> str:
    """Give what people call a claimed subject: its id without its kind."""
    return id_.partition(":")[2].removesuffix("/")


def own_name_in(id_: str) -> str | None:
    """Give its name within its project or token: ``ada``, ``team=search``; None of those themselves."""
    if not id_.partition("/")[1]:
        return None
    name = id_.partition("/")[2]
    without = id_.startswith(f"{LABEL.side}:") and not name.partition("=")[2]
    return f"{name}{NO_VALUE}" if without else name


def owner_in(id_: str) -> str:
    """Give the id of the project or token whose subject it is."""
    return id_.partition(":")[2].partition("/")[0]


def label_in(id_: str) -> str:
    """Give the name of a label whose value it is."""
    return id_.partition("/")[2].partition("=")[0]


TOKEN = Subject(
    side="token",
    columns=("token_id",),
    members=lambda grant: [(grant.token.id, grant.token.limits)],
    whose="The proxy token's",
    name="the proxy token",
    table="tokens",
    project_column="project_id",
)
PROJECT = Subject(
    side="project",
    columns=("project_id",),
    members=lambda grant: [(grant.project.id, grant.project.limits)],
    whose="The project's",
    name="its project",
    table="projects",
    project_column="id",
)
SESSION = Subject(
    side="session",
    columns=("session_key",),
    members=_sessions,
    whose="This agent session's",
    name="what is allowed for a session",
    periods=(TOTAL,),
)
USER = Subject(
    side="user",
    columns=("user_key",),
    members=_users,
    whose="The user's",
    name="what its project allows each user",
    periods=RECURRING,
)
ADDRESS = Subject(
    side="address",
    columns=("address_key",),
    members=_addresses,
    whose="The client address's",
    name="what its project allows each client address",
    periods=RECURRING,
)
LABEL = Subject(
    side="label",
    columns=("label_1_key", "label_2_key", "label_3_key", "label_4_key"),
    members=_labels,
    whose="The label {name}'s",
    name="what is allowed for each value of a label",
    periods=RECURRING,
)
KNOWN = (TOKEN, PROJECT)
"""Those that a call's token names."""
CLAIMED = (SESSION, USER, ADDRESS, LABEL)
"""Those that only its hold names."""
SUBJECTS = (*KNOWN, *CLAIMED)
"""In the order in which their limits are looked at."""


def subject_of(side: str) -> Subject:
    """Give the subject of this name."""
    return next(subject for subject in SUBJECTS if subject.side == side)


def ids_of_grant(grant: Grant) -> dict[str, str]:
    """Give the ids of what the calls of a grant count for, by their columns; empty if none."""
    found: dict[str, str] = {}
    for subject in SUBJECTS:
        ids = (id_ for id_, _ in subject.members(grant))
        found.update(zip_longest(subject.columns, ids, fillvalue=""))
    return found


def ids_of_row(row: Mapping[str, Any]) -> dict[str, str]:
    """Give the ids of a hold or a charge, by their columns."""
    return {column: row[column] or "" for subject in SUBJECTS for column in subject.columns}


def claimed_in(row: Mapping[str, Any]) -> dict[str, str]:
    """Give the ids of what the call of a hold claimed, by their columns."""
    return {column: row[column] for subject in CLAIMED for column in subject.columns if row[column]}


def subjects_of(ids: Mapping[str, str]) -> Iterator[tuple[Subject, str]]:
    """Give what a call counts for, with ids; `ids` are by their columns, and empty where there is none."""
    for subject in SUBJECTS:
        for column in subject.columns:
            if id_ := ids.get(column, ""):
                yield subject, id_
