"""Each image with the prompt it was made with."""

from __future__ import annotations

from s2l_core.images import ImageRecord
from s2l_core.objectives.terms import Term
from s2l_core.specs.objectives import DenoiseObjective


def terms(objective: DenoiseObjective, records: tuple[ImageRecord, ...], name: str, prior: tuple[ImageRecord, ...]) -> tuple[Term, ...]:
    """The set alone, each image with its own text.

    Raises:
        ValueError: class images are given.
    """
    if prior:
        raise ValueError(f"objective denoise takes no class images; got {len(prior)}; use dreambooth with a prior")
    return (Term("set", records, tuple(record.text for record in records)),)
