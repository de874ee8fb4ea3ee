"""The file of a data set's automatic captions. It describes private images: it stays in the store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2l_core.images import ImageRecord
from s2l_core.plain_parquet import read_plain
from s2l_core.specs.captioners import CaptionerSpec

COLUMNS = ["image_id", "text"]


@dataclass(frozen=True)
class AutomaticCaptions:
    """What a captioner said of each image.

    Attributes:
        captioner: its spec as JSON.
        texts: image id -> caption.
    """

    captioner: dict[str, Any]
    texts: dict[str, str]


def write_captions(path: Path, captioner: CaptionerSpec, records: Sequence[ImageRecord], texts: Sequence[str]) -> None:
    """Write one caption a record as Parquet; equal captions give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {"s2l.captioner": json.dumps(captioner.model_dump(mode="json"), sort_keys=True, allow_nan=False)}
    schema = pa.schema([(name, pa.string()) for name in COLUMNS], metadata=metadata)
    columns = [[record.image_id for record in records], list(texts)]
    table = pa.Table.from_pydict(dict(zip(COLUMNS, columns, strict=True)), schema=schema)
    pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=1 << 20)


def read_captions(path: Path) -> AutomaticCaptions:
    """The captions that `write_captions` wrote.

    Raises:
        ValueError: the file holds something else.
    """
    table = read_plain(path)
    metadata = table.schema.metadata or {}
    if b"s2l.captioner" not in metadata or table.column_names != COLUMNS:
        raise ValueError(f"{path.name} is no table of captions; got columns {table.column_names}, expected image_id, text")
    texts = dict(zip(*(table[name].to_pylist() for name in COLUMNS), strict=True))
    return AutomaticCaptions(json.loads(metadata[b"s2l.captioner"]), texts)
