"""Finished grids of the kinds that papers are made of: a sweep, domain transfer, many methods. Only to be looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.grid_by_hand import World, world_of
from tests.plan_by_hand import Point

SIX = ("alba", "bruno", "chiara", "dora", "elio", "fina")
TWELVE = tuple(f"person-{number:02d}" for number in range(1, 13))
METHODS = (
    "dreambooth",
    "end2end",
    "lora",
    "lora+dreambooth",
    "textual-inversion",
    "textual-inversion+lora",
    "textual-inversion+dreambooth",
    "hypernetwork",
    "hypernetwork+dreambooth",
    "gaussian",
)


def finished(folder: Path, points: Sequence[Point], effect: Callable[[Point, str], float], **settings: Any) -> World:
    """A world with everything committed, and nothing of it meant to outlive a power cut."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jobs.store.folder._sync", lambda *_: None)
        return world_of(folder, points, effect, **settings).finish()


def rank_points(domains: Sequence[str] = SIX, seeds: Sequence[int] = (0,)) -> list[Point]:
    """LoRA ranks with alpha fixed and with alpha = rank, the positive control at each rank, and the baseline."""
    point = {"train_on": "sp"}
    loras = [point | {"method": "lora", "rank": rank, "alpha": alpha} for rank in (1, 2, 4, 8) for alpha in ("rank", 32.0)]
    controls = [{"method": "lora", "rank": rank, "alpha": "rank", "train_on": "members"} for rank in (1, 2, 4, 8)]
    every = [point | {"method": "none", "rank": None, "alpha": None}, *loras, *controls]
    return [{"domain": domain, **each, "seed": seed} for domain in domains for each in every for seed in seeds]


def rank_effect(axes: Point, attack: str) -> float:
    if axes["train_on"] == "members":
        return 1.2
    return 0.0 if axes["rank"] is None else 0.1 * math.log2(2 * axes["rank"]) * (1.0 if axes["alpha"] == "rank" else 2.0)


def transfer_points(domains: Sequence[str] = SIX[:4], train_on: Sequence[str] = ("sp", "members")) -> list[Point]:
    ways = [{"method": "none", "train_on": "sp"}, *({"method": "dreambooth", "train_on": each} for each in train_on)]
    return [{"domain": domain, "attack_domain": other, "seed": 0} | way for domain in domains for other in domains for way in ways]


def transfer_effect(axes: Point, attack: str) -> float:
    """Leakage that belongs to the domain alone."""
    if axes["domain"] != axes["attack_domain"]:
        return 0.0
    return 1.2 if axes["train_on"] == "members" else 0.6


def many_points(domains: Sequence[str] = TWELVE) -> list[Point]:
    """Every method with two seeds, and the controls."""
    rest = {"sigma": None, "train_on": "sp", "seed": 0}
    ways = [{"method": method, **rest, "seed": seed} for method in METHODS for seed in (0, 1)]
    ways += [{"method": "none", **rest}, {"method": "gaussian", **rest, "sigma": "match"}]
    ways += [{"method": "dreambooth", **rest, "train_on": train_on} for train_on in ("members", "unrelated")]
    return [{"domain": domain} | way for domain in domains for way in ways]


def many_effect(axes: Point, attack: str) -> float:
    if axes["train_on"] != "sp":
        return 1.2 if axes["train_on"] == "members" else 0.0
    if attack.endswith("@own-caption") or axes["sigma"] == "match":
        return 0.0
    return {"dreambooth": 0.4, "end2end": 0.5, "textual-inversion": 0.3, "hypernetwork": -0.3}.get(axes["method"], 0.0)


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A sweep over ranks with two ways to set alpha, six domains."""
    return finished(tmp_path_factory.mktemp("ranks"), rank_points(), rank_effect)


@pytest.fixture(scope="session")
def transfer(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Four domains, each attacked after fine-tuning for each."""
    return finished(tmp_path_factory.mktemp("transfer"), transfer_points(), transfer_effect, attacks=("loss",))


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Ten methods with two seeds and the controls on twelve domains: about three hundred trials."""
    return finished(tmp_path_factory.mktemp("many"), many_points(), many_effect, attacks=("secmi",))
