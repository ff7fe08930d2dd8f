"""Define the row of an endpoint: all that the proxy has to know of it. The rows are those of `endpoints`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto

from addons.openai.bounds.output_limits import ANY_LENGTH, OutputLimits
from addons.openai.bounds.usage_bound import Bound, UploadBound
from addons.openai.counting.counters import Counter
from addons.openai.http.values import Json
from addons.openai.objects import fields
from addons.openai.objects.fields import Field
from addons.openai.usage.hosted_tools import ReadTools, of_items
from addons.openai.usage.units import BY_TOKENS, UsageReader

Assemble = Callable[[Sequence[Json]], Json | None]
"""Makes the events of a stream the object that the same call returns without streaming."""


class Bills(Flag):
    """Says what a call is billed by. Two of them: which one depends on the model."""

    NOTHING = 0
    TOKENS = auto()
    CHARACTERS = auto()
    SECONDS = auto()
    IMAGES = auto()
    LATER = auto()
    """After the answer, or by what the traffic does not show: time, storage, the lines of a file."""
    UNKNOWN = auto()


class ModelIn(Flag):
    """Says where a request names its model. Several of them: in any one."""

    NOWHERE = 0
    """No model is involved."""
    JSON = auto()
    """``model`` of a JSON body."""
    FORM = auto()
    """The field ``model`` of a multipart form, anywhere in it."""
    QUERY = auto()
    """``model`` of the query; Azure's realtime calls it ``deployment``."""
    SESSION = auto()
    """``session.model`` of a JSON body, or of the JSON in a form's field ``session``."""
    PATH = auto()
    """A part of the path. (Azure's deployments: see :mod:`addons.openai.providers`.)"""
    FRAMES = auto()
    """``model`` of the events that a client sends over its WebSocket."""
    ELSEWHERE = auto()
    """Only the answer tells: an assistant, a stored prompt, a file or an earlier job sets it."""


class Takes(Flag):
    """Lists the types of body that an endpoint reads.

    Any other is refused: a check might read it differently.
    """

    JSON = auto()
    FORM = auto()
    """A multipart form."""
    SDP = auto()
    """A session description, of WebRTC."""
    ANY = auto()
    """Not known to this version."""


@dataclass(frozen=True, slots=True)
class StreamForm:
    """Says how an endpoint streams an answer."""

    piece: bytes = b'"delta"'
    """It is what stands once in each event that brings a piece of the answer."""
    usage_when_asked: bool = False
    """It tells whether the usage comes only where the request asks for it (``stream_options``)."""
    named_events: bool = True
    """It tells whether events have names; else an error is one more data object."""
    assemble: Assemble | None = None
    """It is what makes an answer of events that do not say by themselves what they are."""


NAMED_EVENTS = StreamForm()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Says what an endpoint is: its name as in events, its risk class, its bill and its model."""

    name: str
    risk: str
    bills: Bills = Bills.NOTHING
    model_in: ModelIn = ModelIn.NOWHERE
    takes: Takes = Takes.JSON
    stream: StreamForm = NAMED_EVENTS
    answers_json: bool = False
    """It tells whether it answers with JSON or a stream of it, and with nothing else."""
    names_model: bool = True
    """It tells whether Azure's answers name the model itself: those of embeddings have a name that no list
    knows."""
    output: OutputLimits = ANY_LENGTH
    """It says how requests limit the length of their answers."""
    counter: Counter | None = field(default=None, compare=False)
    """It is what counts the tokens of its bodies, where they hold the text that is billed."""
    bound: Bound | None = field(default=None, compare=False)
    """It is what bounds the use of a call by its JSON body; None where that does not show."""
    upload_bound: UploadBound | None = field(default=None, compare=False)
    """It is what bounds the use of a form that is passed on as it comes."""
    usage: UsageReader = field(default=BY_TOKENS, compare=False)
    """It is what reads the use of a call beside the usage that its answer reports."""
    hosted_tools: ReadTools = field(default=of_items, compare=False)
    """It is what reads which of the API's own tools ran for an answer."""
    by_name: bool = False
    """It tells whether it is allowed by its own name only, not by its class: what it opens does not pass the
    proxy."""
    sequential: bool = False
    """It is that of a WebSocket: whether each request has its answer, in turn; else the server begins any by
    itself."""
    ephemeral: str = ""
    """The kind of ephemeral key that it makes, or may be called with."""
    shown_again: bool = False
    """It tells whether the API keeps its answers and shows them again, with their usage."""
    whole_forms: bool = False
    """It tells whether its forms may name objects, and so are read whole before they go on."""
    secret: bool = False
    """It tells whether its bodies hold secrets, which are kept out of what is recorded."""
    reusable: bool = False
    """It tells whether an answer may be given again to an equal request (:mod:`addons.openai.repeatable`)."""
    objects: Field = field(default=fields.NOTHING, compare=False)
    """The fields in which its bodies, and the events of its sessions, name objects."""
    objects_in_query: Mapping[str, str] = field(default_factory=dict, compare=False)
    """The parameters of its query that name objects, and of which kind."""

    @property
    def counted(self) -> bool:
        """Tell whether the bodies hold the text that is billed: then its tokens can be counted."""
        return self.counter is not None

    @property
    def bills_output(self) -> bool:
        """Tell whether answers hold tokens that are billed, as far as is known."""
        return self.counter is None or self.counter.output is not None

    def allowed_by(self, names: Collection[str]) -> bool:
        """Tell whether a list of endpoint names and risk classes has it."""
        return self.name in names or (self.risk in names and not self.by_name)


@dataclass(frozen=True, slots=True)
class Route:
    """Is a row of the table: an endpoint, and the methods and path (below the version) that lead to it."""

    methods: str
    path: str
    endpoint: Endpoint
