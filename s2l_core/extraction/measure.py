"""The document of one candidate set beside members and non-members: what extraction.json and matches.parquet hold.

Letters: n candidates, s images a side where members and non-members are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2l_core.extraction.blocks import BUDGET_BYTES, EncodedImages
from s2l_core.extraction.cliques import cliques, near_duplicates
from s2l_core.extraction.counts import RULES, counts, precision, shown
from s2l_core.extraction.distances import alignments
from s2l_core.extraction.matcher import Near, near
from s2l_core.extraction.retrieval import retrieval_precision
from s2l_core.extraction.similar import most_similar
from s2l_core.extraction.table import Matches, joined, matches_of
from s2l_core.features import Extractor
from s2l_core.images import ImageRecord, opened
from s2l_core.metrics.distinct import Counted, change_interval, images_interval, labels_test, sign_test
from s2l_core.randomness import keyed_uniforms
from s2l_core.specs.extraction import ExtractionSpec

Floats = NDArray[np.float64]
Say = Callable[[float, str], None]

SIDES = ("members", "members_compared", "non_members")
"""All members, and as many members as non-members. They are the same where there are no more members than non-members."""

QUANTILES = {"least": 0.0, "q01": 0.01, "q05": 0.05, "median": 0.5}


class Extraction(NamedTuple):
    """What was found: the numbers, and the near pairs that they count."""

    document: dict[str, Any]
    matches: Matches


def extraction(
    candidates: Sequence[ImageRecord],
    members: Sequence[ImageRecord],
    non_members: Sequence[ImageRecord],
    extractor: Extractor,
    spec: ExtractionSpec,
    *,
    budget: int = BUDGET_BYTES,
    device: str = "cpu",
    say: Say = lambda fraction, words: None,
) -> Extraction:
    """Which members the candidates show, and what the same matcher finds among non-members. The order of the images changes no bit.

    Definitions: docs/extraction.md.

    Args:
        candidates: in any order, where each says by its provenance's `index` where it comes in the set; else in the order generated.
        budget: bytes that a comparison holds at once beside encoded images, features and results.

    Raises:
        ValueError: a set is empty, an image cannot be decoded, or the images are too small for the tiles and shifts.
    """
    if not (candidates and members and non_members):
        got = f"{len(candidates)} candidates, {len(members)} members and {len(non_members)} non-members"
        raise ValueError(f"extraction needs candidates, members and non-members; got {got}")
    return _Measure(_in_order(candidates), _by_name(members), _by_name(non_members), extractor, spec, budget, device, say).measured()


class _Images(NamedTuple):
    """One set of images to match with: its records and their features."""

    records: list[ImageRecord]
    features: Floats

    def drawn(self, count: int, seed: int, purpose: str) -> _Images:
        """So many of them, drawn by the seed; the set itself where that is all."""
        if count == len(self.records):
            return self
        order = np.argsort(keyed_uniforms(len(self.records), "extraction", purpose, seed).numpy(), kind="stable")
        chosen = np.sort(order[:count])
        return _Images([self.records[place] for place in chosen], self.features[chosen])


class _Matched(NamedTuple):
    near: Near
    cosines: Floats | None


class _Measure:
    """The parts of one document."""

    def __init__(
        self,
        candidates: list[tuple[int, ImageRecord]],
        members: list[ImageRecord],
        non_members: list[ImageRecord],
        extractor: Extractor,
        spec: ExtractionSpec,
        budget: int,
        device: str,
        say: Say,
    ) -> None:
        from threadpoolctl import threadpool_limits

        self.spec, self.device, self.say = spec, device, say
        self.budget = budget
        self.positions = [position for position, _ in candidates]
        self.records = [record for _, record in candidates]
        say(0.0, f"{len(candidates)} candidates, {len(members)} members and {len(non_members)} non-members: features")
        with threadpool_limits(1):  # sums in one order, whatever the machine
            self.features = extractor(self.records)
            self.members, self.non_members = (_Images(records, extractor(records)) for records in (members, non_members))
        self.side = spec.side or min(opened(self.records[0]).size)
        self.pictures = EncodedImages(self.records, self.side)

    def measured(self) -> Extraction:
        spec, each = self.spec, min(len(self.members.records), len(self.non_members.records))
        others = self.non_members.drawn(each, spec.seed, "non-members")
        as_many = self.members.drawn(each, spec.seed, "members")
        self.say(0.3, "matching with members")
        members = self._matched(self.members)
        self.say(0.6, "matching with non-members")
        controls = self._matched(others)
        compared = members if as_many is self.members else self._matched(as_many)
        self.say(0.8, "near-duplicates among the candidates")
        document = {
            "spec": spec.model_dump(mode="json"),
            "n_candidates": len(self.records),
            "n_member": len(self.members.records),
            "n_non_member": len(self.non_members.records),
            "compared": each,
            "dimensions": int(self.features.shape[1]),
            "side": self.side,
            "alignments": len(alignments(spec.alignment)),
            "rules": {rule: self._rule(rule, members, compared, controls, each) for rule in RULES},
            "nearest": {"members": _nearest(compared.near), "non_members": _nearest(controls.near)},
            "cliques": self._cliques(members.near),
            "retrieval": self._retrieval(as_many, others),
        }
        matches = joined(self._table(members, self.members, True), self._table(controls, others, False))
        return Extraction(document, matches)

    def _matched(self, images: _Images) -> _Matched:
        spec, every = self.spec, len(images.records)
        kept, cosines = None, None
        if spec.keep is not None and spec.keep < every:
            kept, cosines = most_similar(self.features, images.features, spec.keep, budget=self.budget, device=self.device)
        found = near(
            self.pictures,
            EncodedImages(images.records, self.side),
            threshold=spec.threshold,
            tiles=spec.tiles,
            alignment=spec.alignment,
            kept=kept,
            budget=self.budget,
            device=self.device,
        )
        return _Matched(found, None if kept is None or cosines is None else _of_pairs(kept, cosines, found))

    def _rule(self, rule: str, members: _Matched, compared: _Matched, controls: _Matched, each: int) -> dict[str, Any]:
        threshold, options = self.spec.threshold, {"permutations": self.spec.permutations, "seed": self.spec.seed}
        sides = dict(zip(SIDES, (members, compared, controls), strict=True))
        found: dict[str, Any] = {name: counts(side.near.pairs, rule, threshold, self.positions) for name, side in sides.items()}
        for name, side in found.items():
            out_of = len(self.members.records) if name == "members" else each
            expected = images_interval(side["images"], side["shown_once"], side["shown_twice"], out_of=out_of)
            side |= {"low": expected.low, "high": expected.high}
        found["beyond"] = _beyond(found["members_compared"], found["non_members"], each)
        return {**found, "precision": precision(compared.near, controls.near, rule, threshold, each=each, **options)}

    def _cliques(self, members: Near) -> dict[str, Any]:
        """The cliques, and how many of them hold a candidate that shows a member: the precision of whoever does not have the members."""
        spec = self.spec.cliques
        joined_by = near_duplicates(self.pictures, threshold=spec.threshold, tiles=self.spec.tiles, budget=self.budget, device=self.device)
        found = cliques(joined_by, spec.size)
        told: dict[str, Any] = {"found": len(found.found), "sizes": [len(one) for one in found.found], "exact": found.exact}
        for rule in RULES:
            image_of = {int(one): int(image) for one, image, _ in zip(*shown(members.pairs, rule, self.spec.threshold), strict=True)}
            images = [{image_of[one] for one in clique if one in image_of} for clique in found.found]
            right = sum(bool(one) for one in images)
            told[rule] = {"matched": right, "members": len(set().union(*images)), "precision": right / len(images) if images else None}
        return told

    def _retrieval(self, members: _Images, non_members: _Images) -> dict[str, Any]:
        spec = self.spec
        return retrieval_precision(
            self.features,
            members.features,
            non_members.features,
            k=spec.retrieved,
            permutations=spec.permutations,
            seed=spec.seed,
            budget=self.budget,
            device=self.device,
        )

    def _table(self, matched: _Matched, images: _Images, member: bool) -> Matches:
        return matches_of(
            matched.near,
            member=member,
            candidates=[record.image_id for record in self.records],
            positions=self.positions,
            images=[record.image_id for record in images.records],
            cosines=matched.cosines,
            tried=alignments(self.spec.alignment),
            threshold=self.spec.threshold,
        )


def change(before: Extraction, after: Extraction) -> dict[str, Any]:
    """What a shake changed, by rule: distinct images shown before and after, of all members, of those compared and of non-members, the
    interval of their difference, those shown after alone (`new`) and before alone (`lost`), and the p-value of the sign test on these; and
    the same difference of members `beyond` that of non-members.

    Raises:
        ValueError: the two were measured in different ways.
    """
    for name in ("spec", "n_member", "n_non_member", "side"):
        if before.document[name] != after.document[name]:
            got = f"before {before.document[name]} and after {after.document[name]}"
            raise ValueError(f"{name} differs: got {got}; both must be measured in one way, beside the same images")
    return {rule: _changed(rule, before, after) for rule in RULES}


def _changed(rule: str, before: Extraction, after: Extraction) -> dict[str, Any]:
    told = {side: _difference(*(one.document["rules"][rule][side] for one in (before, after))) for side in SIDES}
    for side, member in (("members", True), ("non_members", False)):
        old, new = (one.matches.images_shown(rule, member=member) for one in (before, after))
        only = {"new": len(new - old), "lost": len(old - new)}
        told[side] |= only | {"p_value": sign_test(**only)}
    members, others = (Counted(*(told[side][name] for name in ("delta", "low", "high"))) for side in SIDES[1:])
    beyond, ends = change_interval(others, members), [one.document["rules"][rule]["beyond"]["value"] for one in (before, after)]
    return told | {"beyond": {"before": ends[0], "after": ends[1], "delta": ends[1] - ends[0], "low": beyond.low, "high": beyond.high}}


def _beyond(members: Mapping[str, Any], non_members: Mapping[str, Any], each: int) -> dict[str, Any]:
    """Distinct members beyond the false matches, and whether the labels have to do with it."""
    shown_here = members["images"], non_members["images"]
    return {"value": shown_here[0] - shown_here[1], "p_value": labels_test(*shown_here, out_of=each)}


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    found = change_interval(*(Counted(one["images"], one["low"], one["high"]) for one in (before, after)))
    counted = {"before": before["images"], "after": after["images"], "delta": after["images"] - before["images"]}
    return counted | {"low": found.low, "high": found.high}


def _nearest(found: Near) -> dict[str, Mapping[str, float]]:
    """Quantiles over the candidates of the distance to the nearest image."""
    values = {"l2": found.least_l2, "tile_max": found.least_tile_max}
    return {rule: {name: float(np.quantile(values[rule], share)) for name, share in QUANTILES.items()} for rule in RULES}


def _of_pairs(kept: NDArray[np.int64], cosines: Floats, found: Near) -> Floats:
    """The cosine of each near pair: where the pair's image stands among those that were kept for its candidate."""
    column = (kept[found.pairs.candidate] == found.pairs.image[:, None]).argmax(axis=1)
    return np.asarray(cosines[found.pairs.candidate, column])


def _in_order(candidates: Sequence[ImageRecord]) -> list[tuple[int, ImageRecord]]:
    """The candidates with their positions from 1, in the order generated: where all have an index, what was left out keeps its position."""
    indices = [record.provenance.get("index") for record in candidates]
    known = [index for index in indices if isinstance(index, int)]
    if len(set(known)) < len(candidates):
        return list(enumerate(candidates, start=1))
    return sorted(((index + 1, record) for index, record in zip(known, candidates, strict=True)), key=lambda one: one[0])


def _by_name(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    return sorted(records, key=lambda record: (record.image_id, record.content))
