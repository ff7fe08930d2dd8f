"""The event stream of an agent's session becomes the turn that it shows.

A turn is what is billed. A stream may show several, of the agent and of its subagents: the last one of the
agent itself that has ended is taken, and the others are named, ended or not.
"""

from __future__ import annotations

from collections.abc import Iterable

from addons.openai.http.values import Json, text

TURN = "agent.session.turn"
ENDS = frozenset({f"{TURN}.completed", f"{TURN}.failed", f"{TURN}.cancelled"})


def turn(events: Iterable[Json]) -> Json | None:
    """Make ``agent.session.*`` the turn with its ``usage`` and ``items``; the session where none has ended.

    >>> turn([{"type": "agent.session.turn.completed", "turn": {"id": "turn_1", "usage": None}}])
    {'id': 'turn_1', 'usage': None, 'object': 'agent.session.turn'}
    """
    ended: list[Json] = []
    seen: dict[str, None] = {}
    items: dict[str, list[Json]] = {}
    session: Json = {}
    for event in events:
        if isinstance(event.get("turn"), dict) and (id_ := text(event["turn"].get("id"))):
            seen[id_] = None
        if text(event.get("type")) in ENDS and isinstance(event.get("turn"), dict):
            usage = event.get("usage") or event["turn"].get("usage")
            ended.append({**event["turn"], "object": TURN, "usage": usage})
        elif text(event.get("type")) == f"{TURN}.item.done" and isinstance(event.get("item"), dict):
            items.setdefault(text(event.get("turn_id")), []).append(event["item"])
        elif isinstance(event.get("session"), dict):
            session = event["session"]
    if not ended:
        return session or None
    own = [one for one in ended if one.get("subagent_id") is None]
    chosen = (own or ended)[-1]
    if said := items.get(text(chosen.get("id"))):
        chosen["items"] = said
    if others := [id_ for id_ in seen if id_ != chosen.get("id")]:
        chosen["other_turns"] = others
    agent = session.get("agent")
    if isinstance(agent, dict) and "model" not in chosen and agent.get("model"):
        chosen["model"] = agent["model"]
    return chosen
