"""Defences: what is changed about a fit so that the fine-tuning leaks less.

One file a kind, found by the spec's `kind`; each has `defend(setup, spec, scene) -> Setup`.
"""

from s2l_core.defences.near import Refused, near_own_samples, own_distance
from s2l_core.defences.setup import Scene, Setup, check_something_is_trained, defend

__all__ = ["Refused", "Scene", "Setup", "check_something_is_trained", "defend", "near_own_samples", "own_distance"]
