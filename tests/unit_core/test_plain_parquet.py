"""Tables that a foreign store could hold: small on disk and large in memory."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s2l_core.extraction.table import read_matches
from s2l_core.images import ImageRecord, read_images, write_images
from s2l_core.plain_parquet import read_plain
from s2l_core.scores import read_scores


def bomb(path: Path, **how: object) -> Path:
    """50 MB of one letter."""
    pq.write_table(pa.table({"image_id": ["x" * 1000] * 50_000}), path, **how)
    return path


@pytest.mark.parametrize("how", [{"compression": "zstd", "use_dictionary": False}, {"compression": "none", "use_dictionary": True}])
def test_what_unpacks_to_more_than_it_weighs_is_refused_unread(how: dict[str, object], tmp_path: Path) -> None:
    path = bomb(tmp_path / "small.parquet", **how)
    assert path.stat().st_size < 500_000
    for read in (read_plain, read_images, read_scores, read_matches):
        with pytest.raises(ValueError, match=r"small.parquet is packed \(image_id: .*\); S2L writes no such file"):
            read(path)


def test_more_values_than_bytes_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "nothing.parquet"
    pq.write_table(pa.table({"nothing": pa.nulls(10_000_000, pa.int64())}), path, compression="none", use_dictionary=False)
    with pytest.raises(ValueError, match=r"nothing.parquet claims 10,000,000 values in [\d,]+ bytes"):
        read_plain(path)


def test_what_is_no_parquet_is_refused_by_its_name(tmp_path: Path) -> None:
    write_images(tmp_path / "whole.parquet", [ImageRecord("a-0", b"x" * 5000, "t", "d", None)])
    whole = (tmp_path / "whole.parquet").read_bytes()
    for data in (b"", b"PAR1", whole[:-20], whole[:100] + whole[-400:]):
        (tmp_path / "cut.parquet").write_bytes(data)
        with pytest.raises(ValueError, match=r"cut.parquet is no whole Parquet file"):
            read_plain(tmp_path / "cut.parquet")
