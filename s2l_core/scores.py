"""Per-image scores of one attack on one model: the value, and the Parquet file that holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2l_core.plain_parquet import read_plain

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of n images in the data set's order; higher = more member-like.

    Attributes:
        attack: the attack's spec as JSON.
        domain: the domain that all images belong to.
        image_ids: n names.
        member: bool [n].
        score: float64 [n].
        network_calls: network calls per image that the attack needs alone.
        facts: anything else about how the scores came to be that belongs to their meaning, as JSON.
    """

    attack: Mapping[str, Any]
    domain: str
    image_ids: tuple[str, ...]
    member: NDArray[np.bool_]
    score: Floats
    network_calls: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def members(self) -> Floats:
        """The members' scores, in order."""
        return self.score[self.member]

    @property
    def non_members(self) -> Floats:
        """The non-members' scores, in order."""
        return self.score[~self.member]


def write_scores(path: Path, scores: Scores) -> None:
    """Write the scores as Parquet; equal scores give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {
        "s2l.attack": _json(scores.attack),
        "s2l.domain": scores.domain,
        "s2l.facts": _json(scores.facts),
        "s2l.network_calls": str(scores.network_calls),
    }
    schema = pa.schema([("image_id", pa.string()), ("member", pa.bool_()), ("score", pa.float64())], metadata=metadata)
    table = pa.Table.from_pydict({"image_id": list(scores.image_ids), "member": scores.member, "score": scores.score}, schema=schema)
    pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=1 << 20)


def read_scores(path: Path) -> Scores:
    """The scores that `write_scores` wrote.

    Raises:
        ValueError: the file holds something else.
    """
    table = read_plain(path)
    metadata = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
    if "s2l.attack" not in metadata or table.column_names != ["image_id", "member", "score"]:
        raise ValueError(f"{path.name} is no table of scores; got columns {table.column_names}, expected image_id, member, score")
    return Scores(
        attack=json.loads(metadata["s2l.attack"]),
        domain=metadata["s2l.domain"],
        image_ids=tuple(table["image_id"].to_pylist()),
        member=np.asarray(table["member"].to_pylist(), dtype=np.bool_),
        score=table["score"].to_numpy(),
        network_calls=int(metadata["s2l.network_calls"]),
        facts=json.loads(metadata["s2l.facts"]),
    )


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
