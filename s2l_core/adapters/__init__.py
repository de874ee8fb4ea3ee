"""Adapters: what of a model is trainable, attached and taken off again without a trace.

One file a kind, found by the spec's `kind`; each has `attach(model, spec, *, seed) -> Part`.
"""

from s2l_core.adapters.attached import Attached, attach
from s2l_core.adapters.part import Part, WeightsFile
from s2l_core.adapters.saved import attach_saved, attached, save

__all__ = ["Attached", "Part", "WeightsFile", "attach", "attach_saved", "attached", "save"]
