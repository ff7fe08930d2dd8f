"""What the installed SDK knows of the API, held against our tables.

A new release of the SDK fails here with the name of what the tables do not know yet: a route, a member
that names an object, an event type, a member of a usage. Decide what to do with it, then add it: routes to
:mod:`addons.openai.endpoints`, members to :mod:`addons.openai.objects.fields`, usage to
:mod:`addons.openai.usage.usage`, and what needs nothing to the lists here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import openai

from addons.openai.answers import assemble_agents, streams
from addons.openai.endpoints import ROUTES, resolve
from addons.openai.objects.fields import QUERY_OF_AGENTS, QUERY_OF_CALLS, QUERY_OF_THREADS, Field
from addons.openai.objects.kinds import place_of
from addons.openai.realtime import realtime

SDK = Path(openai.__file__).parent
VERBS = {"_get": "GET", "_post": "POST", "_delete": "DELETE", "_patch": "PATCH", "_put": "PUT"}
KNOWN_EVENTS = frozenset((Path(__file__).parent / "sdk_events.txt").read_text(encoding="utf-8").split())


class Members(NamedTuple):
    """A class of the SDK's types, and the annotations of its members."""

    file: str
    name: str
    members: dict[str, str]


def trees(folder: str) -> Iterator[tuple[str, ast.Module]]:
    """Each file of the SDK below a folder, without the organization's API."""
    for path in sorted((SDK / folder).rglob("*.py")):
        file = path.relative_to(SDK / folder)
        if "admin" not in file.parts:
            yield str(file), ast.parse(path.read_text(encoding="utf-8"))


def classes() -> Iterator[Members]:
    for file, tree in trees("types"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield Members(
                    file,
                    node.name,
                    {
                        line.target.id: ast.unparse(line.annotation)
                        for line in node.body
                        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
                    },
                )


def routes() -> set[tuple[str, str, bool]]:
    """Method, path with ``ID`` in the place of each id, and whether it is a WebSocket."""
    found = set()
    for _, tree in trees("resources"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                method = VERBS.get(node.func.attr) or _listing(node)
                if method and node.args and (path := _path(node.args[0])):
                    found.add((method, path.partition("?")[0], False))
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "merge_raw_path":
                found.add(("GET", _raw_path(node.value), True))
    return found


def _listing(call: ast.Call) -> str | None:
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "_get_api_list":
        return None
    named = [each.value for each in call.keywords if each.arg == "method"]
    return str(ast.literal_eval(named[0])).upper() if named else "GET"


def _path(node: ast.expr) -> str | None:
    if isinstance(node, ast.Call) and node.args:  # path_template("/batches/{batch_id}", ...)
        return _path(node.args[0])
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "ID" for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{[^}]*\}", "ID", node.value)
    return None


def _raw_path(node: ast.expr) -> str:
    """The longest literal of ``path.rstrip(b"/") + b"/responses" + separator + query``, or of a template."""
    found = max(re.findall(r"'(/[^']*)'", ast.unparse(node)), key=len)
    return re.sub(r"\{[^}]*\}", "ID", found)


def test_each_route_has_a_row() -> None:
    found = routes()
    assert len(found) > 100
    unknown = {
        (method, path)
        for method, path, socket in found
        if resolve(method, f"/v1{path}", upgrade=socket).name == "other"
    }
    assert not unknown


FREE = frozenset({"models", "organization", "projects", "webhook_endpoints", "safety"})
"""Below these nothing has an owner: everybody's, or the administrators'."""


def test_each_id_in_a_path_has_a_kind() -> None:
    unknown = {
        path
        for _, path, socket in routes()
        if "ID" in path
        and not socket
        and path.split("/")[1] not in FREE
        and ((place := place_of(f"/v1{path}")) is None or place.id is None)
    }
    assert unknown <= {
        "/fine_tuning/checkpoints/ID/permissions",
        "/fine_tuning/checkpoints/ID/permissions/ID",
    }


LOOKS_LIKE_A_REFERENCE = re.compile(
    r".*_ids?$|^(?:file|container|conversation|training_file|validation_file|consent|video|voice|characters)$"
)
NO_OBJECTS = {
    **dict.fromkeys(
        ("call_id", "tool_call_id", "approval_request_id", "caller_id"), "pairs items of a request"
    ),
    **dict.fromkeys(("item_id", "previous_item_id", "event_id", "delegation_id"), "of the session itself"),
    **dict.fromkeys(("turn_id", "request_id", "subagent_id", "field_id"), "of the session in the path"),
    **dict.fromkeys(("group_id", "client_id", "client_event_id"), "the client's own, for its records"),
    **dict.fromkeys(("connector_id", "tunnel_id"), "of other services"),
    **dict.fromkeys(("project_id", "project_ids"), "the organization's"),
    "continuation_id": "of the background work that is continued, together with its response",
    "stream_id": "a lane of the session",
    "part_ids": "of the upload in the path",
    "file": "a file's bytes; as an object it holds `file_id`",
    "conversation_id": "in the path only",
    "eval_id": "in the path only",
    "credential_id": "in the path, and a tool's",
}
"""Members that look like references, and why they name nothing that has an owner."""


def _names(field: Field, seen: set[int]) -> Iterator[str]:
    if id(field) not in seen:
        seen.add(id(field))
        for name, member in field.members.items():
            if member.kind is not None:
                yield name
            yield from _names(member, seen)
        yield from _names(field.others, seen) if field.others else ()


def test_each_member_that_names_an_object_is_looked_for() -> None:
    looked_for = {name for route in ROUTES for name in _names(route.endpoint.objects, set())}
    looked_for |= {*QUERY_OF_THREADS, *QUERY_OF_CALLS, *QUERY_OF_AGENTS}
    in_path = {"thread_id", "vector_store_id", "vault_id"}
    unknown = {
        (name, each.file)
        for each in classes()
        if re.search(r"_params?\.py$|client_event", each.file)
        for name in each.members
        if LOOKS_LIKE_A_REFERENCE.match(name) and name not in looked_for | in_path | NO_OBJECTS.keys()
    }
    assert not unknown


LITERAL = re.compile(r"(?:Required\[)?Literal\[('[^\]]*')\]\]?")


def event_types() -> Iterator[tuple[str, Members]]:
    """Each value that ``type`` (of a thread's events ``event``) may have, if it looks like an event's."""
    for each in classes():
        for key in ("type", "event"):
            if match := LITERAL.fullmatch(each.members.get(key, "")):
                names = ast.literal_eval(f"[{match[1]}]")
                yield from ((name, each) for name in names if "." in name or name == "error")


def test_each_event_type_has_been_decided_on() -> None:
    assert {name for name, _ in event_types()} - KNOWN_EVENTS == set()


def test_each_event_that_holds_a_usage_is_read() -> None:
    assembled = tuple(start for start, _ in streams.BY_TYPE)
    of_sessions = {realtime.TRANSCRIBED, realtime.SESSION_USAGE, realtime.SESSION_CLOSED}
    assert assemble_agents.ENDS
    unread = {
        name
        for name, each in event_types()
        if "usage" in each.members and not name.startswith(assembled) and name not in of_sessions
    }
    assert not unread


USAGE_MEMBERS = frozenset(
    {
        # The figures, and the details that they have.
        *("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "total_tokens", "seconds"),
        *("input_tokens_details", "output_tokens_details", "prompt_tokens_details"),
        *("input_token_details", "output_token_details", "completion_tokens_details"),
        *("cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_tokens", "image_tokens"),
        *("text_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"),
        *("cached_tokens_details", "cache_write_tokens_details", "ttl_30m_tokens", "ttl_12h_tokens"),
        *("cached_image_tokens", "cached_text_tokens"),
        # Parts of `seconds`.
        *("active_seconds", "paused_seconds"),
        # Beside the figures: what they are of.
        *("type", "model", "run_model_name", "invocation_count", "event_id", "client_event_id", "usage"),
        *("context_window", "image_gen", "web_search", "num_requests"),
    }
)
"""Members of usage objects that somebody has decided on (:mod:`addons.openai.usage.usage`)."""


def test_each_member_of_a_usage_has_been_decided_on() -> None:
    unknown = {
        (name, each.name)
        for each in classes()
        if re.search(r"Usage|Tokens?Details", each.name)
        for name in each.members
        if name not in USAGE_MEMBERS
    }
    assert not unknown
