"""Read a JSON request once: all that the checks of a call want to know of its body.

Parsed here and nowhere else on the way upstream. What is small is read on the event loop, what is heavy by
another process, which hands back the answers and keeps the text (:mod:`addons.flow.request_body`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from addons.openai.bounds.output_cap import UNREADABLE, Capped, cap
from addons.openai.bounds.upper_bound import upper_bound
from addons.openai.bounds.usage_bound import UsageBound
from addons.openai.endpoint import Endpoint
from addons.openai.endpoints import resolve
from addons.openai.glance import Glance, glance_at
from addons.openai.http.json_bounds import problem_of
from addons.openai.http.members import BOM, Member, members, object_of
from addons.openai.http.messages import Request
from addons.openai.objects.references import References, in_value
from addons.openai.objects.switches import switches
from addons.openai.parameters import Values, parameters_in
from addons.openai.providers import OPENAI, Provider
from addons.openai.realtime.client_events import as_object
from addons.openai.realtime.tool_models import tool_models
from addons.openai.repeatable import is_repeatable
from addons.openai.requested_model import NO_BODY, Asked, NotJson, model_in
from addons.openai.usage.include_usage import StreamedRequest, read
from addons.openai.vocabulary import is_loaded

SMALL = 16 * 1024
"""Bytes of a body whose JSON is kept as long as the call is under way."""

SOON_COUNTED = 4 * 1024
"""Bytes of a body whose tokens are counted in a tenth of a millisecond; in four, if it is hostile."""


@dataclass(frozen=True, slots=True)
class Question:
    """Holds the call whose body is read, and what is to be told of it."""

    method: str
    target: str
    """Path and query, as the client sent them."""
    provider: Provider = OPENAI
    most_output: int | None = None
    """Tokens that the answer may have; None where that is not limited."""
    references: bool = False
    """It tells whether the objects are wanted that it refers to."""
    bounded: bool = False
    """It tells whether the most is wanted that it can use."""
    parameters: tuple[str, ...] = ()
    """Paths of the fields whose values are wanted."""
    exact: bool = False
    """It tells whether its tokens are counted for that."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def endpoint(self) -> Endpoint:
        return resolve(self.method, self.path, query=self.target.partition("?")[2])

    def model(self, asked: Asked) -> str | None:
        """Give the model itself: on Azure the one behind a deployment, where that is configured."""
        return self.provider.model(asked.model) or asked.model


class RequestReading:
    """Works each answer out once, when it is asked for or by :meth:`settle`. Never raises."""

    def __init__(self, data: bytes, question: Question) -> None:
        self._question = question
        self._data = data
        self._offset = len(BOM) if data.startswith(BOM) else 0
        self._text = ""
        self._members: list[Member] = []
        self.value: Mapping[str, Any] | None = None
        """The object; None where there is none, and once a body that is not small is settled."""
        self.problem: str | None = None
        """It says why there is no object that every parser reads alike."""
        try:
            self._text = data[self._offset :].decode("utf-8")
            self._members = members(self._text)
            self.value = object_of([(member.key, member.value) for member in self._members])
        except UnicodeDecodeError:
            self.problem = "the body is not UTF-8"
        except (ValueError, RecursionError, MemoryError):
            starts_as_array = self._text.lstrip()[:1] == "["
            self.problem = "the body is no JSON object" if starts_as_array else "the body is not JSON"

    @cached_property
    def _endpoint(self) -> Endpoint:
        return self._question.endpoint

    @cached_property
    def asked(self) -> Asked:
        """Give the model that is asked for."""
        content = NotJson(self.problem) if self.problem else self.value
        request = Request(self._question.method, self._question.target, provider=self._question.provider)
        return model_in(request, self._endpoint, content if self._data else NO_BODY)

    @cached_property
    def tool_models(self) -> tuple[Asked, ...]:
        """Give the models that tools of the API's own would use."""
        return tuple(tool_models(self.value))

    @cached_property
    def capped(self) -> Capped:
        """Give the request held against the longest answer that it may have."""
        limit = self._question.most_output
        if limit is None:
            return Capped()
        if self.value is None:
            return Capped(problem=UNREADABLE)
        model = self._question.model(self.asked)
        return cap(self._text, self._members, self._endpoint, model, limit, offset=self._offset)

    @cached_property
    def references(self) -> References:
        """Give the objects that it refers to."""
        if not self._data:
            return References()
        return in_value(self.value, self._data, self.problem, self._endpoint.objects)

    @cached_property
    def parameters(self) -> Values | str:
        """Give the values of the fields for which there are rules, or why they cannot be told."""
        return parameters_in(self.value, self._question.parameters)

    @cached_property
    def upper_bound(self) -> UsageBound:
        """Give the most that the call can use, with the cap that is written into it."""
        question = self._question
        value = self.value
        if value is not None and self.capped.added is not None:
            value = {**value, **dict([self.capped.added])}
        model = question.model(self.asked)
        return upper_bound(self._endpoint, model, value, exact=question.exact)

    @property
    def is_soon_bounded(self) -> bool:
        """Tell whether the upper bound takes less time than to hand it to a thread; it may count tokens."""
        if not (self._question.bounded and self._question.exact):
            return True
        return len(self._data) <= SOON_COUNTED and is_loaded(self._question.model(self.asked))

    @cached_property
    def streamed(self) -> StreamedRequest | None:
        """Give how a stream is asked for; None where none is."""
        return read(self._text, self._members, offset=self._offset) if self.value is not None else None

    @cached_property
    def repeatable(self) -> bool:
        """Tell whether its answer may be given again to an equal request."""
        if self._question.method in ("GET", "HEAD"):
            return self._endpoint.reusable and not self._data
        # Of members of one name servers may read the first or the last.
        if self.value is None or len(self.value) < len(self._members):
            return False
        return is_repeatable(self._endpoint, self.value)

    @cached_property
    def switches(self) -> Mapping[str, Any]:
        """Give what decides what becomes of the answer; also where not every parser reads the body alike."""
        return switches(self.value if self.problem is None else as_object(self._data))

    @cached_property
    def glance(self) -> Glance:
        """Give what the journal writes down."""
        return glance_at(self.value)

    def settle(self) -> RequestReading:
        """Work out all that the question asks for, and forget the body, unless it is small."""
        wanted = ["asked", "tool_models", "capped", "streamed", "repeatable", "switches", "glance"]
        wanted += ["references"] if self._question.references else []
        wanted += ["parameters"] if self._question.parameters else []
        wanted += ["upper_bound"] if self._question.bounded else []
        for name in wanted:
            getattr(self, name)
        if len(self._data) > SMALL:
            self._data, self._text, self._members, self.value = b"", "", [], None
            self.__dict__.pop("_endpoint", None)  # a row cannot be handed to another process
        return self


def read_heavy(data: bytes, question: Question) -> RequestReading | str:
    """Read a body that may be a large one, or hostile; why not, where it is beyond all bounds."""
    if problem := problem_of(data):
        return problem
    return RequestReading(data, question).settle()
