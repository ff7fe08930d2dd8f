"""List the checks that a call has to pass, in order: one list, for the proxy and for ``token explain``."""

from __future__ import annotations

from addons.checks.access import Network, Origin, TokenEndpoints
from addons.checks.authentication import Authentication, TokenStanding
from addons.checks.body_size import KeptBodySize, StatedBodySize
from addons.checks.cached_answer import CachedAnswer
from addons.checks.check import Check, Circumstances, LiveCircumstances
from addons.checks.circuit import Circuit, UploadCircuit
from addons.checks.content_type import ContentType
from addons.checks.destination import Destination, ProjectKey
from addons.checks.endpoint import ServedEndpoint
from addons.checks.ephemeral_key import EphemeralKeyMaking, EphemeralKeyUse
from addons.checks.limits.claims import ClaimedByBody, ClaimedByHeaders
from addons.checks.limits.output_limit import OutputLimit
from addons.checks.limits.reservation import Reservation, UploadReservation
from addons.checks.models import FormModels, Models
from addons.checks.ownership import OwnedForm, OwnedObjects, OwnedTarget
from addons.checks.parameters import Parameters
from addons.checks.request_body import ReadBody
from addons.checks.serving import Recorded, Serving, WellFormed
from addons.checks.upgrade import Upgrade


def pipeline(here: Circumstances, live: LiveCircumstances | None) -> list[Check]:
    """List the checks; without `live` those are left out that only a running proxy can make.

    Those of the headers come first, from the cheapest on; the reservation is the last, so that a refusal uses
    nothing up.
    """
    checks: list[Check | None] = [
        Serving(live) if live else None,
        WellFormed(),
        Recorded(live) if live else None,
        Authentication(live) if live else None,
        TokenStanding(),
        Upgrade(here),
        Network(),
        Origin(),
        TokenEndpoints(),
        EphemeralKeyUse(),
        Destination(here),
        ServedEndpoint(here),
        EphemeralKeyMaking(live) if live else None,
        OwnedTarget(here),
        ProjectKey(live) if live else None,
        ContentType(),
        FormModels(here),
        OwnedForm(here),
        StatedBodySize(here),
        ClaimedByHeaders(),
        UploadCircuit(live) if live else None,
        UploadReservation(here),
        # The body is there.
        KeptBodySize(here),
        ReadBody(here),
        ClaimedByBody(),
        Models(),
        Parameters(),
        OutputLimit(),
        OwnedObjects(here),
        CachedAnswer(live) if live else None,
        Circuit(live) if live else None,
        Reservation(here),
    ]
    return [each for each in checks if each is not None]
