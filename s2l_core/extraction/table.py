"""The matches of one candidate set: a row for each near pair of a candidate and an image. Names only, no image and no hash of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2l_core.extraction.counts import RULES, shown
from s2l_core.extraction.distances import Alignment
from s2l_core.extraction.matcher import Near
from s2l_core.plain_parquet import read_plain

COLUMNS = {
    "candidate": "string",
    "position": "int64",
    "image": "string",
    "member": "bool",
    "l2": "float64",
    "tile_max": "float64",
    "cosine": "float64",
    "dy": "int32",
    "dx": "int32",
    "flip": "bool",
    "shows_l2": "bool",
    "shows_tile_max": "bool",
}


@dataclass(frozen=True)
class Matches:
    """Columns of equal length: near pairs with members, ordered by candidate, then those with non-members.

    Attributes:
        candidate: the candidate's image id.
        position: where it comes in the set, from 1.
        image: the image's id: a slug of its domain and a number.
        cosine: of the pre-filter's features; None where there is no pre-filter.
        dy, dx, flip: the alignment with the least l2.
        shows_l2, shows_tile_max: whether this is the image that the candidate shows by that rule.
    """

    candidate: list[str]
    position: list[int]
    image: list[str]
    member: list[bool]
    l2: list[float]
    tile_max: list[float]
    cosine: list[float | None]
    dy: list[int]
    dx: list[int]
    flip: list[bool]
    shows_l2: list[bool]
    shows_tile_max: list[bool]

    def members_shown(self, rule: str) -> set[str]:
        """The ids of the members that some candidate shows by the rule."""
        return self.images_shown(rule, member=True)

    def images_shown(self, rule: str, *, member: bool) -> set[str]:
        """The same of the members, or of the non-members."""
        shows = self.shows_l2 if rule == "l2" else self.shows_tile_max
        return {image for image, side, shown_here in zip(self.image, self.member, shows, strict=True) if side is member and shown_here}


def matches_of(
    near: Near,
    *,
    member: bool,
    candidates: Sequence[str],
    positions: Sequence[int],
    images: Sequence[str],
    cosines: NDArray[np.float64] | None,
    tried: Sequence[Alignment],
    threshold: float,
) -> Matches:
    """The near pairs of candidates and one set of images.

    Args:
        cosines: of each pair [p]; None without a pre-filter.
    """
    pairs = near.pairs
    shows = {rule: np.isin(np.arange(len(pairs.l2)), shown(pairs, rule, threshold).pair).tolist() for rule in RULES}
    used = [tried[place] for place in pairs.alignment]
    return Matches(
        candidate=[candidates[place] for place in pairs.candidate],
        position=[positions[place] for place in pairs.candidate],
        image=[images[place] for place in pairs.image],
        member=[member] * len(pairs.l2),
        l2=pairs.l2.tolist(),
        tile_max=pairs.tile_max.tolist(),
        cosine=[None] * len(pairs.l2) if cosines is None else cosines.tolist(),
        dy=[one.dy for one in used],
        dx=[one.dx for one in used],
        flip=[one.flip for one in used],
        shows_l2=shows["l2"],
        shows_tile_max=shows["tile_max"],
    )


def joined(one: Matches, other: Matches) -> Matches:
    """The rows of both."""
    return Matches(**{field.name: getattr(one, field.name) + getattr(other, field.name) for field in fields(Matches)})


def write_matches(path: Path, matches: Matches) -> None:
    """Write the table as Parquet; equal tables give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _types()[kind]) for name, kind in COLUMNS.items()])
    table = pa.Table.from_pydict({name: getattr(matches, name) for name in COLUMNS}, schema=schema)
    pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=1 << 20)


def read_matches(path: Path) -> Matches:
    """The table that `write_matches` wrote.

    Raises:
        ValueError: the file holds something else.
    """
    table = read_plain(path)
    if table.column_names != list(COLUMNS):
        raise ValueError(f"{path.name} is no table of matches; got columns {table.column_names}, expected {', '.join(COLUMNS)}")
    return Matches(**{name: table[name].to_pylist() for name in COLUMNS})


def _types() -> dict[str, Any]:
    import pyarrow as pa

    return {"string": pa.string(), "int64": pa.int64(), "int32": pa.int32(), "bool": pa.bool_(), "float64": pa.float64()}
