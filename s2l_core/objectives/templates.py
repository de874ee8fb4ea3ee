"""Each image with a template of its own, as textual inversion is trained (arXiv 2208.01618)."""

from __future__ import annotations

from s2l_core.images import ImageRecord
from s2l_core.objectives.terms import Term
from s2l_core.randomness import keyed_uniform
from s2l_core.specs.objectives import TemplatesObjective


def terms(objective: TemplatesObjective, records: tuple[ImageRecord, ...], name: str, prior: tuple[ImageRecord, ...]) -> tuple[Term, ...]:
    """The set alone; an image's template is drawn by its place in the set, once: no seed and no step changes it.

    Raises:
        ValueError: class images are given.
    """
    if prior:
        raise ValueError(f"objective templates takes no class images; got {len(prior)}; use dreambooth with a prior")
    known = objective.templates
    chosen = [known[int(keyed_uniform("template", place) * len(known))] for place in range(len(records))]
    return (Term("set", records, tuple(template.replace("{name}", name) for template in chosen)),)
