"""Read multipart forms (RFC 7578) as they stream: what fields say, and the name and size of files.

Of a file no byte is kept beyond the piece that is being read, but for the ends of the first one that is named
`file`: they tell how long a sound is. No event shows them. The parser proper is the package `multipart`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from addons.openai.http.encoding import Decoder, codings_of

TEXT_LIMIT = 2**20
"""Bytes of all text fields together that are kept; a prompt may be long."""
FIELD_LIMIT = 1000
"""Parts of one form; the API takes some dozens at most."""
BUDGET = 2**32
"""Decoded bytes of one form. Files may be large, and none of them is kept whole."""
ENDS = 2**16
"""Bytes that are kept of a file's beginning, and of its end: an Ogg page has 65,307 at most."""
SOUND = "file"
"""The field that holds a recording."""

QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
NAME = re.compile(r"(?<![\w*])name\*?\s*=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Field:
    """Holds one part of a form."""

    name: str
    text: str | None
    """None for a file."""
    filename: str | None = None
    content_type: str | None = None
    size: int = 0
    """Bytes."""
    head: bytes = field(default=b"", repr=False)
    """The first bytes of a file, where they are kept; the whole of a short one."""
    tail: bytes = field(default=b"", repr=False)
    """The last bytes of a longer one; some of them may be the head's."""


@dataclass(frozen=True, slots=True)
class Form:
    """Holds what a form said."""

    fields: list[Field] = field(default_factory=list)
    problem: str | None = None
    """It says why it was not read to its end, or why another parser may read it in another way."""

    def texts(self, name: str) -> list[str]:
        """Give the values of a text field, in order."""
        return [one.text for one in self.fields if one.name == name and one.text is not None]

    def files(self, name: str) -> list[Field]:
        """Give the files of a name, in order."""
        return [one for one in self.fields if one.name == name and one.text is None]

    def as_dict(self) -> dict[str, Any]:
        """Write it as in events: text as it is, of a file its name and size; a list for a repeated name."""
        shown: dict[str, Any] = {}
        for one in self.fields:
            value = {"filename": one.filename, "bytes": one.size} if one.text is None else one.text
            if one.name not in shown:
                shown[one.name] = value
            elif isinstance(shown[one.name], list):
                shown[one.name].append(value)
            else:
                shown[one.name] = [shown[one.name], value]
        return shown

    def as_bytes(self, content_type: str) -> bytes:
        """Give the form without the contents of its files, for whoever looks at the flow."""
        boundary = boundary_of(content_type).encode("utf-8", "replace")
        parts = []
        for one in self.fields:
            file = f'; filename="{_quoted(one.filename)}"' if one.filename is not None else ""
            kind = f"\r\nContent-Type: {one.content_type}" if one.content_type else ""
            text = f"[{one.size} bytes, not kept]" if one.text is None else one.text
            head = f'Content-Disposition: form-data; name="{_quoted(one.name)}"{file}{kind}'
            parts.append(b"--%b\r\n%b\r\n" % (boundary, f"{head}\r\n\r\n{text}".encode("utf-8", "replace")))
        return b"".join(parts) + b"--%b--\r\n" % boundary


def is_form(content_type: str) -> bool:
    """Tell whether a body of this type is to be read as a form."""
    return content_type.strip().lower().startswith("multipart/form-data")


def boundary_of(content_type: str) -> str:
    """Give the boundary that a Content-Type names; empty where there is none."""
    _, options = parse_options_header(content_type)
    return str(options.get("boundary", ""))


class FormReader:
    """Takes a form piece by piece. Never raises: what goes wrong is the form's `problem`.

    `strict`: also what only a lenient parser takes is a problem (text around the parts, names given twice),
    because upstream's parser may then see other fields. For decisions, not for the record, and for forms that
    are fed whole: in pieces the line end after the last part would count as text.
    """

    def __init__(self, content_type: str, content_encoding: str = "", *, strict: bool = False) -> None:
        self.size = 0
        """Bytes on the wire."""
        self._decoder = Decoder(codings_of(content_encoding), budget=BUDGET)
        self._strict = strict
        self._fields: list[Field] = []
        self._problem: str | None = None
        self._segment: MultipartSegment | None = None
        self._text = bytearray()
        self._room = TEXT_LIMIT
        self._ends: Ends | None = None
        self._parser: PushMultipartParser | None = None
        self._edges = Edges(boundary_of(content_type))
        if not is_form(content_type):
            self._problem = f"{content_type.partition(';')[0]!r} is no form"
        elif strict and len(re.findall(r"boundary\*?\s*=", content_type, re.IGNORECASE)) != 1:
            self._problem = "the boundary is not given once"
        else:
            try:
                self._parser = PushMultipartParser(
                    boundary_of(content_type), max_segment_count=FIELD_LIMIT, strict=strict
                )
            except (MultipartError, UnicodeError) as error:
                self._problem = str(error)

    def tap(self, data: bytes) -> bytes:
        """Pass `data` on, whatever happens to what is read of it (:class:`addons.flow.capture.Capture`)."""
        self.feed(data)
        return data

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        if self._problem is not None or self._parser is None or not data:
            return
        try:
            decoded = self._decoder.feed(data)
            if self._strict:
                self._edges.feed(decoded)
            if decoded and not self._parser.closed:
                for event in self._parser.parse(decoded):
                    self._take(event)
            self._problem = self._problem or self._decoder.error
        except Exception as error:  # a tap must not raise: mitmproxy would stop the client's upload
            self._problem = str(error) or repr(error)

    def form(self) -> Form:
        """Give what was read so far; its `problem` says whether that is all."""
        problem = self._problem
        if problem is None and self._parser is not None:
            try:
                self._parser.close()
            except MultipartError:
                problem = "the form is not complete"
        if self._strict:
            problem = problem or self._edges.problem
        return Form(self._fields, problem)

    def _take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if event is None:
            self._end_part()
        elif isinstance(event, MultipartSegment):
            self._segment = event
            self._text = bytearray()
            if self._ends is None and event.name == SOUND and _is_file(event):
                self._ends = Ends(event)
            if self._strict and (why := _unclear(event)):
                self._problem = why
        elif self._segment is not None and _is_file(self._segment):
            if self._ends is not None and self._ends.segment is self._segment:
                self._ends.feed(event)
        elif self._segment is not None:
            self._text += event[: self._room]
            if len(event) > self._room:
                self._problem = self._problem or f"text of more than {TEXT_LIMIT} bytes is cut off"
            self._room -= min(self._room, len(event))

    def _end_part(self) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        text: str | None = None
        if not _is_file(segment):
            try:
                text = self._text.decode()
            except UnicodeDecodeError:
                text = self._text.decode("utf-8", "replace")
                if self._strict:
                    self._problem = self._problem or f"the field {segment.name!r} is not UTF-8"
        found = Field(
            segment.name or "", text, segment.filename, segment.content_type, segment.bytes_received
        )
        if self._ends is not None and self._ends.segment is segment:
            found = replace(found, head=bytes(self._ends.head), tail=self._ends.tail)
        self._fields.append(found)


class Ends:
    """Holds the first and the last bytes of a file."""

    def __init__(self, segment: MultipartSegment) -> None:
        self.segment = segment
        self.head = bytearray()
        self._last = bytearray()

    def feed(self, data: bytes | bytearray) -> None:
        self.head += data[: ENDS - len(self.head)]
        self._last += data[-ENDS:]
        if len(self._last) > 2 * ENDS:  # seldom, so that many small pieces cost no more than a few large ones
            del self._last[:-ENDS]

    @property
    def tail(self) -> bytes:
        return bytes(self._last[-ENDS:])


class Edges:
    """Notes whether there is text before the first part of a form or behind its end."""

    def __init__(self, boundary: str) -> None:
        self._first = b"--" + boundary.encode("utf-8", "replace")
        self._last = self._first + b"--"
        self._start = b""
        self._end = b""
        self._ends = 0

    def feed(self, data: bytes) -> None:
        self._start += data[: len(self._first) - len(self._start)]
        window = self._end[-len(self._last) + 1 :] + data
        self._ends += window.count(self._last)
        self._end = (self._end + data)[-len(self._last) - 2 :]

    @property
    def problem(self) -> str | None:
        whole = self._start == self._first and self._end.removesuffix(b"\r\n").endswith(self._last)
        return None if whole and self._ends == 1 else "there is text around the parts of the form"


def read_form(data: bytes, content_type: str, content_encoding: str = "", *, strict: bool = False) -> Form:
    """Give a whole form at once."""
    as_text = not strict and not content_encoding and b"\r\n" not in data
    if as_text:
        data = data.replace(b"\n", b"\r\n")  # a recording that keeps bodies as text
    reader = FormReader(content_type, content_encoding, strict=strict)
    reader.feed(data)
    form = reader.form()
    if as_text:  # what its files held is lost
        return replace(form, fields=[replace(one, head=b"", tail=b"") for one in form.fields])
    return form


def _is_file(segment: MultipartSegment) -> bool:
    """Give a part with a file name, or of a type that is no text."""
    kind = segment.content_type or "text/plain"
    return segment.filename is not None or not (kind.startswith("text/") or kind == "application/json")


def _unclear(segment: MultipartSegment) -> str | None:
    """Say why another parser may read this part's head in another way."""
    dispositions = [value for name, value in segment.headerlist if name == "Content-Disposition"]
    if len(dispositions) != 1 or len(NAME.findall(QUOTED.sub('""', dispositions[0]))) != 1:
        return "a part of the form has its name twice"
    if any(name == "Content-Transfer-Encoding" for name, _ in segment.headerlist):
        return "a part of the form is coded"
    if (segment.charset or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii", "ascii"):
        return f"a part of the form is in {segment.charset!r}"
    return None


def _quoted(text: str | None) -> str:
    return re.sub(r'[\r\n"]', lambda found: f"%{ord(found[0]):02X}", text or "")
