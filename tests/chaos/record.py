"""The log of what was injected and how it ended, one JSON line each, and the table made of it. No path and no host is in it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.fault import Fault, Injected
from tests.chaos.play import what_was_told
from tests.chaos.world import World

SURVIVED, AGAIN = "the run went on", "the same command went on"


def lines_of(world: World, bed: str, number: int, seed: int, done: Sequence[tuple[Fault, Injected]]) -> list[dict[str, Any]]:
    """One line for each fault of a grid that came through, and one for the grid.

    Raises:
        tests.chaos.world.Broken: the user was not told of one.
    """
    lines = []
    for fault, injected in done:
        told = what_was_told(fault, injected, world.told(injected.told_before))
        lines.append(_line(world, bed, number, fault, injected, told))
    codes = [driver.process.returncode for driver in world.drivers]
    grid = {"grid": number, "bed": bed, "seed": seed, "stages": world.total, "faults": len(done), "driver_exit_codes": codes}
    return [*lines, grid | {"results": "identical", "lost": 0, "made_twice": 0, "mlflow_runs_doubled": 0}]


def _line(world: World, bed: str, number: int, fault: Fault, injected: Injected, told: str) -> dict[str, Any]:
    return {
        "fault": fault.name,
        "title": fault.title,
        "bed": bed,
        "grid": number,
        "at": f"{injected.at}/{world.total}",
        "did": injected.did,
        "seconds": round(injected.seconds, 1),
        "outcome": AGAIN if set(injected.codes) & fault.codes else SURVIVED,
        "told": told,
    }


def append(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def table(path: Path) -> str:
    """The log as a Markdown table: fault, times injected, outcome."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    faults: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        if "fault" in line:
            faults[line["fault"]].append(line)
    rows = ["| fault | what was done | injected | outcome |", "|---|---|---:|---|"]
    for name, found in sorted(faults.items()):
        outcomes = [line["outcome"] for line in found]
        said = ", ".join(f"{words}: {outcomes.count(words)}" for words in (SURVIVED, AGAIN) if words in outcomes)
        rows.append(f"| `{name}` | {found[0]['title']} | {len(found)} | {said} |")
    grids = [line for line in lines if "fault" not in line]
    broken = [line for line in grids if "broken" in line]
    total = sum(map(len, faults.values()))
    kept = f"{total} faults in {len(grids) - len(broken)} runs of a grid that kept every promise"
    rows += ["", f"{kept}; {len(broken)} runs broke one."]
    return "\n".join(rows)
