"""Name every key that we put into ``flow.metadata``, with its owner and its purpose.

``flow.metadata`` is saved with the flow (``-w``) and must hold plain data only; secrets and live
objects have no place in it (:mod:`addons.flow.key_injection` and :mod:`addons.flow.call` keep those).

=========================  =========  ==================================================================
key                        written    purpose
=========================  =========  ==================================================================
``llmproxy.cleared``       gate       the gate lets this flow pass; without it the final guard refuses
``llmproxy.call``          gate       id of the call (the ``event_id`` of its event)
``llmproxy.mints``         gate       the answer will hold a new secret; gone once that has been replaced
``llmproxy.event``         inspector  the call's event without what was said; only where flows are shown
``llmproxy.mark``          inspector  the mark that we gave the flow, to tell it from a person's
=========================  =========  ==================================================================
"""

CLEARED = "llmproxy.cleared"
CALL = "llmproxy.call"
MINTS = "llmproxy.mints"
EVENT = "llmproxy.event"
MARK = "llmproxy.mark"
