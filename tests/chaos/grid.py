"""The grid that faults are thrown at, and what an undisturbed run of it leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jobs.grid.read import read_grid
from jobs.plan.expand import expand
from jobs.plan.plan import Plan
from tests.s2l_process import Home

GRID = """\
name: chaos
fixed:
  {model: tiny, data: tiny-faces, sp_size: 8, sp_steps: 4, steps: 12, batch: 4, lr: 1.0e-2, alpha: rank, bootstrap: 100, attacks: [pia]}
axes:
  domain: [zorvik, mellune]
  method: [none, lora+dreambooth]
  rank: [1]
  seed: [SEEDS]
when:
  rank: {method: lora+dreambooth}
  seed: {method: lora+dreambooth}
retry:
  hung: {after_s: HUNG_S, tries: 20}
  transient: {wait_s: 0.5, longest_wait_s: 4, tries: 100}
"""


@dataclass(frozen=True)
class Undisturbed:
    """What the grid leaves when nothing goes wrong, in one process, one stage after the other.

    Attributes:
        results: the bytes of `s2l results --format json`.
        digests: name of a manifest -> what the stage made.
    """

    grid: Path
    results: bytes
    digests: dict[str, str]

    @cached_property
    def plan(self) -> Plan:
        return expand(read_grid(str(self.grid), ()))


def undisturbed(folder: Path, seeds: int, hung_after_s: float = 60.0) -> Undisturbed:
    """Run the grid once with 2 domains x (un-shaken, LoRA with so many seeds); what the folder holds from before is used again."""
    folder.mkdir(parents=True, exist_ok=True)
    grid = folder / "chaos.yaml"
    text = GRID.replace("SEEDS", ", ".join(map(str, range(seeds))))
    grid.write_text(text.replace("HUNG_S", str(hung_after_s)))
    home = Home(folder)
    home.run("run", str(grid), "--local", "--no-tracking")
    manifests = (home.store / "manifests").rglob("*.json")
    digests = {str(path.relative_to(home.store)): str(json.loads(path.read_bytes())["digest"]) for path in manifests}
    return Undisturbed(grid, home.results(str(grid)), digests)
