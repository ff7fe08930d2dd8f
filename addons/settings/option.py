"""Declare one option of mitmproxy that is ours beside the setting that it becomes; it is read once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mitmproxy import exceptions
from mitmproxy.options import Options

Add = Callable[..., None]
"""mitmproxy's ``add_option``: name, type, default, help."""
Read = Callable[[str, Any], Any]
"""Makes of an option's name and value what the setting is. Raises OptionsError."""


@dataclass(frozen=True, slots=True)
class Option:
    """Describes an option as users see it."""

    name: str
    kind: Any
    default: Any
    """A value, or a function that finds it when the option is declared."""
    help: str
    choices: Sequence[str] | None = None

    def declare(self, add: Add) -> None:
        """Register it."""
        default = self.default() if callable(self.default) else self.default
        add(self.name, self.kind, default, self.help, **({"choices": self.choices} if self.choices else {}))


def setting(*options: Option, read: Callable[[Options], Any], default: Any = dataclasses.MISSING) -> Any:
    """Make the field of a setting that is read from several options, or from mitmproxy's own.

    `default`: of settings that are made without options, as tests do.
    """
    return dataclasses.field(default=default, metadata={"options": options, "read": read})


def one(
    name: str,
    kind: Any,
    default: Any,
    help_text: str,
    *,
    read: Read | None = None,
    choices: Sequence[str] | None = None,
    otherwise: Any = dataclasses.MISSING,
) -> Any:
    """Make the field of a setting that is one option.

    `read` makes the setting of the name and the value; without it the value is the setting, which is one of
    `choices`, where those are given. `otherwise` is the `default` of :func:`setting`.
    """

    def found(options: Options) -> Any:
        value = getattr(options, name)
        if read is not None:
            return read(name, value)
        return value if choices is None else choice(name, value, choices)

    return setting(Option(name, kind, default, help_text, choices), read=found, default=otherwise)


def options_of(settings: type) -> list[Option]:
    """List the options of a class of settings, in the order of its fields."""
    return [each for field in dataclasses.fields(settings) for each in field.metadata["options"]]


def choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Check a value: mitmproxy does not, where it was given on the command line. Raises OptionsError."""
    if value not in choices:
        raise exceptions.OptionsError(f"llmproxy: option {name}={value!r}: use one of {', '.join(choices)}.")
    return value


def positive(name: str, value: int) -> int:
    """Check a number that is 1 at least. Raises OptionsError."""
    if value < 1:
        raise exceptions.OptionsError(f"llmproxy: option {name}={value}: use a number from 1 on.")
    return value


def not_negative(name: str, value: int) -> int:
    """Check a number that is 0 at least. Raises OptionsError."""
    if value < 0:
        raise exceptions.OptionsError(f"llmproxy: option {name}={value}: use a number from 0 on.")
    return value
