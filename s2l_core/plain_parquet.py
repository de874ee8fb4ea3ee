"""Reading Parquet that holds what it weighs: a store that somebody else wrote must not unpack to more than was fetched from it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_ENCODINGS = {"PLAIN", "RLE", "BIT_PACKED"}


def read_plain(path: Path) -> pa.Table:
    """The table of a Parquet file, as S2L writes them: neither compressed nor with dictionaries.

    Raises:
        ValueError: it is no Parquet, it is packed, or it claims more than its bytes can hold.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        if reason := _packed(file.metadata, path.stat().st_size):
            raise ValueError(f"{path.name} {reason}; S2L writes no such file")
        return file.read()
    except pa.ArrowException as error:
        raise ValueError(f"{path.name} is no whole Parquet file: {error}") from error


def _packed(metadata: Any, size: int) -> str:
    """Why the file could unpack to more than it weighs; empty when it cannot."""
    values: Counter[str] = Counter()
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            if chunk.compression != "UNCOMPRESSED" or not set(chunk.encodings) <= _ENCODINGS:
                return f"is packed ({chunk.path_in_schema}: {chunk.compression}, {', '.join(chunk.encodings)})"
            values[chunk.path_in_schema] += chunk.num_values
    most = max(values.values(), default=0)
    return f"claims {most:,} values in {size:,} bytes" if most > size else ""
