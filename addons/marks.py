"""Every key that we put into ``flow.metadata``, with its owner and its purpose.

``flow.metadata`` is saved with the flow (``-w``) and must hold plain data only; secrets and live objects
have no place in it (see :mod:`addons.wire` and :mod:`addons.calls` for where those are kept).

=========================  ========  ==================================================================
key                        written   purpose
=========================  ========  ==================================================================
``llmproxy.cleared``       gate      the gate lets this flow pass; without it the seal refuses
``llmproxy.call``          gate      id of the call (the ``event_id`` of its event)
=========================  ========  ==================================================================
"""

CLEARED = "llmproxy.cleared"
CALL = "llmproxy.call"
