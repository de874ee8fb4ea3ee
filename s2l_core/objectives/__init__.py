"""Objectives: which images meet which prompts, and how much each kind of image counts.

One file a kind, found by the spec's `kind`; each has `terms(objective, records, name, prior) -> tuple[Term, ...]`.
"""

from s2l_core.objectives.terms import Term, terms_of

__all__ = ["Term", "terms_of"]
