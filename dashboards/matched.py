"""Pictures of what models gave back beside the images that it matched, read only when private artifacts were asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dashboards.extracted import documents
from dashboards.pictures import data_uri, named
from dashboards.places import places
from dashboards.samples import MAX_DOMAINS
from jobs.errors import Corrupt
from jobs.ledger.ledger import Ledger
from jobs.plan.graph import Node
from jobs.plan.names import trial_name
from jobs.plan.plan import Plan, Trial
from s2l_core.images import ImageRecord

if TYPE_CHECKING:
    from s2l_core.extraction.table import Matches

PAIRS = 4
RULE, STRICT = "l2", "tile_max"


@dataclass(frozen=True)
class Pair:
    """A candidate and the image that it shows, as data URIs, with both distances."""

    candidate: str
    image: str
    l2: float
    tile_max: float
    flip: bool


@dataclass(frozen=True)
class DomainMatches:
    """The nearest matches of one model of a domain.

    Attributes:
        trial: which model: that of the domain's trials that shows most members.
        members, non_members: a pair for each image, the nearest first.
        shown, false: of how many members and non-members that it shows by l2.
    """

    domain: str
    trial: str
    members: Sequence[Pair]
    non_members: Sequence[Pair]
    shown: int
    false: int


def matches(plan: Plan, ledger: Ledger) -> list[DomainMatches]:
    """The first domains' models that give back most, in the order of their names."""
    return [_matches(ledger, domain, trial) for domain, trial in sorted(_chosen(plan, ledger).items())[:MAX_DOMAINS]]


def _chosen(plan: Plan, ledger: Ledger) -> dict[str, Trial]:
    """Domain -> the trial of a method that shows most members, by the stricter rule first. No control: nobody would have it."""
    where = places(plan)
    best: dict[str, tuple[tuple[int, int], Trial]] = {}
    for trial in plan.trials:
        both = documents(ledger, trial) if where[trial.key].role == "method" else None
        if both is None:
            continue
        strict, by_l2 = (int(both[1]["rules"][rule]["members"]["images"]) for rule in (STRICT, RULE))
        domain = where[trial.key].domain
        if domain not in best or (strict, by_l2) > best[domain][0]:
            best[domain] = (strict, by_l2), trial
    return {domain: trial for domain, (_, trial) in best.items()}


def _matches(ledger: Ledger, domain: str, trial: Trial) -> DomainMatches:
    node = trial.extraction
    assert node is not None
    table = _table(ledger, node)
    rows = {member: _rows(table, member=member) if table is not None else [] for member in (True, False)}
    kept = {member: rows[member][:PAIRS] for member in rows}
    drawn, data = node.parent("drawn"), node.parent("data")
    wanted = [row for side in kept.values() for row in side]
    candidates = named(ledger, drawn, {row.candidate for row in wanted}) if drawn is not None and wanted else {}
    images = named(ledger, data, {row.image for row in wanted}) if data is not None and wanted else {}
    pairs = {member: [_pair(row, candidates, images) for row in side] for member, side in kept.items()}
    members, others = ([pair for pair in pairs[member] if pair is not None] for member in (True, False))
    return DomainMatches(domain, trial_name(trial.axes), members, others, len(rows[True]), len(rows[False]))


class _Row(NamedTuple):
    l2: float
    tile_max: float
    image: str
    candidate: str
    flip: bool


def _rows(table: Matches, *, member: bool) -> list[_Row]:
    """The nearest candidate of each image that is shown by l2, the nearest first."""
    columns = zip(table.l2, table.tile_max, table.image, table.candidate, table.flip, table.member, table.shows_l2, strict=True)
    nearest: dict[str, _Row] = {}
    for row in sorted(_Row(*values) for *values, side, shows in columns if side is member and shows):
        nearest.setdefault(row.image, row)
    return list(nearest.values())


def _table(ledger: Ledger, node: Node) -> Matches | None:
    from s2l_core.extraction.table import read_matches

    manifest = ledger.manifest(node.kind, node.key)
    if manifest is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "matches.parquet"
        try:
            path.write_bytes(ledger.read(manifest, path.name))
        except Corrupt as error:
            ledger.notice(str(error))
            return None
        return read_matches(path)


def _pair(row: _Row, candidates: Mapping[str, ImageRecord], images: Mapping[str, ImageRecord]) -> Pair | None:
    sides = [found.get(name) for found, name in ((candidates, row.candidate), (images, row.image))]
    candidate, image = (data_uri(record.image) if record is not None else None for record in sides)
    return Pair(candidate, image, row.l2, row.tile_max, row.flip) if candidate is not None and image is not None else None
