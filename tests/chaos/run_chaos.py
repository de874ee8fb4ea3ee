"""`python -m tests.chaos`: grids that run while faults are thrown at them, until so many have been injected; `make chaos` calls it.

Ends with 1, and names the promises that were broken, if any was; what such a grid left stays for looking at.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.chaos import beds, record
from tests.chaos.fault import Fault
from tests.chaos.faults.every import faults_of
from tests.chaos.grid import Undisturbed, undisturbed
from tests.chaos.judge import judge
from tests.chaos.play import Play, draw
from tests.chaos.world import Broken, World
from tests.chaos.zygote import Zygote

Bed = Callable[[Path, Undisturbed, int], AbstractContextManager[World]]
LOG = Path("s2l-data/chaos-log.jsonl")
ON_RAY, LOCAL = ("--workers", "2"), ("--local",)
ZYGOTE = Zygote()
BEDS: dict[str, Bed] = {
    "folder": lambda folder, reference, seed: beds.in_a_folder(folder, reference, *ON_RAY),
    "folder-local": lambda folder, reference, seed: beds.in_a_folder(folder, reference, *LOCAL),
    "services": lambda folder, reference, seed: beds.with_services(folder, reference, *ON_RAY, seed=seed),
    "services-local": lambda folder, reference, seed: beds.with_services(folder, reference, *LOCAL, seed=seed),
    "nodes": lambda folder, reference, seed: beds.on_nodes(folder, reference),
}


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.table:
        print(record.table(arguments.log))
        return
    folder = Path(tempfile.mkdtemp(prefix="s2l-chaos-"))
    arguments.log.parent.mkdir(parents=True, exist_ok=True)
    if not arguments.append:
        arguments.log.unlink(missing_ok=True)
    _say(f"an undisturbed run first, of {arguments.seeds} seeds")
    reference = undisturbed(arguments.reference or folder / "undisturbed", arguments.seeds)
    try:
        broken = _throw(arguments, folder, reference)
    finally:
        ZYGOTE.close()
    print(record.table(arguments.log))
    if broken:
        raise SystemExit(f"{len(broken)} grids broke a promise; what they left is in {', '.join(map(str, broken))}")
    shutil.rmtree(folder, ignore_errors=True)


def _throw(arguments: argparse.Namespace, folder: Path, reference: Undisturbed) -> list[Path]:
    """Grid after grid until enough faults were injected; the folders of those that broke a promise."""
    injected, began, broken = 0, time.monotonic(), []
    for number, (bed, faults) in enumerate(_rounds(arguments.bed or list(BEDS), arguments.per_grid, arguments.only)):
        if injected >= arguments.faults:
            break
        seed, place = arguments.seed + number, folder / f"grid-{number}"
        _say(f"grid {number} ({bed}, seed {seed}): {', '.join(fault.name for fault in faults)}")
        try:
            lines = one_grid(place, reference, bed, faults, number, seed, _say)
        except Broken as error:
            _say(f"BROKEN: {error}")
            record.append(arguments.log, [{"grid": number, "bed": bed, "seed": seed, "broken": str(error).splitlines()[0]}])
            broken.append(place)
            continue
        record.append(arguments.log, lines)
        injected += len(lines) - 1
        _say(f"  held; {injected} of {arguments.faults} faults after {(time.monotonic() - began) / 60:.1f} min")
    return broken


def _say(text: str) -> None:
    print(text, flush=True)


def one_grid(
    folder: Path, reference: Undisturbed, bed: str, faults: list[Fault], number: int, seed: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Play one grid, judge it, and give back the lines for the log.

    Raises:
        Broken: a promise was broken.
    """
    rng = random.Random(seed)
    with BEDS[bed](folder, reference, seed) as world:
        world.zygote = ZYGOTE if world.arguments == LOCAL else None
        play = Play(world, draw(faults, world.total, rng), rng, say)
        play.run()
        judge(world)
        return record.lines_of(world, bed, number, seed, play.done)


def _rounds(names: list[str], per_grid: int, only: list[str]) -> Iterator[tuple[str, list[Fault]]]:
    """Beds in turn, and for each the next few of its faults, so that every kind comes as often as every other."""
    found = {name: [fault for fault in faults_of(name) if not only or fault.name in only] for name in names}
    endless = {name: itertools.cycle(faults) for name, faults in found.items() if faults}
    while endless:
        for name, faults in endless.items():
            yield name, list(itertools.islice(faults, min(per_grid, len(found[name]))))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=120, help="stop after so many [120]")
    parser.add_argument("--seed", type=int, default=0, help="of the first grid; the next one has the next [0]")
    parser.add_argument("--seeds", type=int, default=12, help="how long the grid is: so many seeds in two domains [12]")
    parser.add_argument("--per-grid", type=int, default=9, help="faults in one run of it [9]")
    parser.add_argument("--reference", type=Path, metavar="FOLDER", help="where the undisturbed run is kept for the next time")
    parser.add_argument("--bed", action="append", choices=sorted(BEDS), help="only there; repeatable")
    parser.add_argument("--only", action="append", default=[], metavar="FAULT", help="only this one; repeatable")
    parser.add_argument("--log", type=Path, default=LOG, help=f"one JSON line a fault [{LOG}]")
    parser.add_argument("--append", action="store_true", help="keep what the log holds already")
    parser.add_argument("--table", action="store_true", help="print the table of a log, and run nothing")
    return parser
