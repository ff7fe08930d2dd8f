"""Loaded after the real script: makes the real gate raise in every hook that decides."""

from addons import gate, recorder


def defect(*args, **kwargs):
    raise RuntimeError("a defect in the gate")


gate.resolve = defect
gate.is_loopback = defect
recorder.Capture = defect
