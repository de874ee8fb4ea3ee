"""Objectives: which images meet which prompts, and how much each kind of image counts.

One file a kind, found by the spec's `kind`; each has `terms(objective, records, name, prior) -> tuple[Term, ...]`. The losses of the
terms are in `s2l_core/losses/`.
"""

from s2l_core.objectives.terms import Mixed, Reconstruction, Term, terms_of

__all__ = ["Mixed", "Reconstruction", "Term", "terms_of"]
