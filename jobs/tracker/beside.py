"""What a trial's model gives back, draws and knows, as metrics of its run: numbers out of documents, never an image, its id or its hash.

A document that is not there, or lacks a number, is no metric.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.plan.plan import Trial

Document = Mapping[str, Any]
Found = Iterator[tuple[str, dict[str, float | None]]]
"""(name, bound -> value)"""


@dataclass(frozen=True)
class Pair:
    """The manifests of one such measure, before and after: the same twice where nothing is shaken."""

    before: Manifest
    after: Manifest

    @property
    def digests(self) -> list[str]:
        return [self.before.digest, self.after.digest]


def keys_of(trial: Trial) -> dict[str, str]:
    """Kind of stage -> key of what is measured of a trial beside its attacks."""
    leaves = (trial.extraction, trial.fidelity, trial.memorisation)
    return {leaf.kind: leaf.key for leaf in leaves if leaf is not None}


def pairs_of(keys: Mapping[str, str], ledger: Ledger) -> dict[str, Pair]:
    """Kind -> what the ledger holds of these stages; a stage that is not committed, before or after, is left out."""
    found = {}
    for kind, key in sorted(keys.items()):
        after = ledger.manifest(kind, key) if kind in _KINDS else None
        if after is None:
            continue
        unshaken = next((parent.key for parent in after.parents if parent.role == "before"), None)
        before = after if unshaken is None else ledger.manifest(kind, unshaken)
        if before is not None:
            found[kind] = Pair(before, after)
    return found


def metrics_of(pairs: Mapping[str, Pair], ledger: Ledger) -> Iterator[tuple[str, float, int]]:
    """(`extraction/l2/members/before`, value, step) and so on: before, after, delta and, where there is one, the delta's interval.

    Raises:
        jobs.errors.Corrupt: a payload is not what its manifest says.
    """
    for kind, pair in pairs.items():
        file, measures = _KINDS[kind]
        after = _read(pair.after, file, ledger)
        before = after if pair.before == pair.after else _read(pair.before, file, ledger)
        for name, bounds in measures(before, after):
            for bound, value in bounds.items():
                if value is not None:
                    yield f"{file.removesuffix('.json')}/{name}/{bound}", float(value), 0


def _read(manifest: Manifest, file: str, ledger: Ledger) -> Document:
    document: Document = json.loads(ledger.read(manifest, file))
    return document


# --- the documents ---


def _extraction(before: Document, after: Document) -> Found:
    """Distinct images shown, out of equally many members and non-members, by each rule; the retrieval precision belongs to none."""
    for rule in sorted(_at(after, "rules") or ()):
        sides = [_at(document, "rules", rule) or {} for document in (before, after)]
        for name, side in _COUNTED.items():
            change = _at(after, "change", rule, side)
            yield f"{rule}/{name}", _changed(change) if change else _change(*(_at(found, side, "images") for found in sides))
        yield f"{rule}/precision", _change(*(_at(found, "precision", "value") for found in sides))
    yield "retrieval_precision", _change(*(_at(document, "retrieval", "value") for document in (before, after)))


_COUNTED = {"members": "members_compared", "members_all": "members", "non_members": "non_members", "beyond": "beyond"}


def _fidelity(before: Document, after: Document) -> Found:
    """Of the images drawn both before and after; of all that are drawn where nothing is shaken."""
    for measure in ("right_identity", "nearest_member_pixel_l2", "nearest_member_feature_l2", "prompt_similarity"):
        if before is after:
            mean = _mean(_at(after, "images", measure))
            yield measure, _change(mean, mean)
        else:
            yield measure, _changed(_at(after, "change", measure) or {})
    for side in ("members", "non_members"):
        # without a change the two were taken at different numbers of images, and cannot be compared
        if before is after or _at(after, "change", "frechet", side) is not None:
            yield f"frechet.{side}", _change(*(_at(document, "frechet", side, "value") for document in (before, after)))


def _memorisation(before: Document, after: Document) -> Found:
    for name in ("score", "control_mean", "ratio", "rank"):
        yield name, _change(before.get(name), after.get(name))


_KINDS: dict[str, tuple[str, Callable[[Document, Document], Found]]] = {
    "extract": ("extraction.json", _extraction),
    "fidelity": ("fidelity.json", _fidelity),
    "memorisation": ("memorisation.json", _memorisation),
}


def _at(value: Any, *path: str) -> Any:
    """What lies at a path of keys; None where it ends early."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _mean(values: Any) -> float | None:
    return sum(map(float, values)) / len(values) if values else None


def _changed(change: Document) -> dict[str, float | None]:
    """What a document says of a change, with its interval."""
    names = {"before": "before", "after": "after", "delta": "delta", "delta_low": "low", "delta_high": "high"}
    return {bound: change.get(name) for bound, name in names.items()}


def _change(before: float | None, after: float | None) -> dict[str, float | None]:
    delta = after - before if before is not None and after is not None else None
    return {"before": before, "after": after, "delta": delta}
