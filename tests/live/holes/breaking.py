"""Loaded after the real script: makes the real gate raise in every hook that decides."""

from addons.flow.network import other_hosts
from addons.hooks import gate
from addons.flow import answer_body


def defect(*args, **kwargs):
    raise RuntimeError("a defect in the gate")


gate.resolve = defect
other_hosts.is_loopback = defect
answer_body.Capture = defect
