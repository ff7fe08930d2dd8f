"""Find how a request limits its answer: by which members, what holds without them, for how many answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Body = Mapping[str, Any]


def one_answer(_: Body) -> int:
    """Count the answers that a request asks for, where it can't ask for more than one."""
    return 1


def chat_choices(body: Body) -> int:
    """Count the choices that a chat asks for."""
    return positive(body, "n") or 1


def completion_choices(body: Body) -> int:
    """Count the choices that a legacy completion asks for: of several prompts as many for each."""
    prompt = body.get("prompt")
    is_ids = isinstance(prompt, list) and all(isinstance(item, int) for item in prompt)
    prompts = len(prompt) if isinstance(prompt, list) and prompt and not is_ids else 1
    return max(positive(body, "n") or 1, positive(body, "best_of") or 1) * prompts


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """Says how requests of an endpoint limit their answers."""

    members: tuple[str, ...] = ()
    """The members of a request that limit the length: the current one, then older ones."""
    default: int | None = None
    """Tokens of an answer that nothing limits, where that is less than the model's."""
    choices: Callable[[Body], int] = one_answer
    """Counts the answers that a request asks for."""

    def asked(self, body: Body) -> int | None:
        """Give the largest limit that a request sets, else the default; None where there is neither."""
        return max((positive(body, name) or 0 for name in self.members), default=0) or self.default


ANY_LENGTH = OutputLimits()


def positive(body: Body, key: str) -> int | None:
    """Read a member that is a positive whole number; None for anything else."""
    value = body.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
