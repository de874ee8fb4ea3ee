"""What planning knows of attacks: where they ask, and what cannot be run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from jobs.errors import GridError
from jobs.grid.read import read_grid
from jobs.grid.shapes import last_timestep
from jobs.plan.expand import expand
from s2l_core.attacks.engine import run_attacks
from s2l_core.specs.attacks import ATTACK_PRESETS, AttackSpec
from tests.attack_cases import KEYS, LINEAR, PROMPTS, X0

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("spec", ATTACK_PRESETS.values(), ids=lambda spec: f"{spec}")
def test_planning_knows_the_largest_timestep_that_an_attack_asks_at(spec: AttackSpec) -> None:
    asked: list[int] = []

    def denoise(x: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        asked.extend(t.tolist())
        return 0.5 * x

    run_attacks({"it": spec}, X0[:2], KEYS[:2], {"it": PROMPTS[:2]}, lambda prompts: torch.zeros(len(prompts)), denoise, LINEAR)
    assert max(asked) == last_timestep(spec)


@pytest.mark.parametrize("name", ATTACK_PRESETS)
def test_every_preset_can_be_planned(name: str) -> None:
    (trial, *_) = expand(read_grid("smoke", [f"attacks={name}"])).trials
    assert set(trial.metrics) == {name}


@pytest.mark.parametrize(
    ("attack", "problem"),
    [
        ("{kind: sima, t: 1000}", r"the attack sima-t1000 asks at timestep 1000; the model tiny has timesteps 0 to 999"),
        ("{kind: sima, p: 0}", r"p: got 0; it must be greater than 0"),
        ("{kind: sima, t: -1}", r"t: got -1; it must be at least 0"),
        ("{kind: sima, t: many}", r"t: got \"many\"; it must be a whole number"),
        ("{kind: sima, timesteps: [1]}", r"unknown key \"timesteps\"; allowed: kind, access, t, p"),
        ("{kind: secmi_nns, t: 995, k: 5}", r"asks at timestep 1000; the model tiny has timesteps 0 to 999"),
        ("{kind: secmi_nns, t: 15}", r"t must be a multiple of k; got t=15, k=10; try t=10"),
        ("{kind: secmi_nns, calibration: 1}", r"calibration: got 1; it must be less than 1"),
        ("{kind: pfami, timesteps: [10, 2000]}", r"asks at timestep 2000; the model tiny has timesteps 0 to 999"),
        ("{kind: pfami, crops: []}", r"crops: got \[\]; it needs at least 1 entry"),
        ("{kind: pfami, crops: [1.2]}", r"crops: \[0\]: got 1.2; it must be less than 1"),
        ("{kind: clid, timesteps: [1000]}", r"asks at timestep 1000; the model tiny has timesteps 0 to 999"),
        ("{kind: clid, pieces: 1}", r"one piece is the whole caption; give 0 \(nothing but the empty caption\) or 2 and more"),
        ("{kind: clid, loss_weight: -1}", r"loss_weight: got -1; it must be at least 0"),
        ("{kind: loss, timesteps: [50, 50]}", r"timesteps: 50 is given twice, and would be asked once and counted double; leave one out"),
    ],
)
def test_an_attack_that_cannot_be_run_is_refused_while_planning(attack: str, problem: str) -> None:
    with pytest.raises(GridError, match=problem):
        expand(read_grid("smoke", [f"attacks={attack}"]))


def test_an_attack_that_compares_captions_is_refused_where_there_is_none() -> None:
    with pytest.raises(GridError) as caught:
        expand(read_grid("smoke", ["attacks=loss,{kind: clid, name: worth}", "caption=null"]))
    assert str(caught.value) == (
        "--set caption=null: fixed.caption: the attack worth compares an image's caption with parts of it, and the null caption has none; "
        "attack with `own` or `domain`, or leave that attack out"
    )
    for caption in ("own", "domain"):
        assert expand(read_grid("smoke", ["attacks=clid", f"caption={caption}"])).trials


def test_the_grids_on_the_page_about_attacks_can_be_planned(tmp_path: Path) -> None:
    texts = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "attacks.md").read_text(), re.DOTALL)
    planned = {}
    for text in texts:
        file = tmp_path / f"{len(planned)}.yaml"
        file.write_text(text)
        grid = read_grid(str(file))
        planned[grid.name] = expand(grid).trials
    assert len(planned) == len(texts)
    (attacked,), choosing, known = (planned.pop(name) for name in ("attacked", "with-chosen-knobs", "known"))
    assert not planned
    assert set(attacked.metrics) == {"secmi", "sima", "pfami-short", "clid-pieces2-timesteps200.300"}
    assert len(choosing) == 9
    assert set(choosing[0].metrics) == {"secmi-chosen", "best"}
    assert len(known) == 12
    assert all(trial.memorisation is not None for trial in known)
