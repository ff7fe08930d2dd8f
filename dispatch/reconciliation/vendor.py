"""Read the vendor's own figures: usage and costs of an organisation, by day, model, project and key.

Source: https://platform.openai.com/docs/api-reference/usage (and ``/costs``, ``/projects``,
``/project-api-keys``). Only an admin key may read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from store.core.errors import Invalid, StoreError
from store.core.secret import Secret
from store.core.urls import split_url

BASE_URL = "https://api.openai.com/v1"
KINDS = ("completions", "embeddings", "moderations", "images", "audio_speeches", "audio_transcriptions")
"""Kinds of usage that count requests to models."""
DAYS_A_PAGE, COSTS_A_PAGE = 31, 180
"""Largest pages that the API takes for buckets of a day."""
SECONDS = 60.0
LARGEST = 64 * 2**20
"""Bytes of one page."""
PAGES = 1000
"""A cursor that never ends is one that goes in a circle."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")

Json = Mapping[str, Any]


class VendorError(StoreError):
    """The vendor's figures could not be read; the text names the place and the remedy."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Says what one key used of one model on one day."""

    day: str
    kind: str
    model: str
    project: str | None
    key: str | None
    batch: bool
    requests: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Amount:
    """Says what was billed for one line on one day."""

    day: str
    line: str
    project: str | None
    key: str | None
    usd: Decimal


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Describes a key of the organisation, as far as the vendor shows it."""

    id: str
    project: str
    redacted: str

    def fits(self, key: Secret) -> bool:
        """Tell whether `key` may be this one, by the characters at both ends that are shown."""
        text = key.reveal()
        shown = self.redacted.replace("*", ".")
        start, end = shown.split(".", 1)[0], shown.rsplit(".", 1)[-1]
        hidden = "." in shown and len(start) + len(end) >= 6
        return hidden and len(text) > len(start) + len(end) and text.startswith(start) and text.endswith(end)


class Vendor:
    """Reads the figures of one organisation. Every method raises VendorError."""

    def __init__(self, admin_key: Secret, *, base_url: str = BASE_URL, ca_certs: str | None = None) -> None:
        parts = split_url(base_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise Invalid(f"{base_url!r}: an admin key goes by https:// only (http:// on this machine).")
        self._base = base_url.rstrip("/")
        self._admin_key = admin_key
        timeout = urllib3.Timeout(connect=10, read=SECONDS)
        # The API's own limits are low here: it says when to come again.
        retries = urllib3.Retry(
            5,
            backoff_factor=0.5,
            status_forcelist=[429, 500, 502, 503, 504],
            raise_on_status=False,
            redirect=0,
        )
        self._pool = urllib3.PoolManager(timeout=timeout, retries=retries, ca_certs=ca_certs)

    def usage(self, start: datetime, end: datetime, projects: Sequence[str]) -> Iterator[Usage]:
        """Read what `projects` used, in whole days (UTC)."""
        group = ("project_id", "api_key_id", "model")
        for kind in KINDS:
            groups = (*group, "batch") if kind == "completions" else group
            query = _period(start, end, DAYS_A_PAGE, groups, projects)
            for day, found in self._buckets(f"/organization/usage/{kind}", query):
                yield Usage(
                    day=day,
                    kind=kind,
                    model=str(found.get("model") or ""),
                    project=found.get("project_id"),
                    key=found.get("api_key_id"),
                    batch=bool(found.get("batch")),
                    requests=_count(found.get("num_model_requests")),
                    input_tokens=_count(found.get("input_tokens")),
                    output_tokens=_count(found.get("output_tokens")),
                )

    def costs(self, start: datetime, end: datetime, projects: Sequence[str]) -> Iterator[Amount]:
        """Read what was billed to `projects`, in whole days (UTC)."""
        query = _period(start, end, COSTS_A_PAGE, ("project_id", "line_item", "api_key_id"), projects)
        for day, found in self._buckets("/organization/costs", query):
            amount = found.get("amount")
            amount = amount if isinstance(amount, Mapping) else {}
            if str(amount.get("currency", "usd")).lower() != "usd":
                raise VendorError(
                    f"{self._base}: costs are in {amount.get('currency')!r}, not in US dollars."
                )
            yield Amount(
                day=day,
                line=str(found.get("line_item") or ""),
                project=found.get("project_id"),
                key=found.get("api_key_id"),
                usd=Decimal(str(amount.get("value") or 0)),
            )

    def api_keys(self) -> Iterator[ApiKey]:
        """List the keys of all projects."""
        for project in self._listed("/organization/projects"):
            id_ = str(project.get("id"))
            for key in self._listed(f"/organization/projects/{quote(id_, safe='')}/api_keys"):
                yield ApiKey(str(key.get("id")), id_, str(key.get("redacted_value") or ""))

    def _buckets(self, path: str, query: list[tuple[str, str]]) -> Iterator[tuple[str, Json]]:
        """Yield each result with the day of its bucket, page by page."""
        page: str | None = None
        for _ in range(PAGES):
            answer = self._get(path, [*query, *([("page", page)] if page else [])])
            for bucket in _list(answer.get("data")):
                day = f"{datetime.fromtimestamp(_count(bucket.get('start_time')), UTC):%Y-%m-%d}"
                for found in _list(bucket.get("results", bucket.get("result"))):
                    yield day, found
            page = answer.get("next_page")
            if not answer.get("has_more") or not page:
                return
        raise VendorError(f"{self._base}{path}: more than {PAGES} pages; ask for a shorter time.")

    def _listed(self, path: str) -> Iterator[Json]:
        after: str | None = None
        for _ in range(PAGES):
            answer = self._get(path, [("limit", "100"), *([("after", after)] if after else [])])
            found = _list(answer.get("data"))
            yield from found
            if not answer.get("has_more") or not found:
                return
            after = str(answer.get("last_id") or found[-1].get("id"))
        raise VendorError(f"{self._base}{path}: more than {PAGES} pages.")

    def _get(self, path: str, query: list[tuple[str, str]]) -> Json:
        url = f"{self._base}{path}?{urlencode(query)}"
        headers = {"authorization": f"Bearer {self._admin_key.reveal()}", "accept": "application/json"}
        try:
            answer = self._pool.request("GET", url, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise VendorError(f"{self._base}{path}: {type(error).__name__}: no answer; try again.") from error
        if answer.status in (401, 403):
            raise VendorError(
                f"{self._base}{path}: the API answered {answer.status}; an admin key with the right to read "
                "usage is needed (`llmproxy keys set-admin`)."
            )
        if answer.status != 200 or len(answer.data) > LARGEST:
            raise VendorError(f"{self._base}{path}: the API answered {answer.status}; try again later.")
        try:
            value = json.loads(answer.data)
        except ValueError as error:
            raise VendorError(f"{self._base}{path}: the answer is no JSON.") from error
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            raise VendorError(f"{self._base}{path}: the answer is no page of results.")
        return value


def _period(
    start: datetime, end: datetime, limit: int, group_by: Sequence[str], projects: Sequence[str]
) -> list[tuple[str, str]]:
    return [
        ("start_time", str(int(start.timestamp()))),
        ("end_time", str(int(end.timestamp()))),
        ("bucket_width", "1d"),
        ("limit", str(limit)),
        *(("group_by[]", one) for one in group_by),
        *(("project_ids[]", one) for one in projects),
    ]


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _list(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
