"""One instance prompt for all images, and class images that hold the class in place (arXiv 2208.12242)."""

from __future__ import annotations

from s2l_core.images import ImageRecord
from s2l_core.objectives.terms import Term
from s2l_core.specs.objectives import DreamBoothObjective


def terms(objective: DreamBoothObjective, records: tuple[ImageRecord, ...], name: str, prior: tuple[ImageRecord, ...]) -> tuple[Term, ...]:
    """The set with the instance prompt; with prior preservation also class images with the class prompt (eq. 2).

    Raises:
        ValueError: class images are wanted and missing, or given and not wanted.
    """
    instance = Term("set", records, (objective.instance_prompt.replace("{name}", name),) * len(records))
    wanted = objective.prior
    if wanted is None:
        if prior:
            raise ValueError(f"objective dreambooth has no prior, so {len(prior)} class images have no place; set prior, or leave them out")
        return (instance,)
    if not prior:
        raise ValueError("objective dreambooth with a prior needs class images; got none; draw them with the class prompt first")
    return (instance, Term("class", prior, (wanted.class_prompt,) * len(prior), wanted.weight))
