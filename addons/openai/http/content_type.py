"""Read the type of a body, as one answer for all who read it."""

from __future__ import annotations

from email.message import Message

from addons.openai.endpoint import Takes

CHARSETS = ("", "utf-8", "utf8", "us-ascii", "ascii")
"""It is that of JSON that is read as it stands; RFC 8259 knows no other."""


def media_type(content_type: str) -> str:
    """Give the type and subtype of a Content-Type, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def charset(content_type: str) -> str:
    """Give the charset that a Content-Type names; empty where there is none."""
    if ";" not in content_type:
        return ""
    message = Message()
    message["content-type"] = content_type
    return str(message.get_param("charset", "")).strip().lower()


def kind_of(content_type: str) -> Takes:
    """Give the kind of a body with this Content-Type; without one it is JSON. No kind at all for any other.

    >>> kind_of("application/json; charset=utf-8"), kind_of("application/sdp"), kind_of("multipart/mixed")
    (<Takes.JSON: 1>, <Takes.SDP: 4>, <Takes: 0>)
    """
    media = media_type(content_type)
    if media in ("", "application/json", "text/json") or (
        media.startswith("application/") and media.endswith("+json")
    ):
        return Takes.JSON if charset(content_type) in CHARSETS else Takes(0)
    if media == "multipart/form-data":
        return Takes.FORM
    return Takes.SDP if media == "application/sdp" else Takes(0)
