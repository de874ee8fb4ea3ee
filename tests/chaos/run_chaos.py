"""`python -m tests.chaos`: grids that run while faults are thrown at them, until so many have been injected; `make chaos` calls it.

Ends with 1, and names the promise that was broken, at the first one. What a broken grid left stays for looking at.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.chaos import beds, record
from tests.chaos.fault import Fault
from tests.chaos.faults import faults_of
from tests.chaos.grid import Undisturbed, undisturbed
from tests.chaos.judge import judge
from tests.chaos.play import Play, draw
from tests.chaos.world import Broken, World

BEDS: dict[str, Callable[[Path, Undisturbed, int], AbstractContextManager[World]]] = {
    "folder": lambda folder, reference, seed: beds.in_a_folder(folder, reference),
    "services": lambda folder, reference, seed: beds.with_services(folder, reference, seed=seed),
    "nodes": lambda folder, reference, seed: beds.on_nodes(folder, reference),
}


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.table:
        print(record.table(arguments.log))
        return
    folder = Path(tempfile.mkdtemp(prefix="s2l-chaos-"))
    began = time.monotonic()
    arguments.log.unlink(missing_ok=True)
    print(f"an undisturbed run first, of {arguments.seeds} seeds", flush=True)
    reference = undisturbed(_made(folder / "undisturbed"), arguments.seeds)
    injected = 0
    for number, (bed, faults) in enumerate(_rounds(arguments.bed or list(BEDS), arguments.per_grid, arguments.only)):
        if injected >= arguments.faults:
            break
        seed = arguments.seed + number
        print(f"grid {number} ({bed}, seed {seed}): {', '.join(fault.name for fault in faults)}", flush=True)
        try:
            lines = one_grid(folder / f"grid-{number}", reference, bed, faults, number, seed, lambda text: print(text, flush=True))
        except Broken as error:
            raise SystemExit(f"BROKEN after {injected} faults: {error}\nwhat is left: {folder / f'grid-{number}'}") from None
        record.append(arguments.log, lines)
        injected += len(lines) - 1
        print(f"  held; {injected} of {arguments.faults} faults after {(time.monotonic() - began) / 60:.1f} min", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    print(record.table(arguments.log))


def one_grid(
    folder: Path, reference: Undisturbed, bed: str, faults: list[Fault], number: int, seed: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Play one grid, judge it, and give back the lines for the log.

    Raises:
        Broken: a promise was broken.
    """
    rng = random.Random(seed)
    with BEDS[bed](folder, reference, seed) as world:
        play = Play(world, draw(faults, world.total, rng), rng, say)
        play.run()
        judge(world)
        return record.lines_of(world, bed, number, seed, play.done)


def _rounds(names: list[str], per_grid: int, only: list[str]) -> Iterator[tuple[str, list[Fault]]]:
    """Beds in turn, and for each the next few of its faults, so that every kind comes as often as every other."""
    queues = {name: deque(fault for fault in faults_of(name) if not only or fault.name in only) for name in names}
    while any(queues.values()):
        for name, queue in queues.items():
            if queue:
                yield name, [queue[0] for _ in range(per_grid) if not queue.rotate(-1)]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=120, help="stop after so many [120]")
    parser.add_argument("--seed", type=int, default=0, help="of the first grid; the next one has the next [0]")
    parser.add_argument("--seeds", type=int, default=12, help="how long the grid is: so many seeds in two domains [12]")
    parser.add_argument("--per-grid", type=int, default=9, help="faults in one run of it [9]")
    parser.add_argument("--bed", action="append", choices=sorted(BEDS), help="only there; repeatable")
    parser.add_argument("--only", action="append", default=[], metavar="FAULT", help="only this one; repeatable")
    parser.add_argument("--log", type=Path, default=Path("chaos-log.jsonl"), help="one JSON line a fault [chaos-log.jsonl]")
    parser.add_argument("--table", action="store_true", help="print the table of a log, and run nothing")
    return parser
