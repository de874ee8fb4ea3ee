"""An image folder of real photographs for tests: half of each person's pictures are members. Nothing of it enters the project."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def orl_source() -> Path | None:
    """Where the ORL photographs are, or None."""
    folder = SHARED / "orl_faces"
    return folder if (folder / "s1" / "1.pgm").is_file() else None


def build_orl_folder(out: Path, *, people: Sequence[str] | None = None) -> Path:
    """Write `out` with the photographs and their metadata.jsonl: per person the odd numbers are members, the even ones non-members."""
    source = orl_source()
    if source is None:
        raise FileNotFoundError("the ORL photographs are not here (../shared/data/orl_faces)")
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for person in people or sorted((path.name for path in source.glob("s*") if path.is_dir()), key=lambda name: int(name[1:])):
        (out / person).mkdir(exist_ok=True)
        for number in range(1, 11):
            name = f"{person}/{number}.pgm"
            shutil.copyfile(source / name, out / name)
            row = {"file_name": name, "text": f"photo of {person}", "domain": person, "member": number % 2 == 1}
            lines.append(json.dumps(row) + "\n")
    (out / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    return out
