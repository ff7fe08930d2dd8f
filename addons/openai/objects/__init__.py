"""The objects that the API keeps under ids: which of them a request refers to, and which an answer makes.

Several projects may share one upstream key, and for the API whoever knows an id may use it. Who made an
object is kept by :mod:`store.objects`, and asked by :mod:`addons.ownership`; here nothing is kept or asked.
"""

from addons.openai.objects.kinds import NotFound, Place, Ref, not_found, place_of
from addons.openai.objects.made import Made, deleted, made
from addons.openai.objects.references import References, in_body, in_event, in_target, referenced_ids

__all__ = [
    "Made",
    "NotFound",
    "Place",
    "Ref",
    "References",
    "deleted",
    "in_body",
    "in_event",
    "in_target",
    "made",
    "not_found",
    "place_of",
    "referenced_ids",
]
