"""Two plans side by side, and what the second adds in cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli.main import s2l
from jobs.errors import InputError
from jobs.grid.read import parse_grid
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.plan.costs import Cost, cost, like
from jobs.plan.difference import Changed, difference
from jobs.plan.expand import expand
from jobs.plan.graph import Node
from jobs.plan.plan import Plan
from jobs.store.open import open_store
from tests.ledger_cases import leave

GRID = """
name: costed
fixed: {model: tiny, data: tiny-faces, sp_size: 4, sp_steps: 2, steps: 2, batch: 2, lr: 1e-3, alpha: rank, attacks: [pia, loss]}
axes: {domain: [zorvik], method: [dreambooth, lora], seed: [0]}
"""
MORE = GRID.replace("seed: [0]", "seed: [0, 1, 2]").replace("lr: 1e-3", "lr: 0.001")


def plan(text: str = GRID) -> Plan:
    return expand(parse_grid(text, "costed"))


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("S2L_STORE", str(tmp_path / "store"))
    return Ledger(open_store(str(tmp_path / "store")))


def commit(ledger: Ledger, folder: Path, nodes: list[Node], seconds: dict[tuple[str, ...], float]) -> None:
    """Commit stages as if each had taken its kind's seconds and left ten bytes for each of them."""
    manifests: dict[str, Manifest] = {}
    for node in nodes:
        took = seconds.get(like(node), 1.0)
        out = leave(folder, node.key, {"out": node.key.encode()[:8].ljust(int(took * 10), b".")})
        parents = {parent.key: manifests[parent.key] for _, parent in node.parents}
        manifests[node.key] = ledger.commit(node, out, parents=parents, made={"seconds": took})


def test_what_means_the_same_is_shared_however_it_is_written() -> None:
    found = difference(plan(), plan(MORE))
    assert found.settings == {"seed": Changed((1, 2), ())}
    assert found.trials == (4, 0, 2)
    assert {(node.kind, node.spec.seed) for node in found.added if node.kind == "shake"} == {("shake", 1), ("shake", 2)}  # type: ignore[attr-defined]
    assert found.removed == []
    assert found.shared == {"data": 1, "base": 1, "sp": 1, "shake": 2, "score": 6, "blind": 1, "metrics": 4}
    back = difference(plan(MORE), plan())
    assert (back.settings, back.trials) == ({"seed": Changed((), (1, 2))}, (0, 4, 2))
    assert {node.key for node in back.removed} == {node.key for node in found.added}


def test_a_fixed_value_that_becomes_an_axis_is_a_change_of_values() -> None:
    swept = GRID.replace("lr: 1e-3, ", "").replace("axes: {", "axes: {lr: [1e-3, 1e-2], ")
    assert difference(plan(), plan(swept)).settings == {"lr": Changed((0.01,), ())}


SECONDS = {("shake", "dense", "dreambooth"): 30.0, ("shake", "lora", "denoise"): 10.0, ("score", "pia"): 3.0, ("score", "loss"): 2.0}


def test_added_stages_cost_what_like_ones_took(ledger: Ledger, tmp_path: Path) -> None:
    a, b = plan(), plan(MORE)
    commit(ledger, tmp_path, a.nodes(), SECONDS)
    costs = cost(difference(a, b).added, a.nodes(), ledger)
    assert costs == {
        "shake": Cost(4, 2 * 30.0 + 2 * 10.0, 800.0),
        "score": Cost(8, 4 * 3.0 + 4 * 2.0, 200.0),
        "metrics": Cost(8, 8.0, 80.0),
    }


def test_what_nothing_like_was_measured_of_is_unknown(ledger: Ledger, tmp_path: Path) -> None:
    a, b = plan(GRID.replace("dreambooth, lora", "lora")), plan(MORE)
    commit(ledger, tmp_path, a.nodes(), SECONDS)
    added = difference(a, b).added
    shakes = cost(added, a.nodes(), ledger)["shake"]
    assert shakes == Cost(5, 2 * 10.0, 200.0, unknown=3)
    assert cost(added, [], Ledger(open_store(str(tmp_path / "empty"))))["shake"] == Cost(5, unknown=5)


def test_another_grid_of_the_store_teaches_too(ledger: Ledger, tmp_path: Path) -> None:
    other = plan(GRID.replace("zorvik", "mellune"))
    commit(ledger, tmp_path, other.nodes(), SECONDS)
    assert cost(plan().nodes(), plan().nodes(), ledger)["shake"] == Cost(2, 40.0, 400.0)


# --- the command ---


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "a.yaml").write_text(GRID)
    (tmp_path / "b.yaml").write_text(MORE)
    return str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")


def answer(*args: str) -> Any:
    done = CliRunner().invoke(s2l, ["diff", *args, "--json"])
    if done.exception:
        raise done.exception
    return json.loads(done.stdout)


def test_the_command_tells_stages_and_cost(ledger: Ledger, tmp_path: Path, files: tuple[str, str]) -> None:
    commit(ledger, tmp_path, plan().nodes(), SECONDS)
    found = answer(*files)
    assert found["settings"] == {"seed": {"added": [1, 2], "removed": []}}
    assert found["trials"] == {"added": 4, "removed": 0, "shared": 2}
    assert found["stages"]["shake"] == {
        "added": 4,
        "removed": 0,
        "shared": 2,
        "to_run": 4,
        "seconds": 80.0,
        "bytes": 800,
        "unknown": 0,
    }
    assert found["cost"] == {"to_run": 20, "seconds": 108.0, "bytes": 1080, "unknown": 0}
    told = CliRunner().invoke(s2l, ["diff", *files]).stdout
    assert "seed       + 1, 2" in told
    assert "B adds 20 stages to run: about 2 min on one worker, 1.1 KB" in told


def test_what_b_adds_and_is_done_already_costs_nothing(ledger: Ledger, tmp_path: Path, files: tuple[str, str]) -> None:
    commit(ledger, tmp_path, plan(MORE).nodes(), SECONDS)
    assert answer(*files)["cost"] == {"to_run": 0, "seconds": 0.0, "bytes": 0, "unknown": 0}
    assert "nothing to run: what B adds is done already" in CliRunner().invoke(s2l, ["diff", *files]).stdout


def test_unknown_costs_are_null_and_said(ledger: Ledger, files: tuple[str, str]) -> None:
    assert answer(*files)["cost"] == {"to_run": 20, "seconds": None, "bytes": None, "unknown": 20}
    assert "cost unknown, as nothing like them was measured in this store" in CliRunner().invoke(s2l, ["diff", *files]).stdout


def test_set_b_alone_compares_a_grid_with_more_of_itself(ledger: Ledger, files: tuple[str, str]) -> None:
    assert answer(files[0], files[0], "--set-b", "seed=0,1")["settings"] == {"seed": {"added": [1], "removed": []}}
    both = answer(files[0], files[0], "--set", "rank=4", "--set-b", "seed=0,1")
    assert both["settings"] == {"seed": {"added": [1], "removed": []}}
    assert both["a"]["grid_key"] != answer(*files)["a"]["grid_key"]


def test_profiles_may_differ(ledger: Ledger) -> None:
    found = answer("lora-rank", "lora-rank", "--profile", "tiny", "--profile-b", "tiny")
    assert found["trials"]["added"] == 0


def test_a_grid_that_was_run_is_named_by_its_key(ledger: Ledger, files: tuple[str, str]) -> None:
    a = plan()
    ledger.save_grid({"grid": a.grid, "grid_key": a.grid_key, "document": a.document})
    name = f"costed@{a.grid_key[:10]}"
    found = answer(name, files[1])
    assert found["a"]["grid_key"] == a.grid_key
    assert found["trials"] == {"added": 4, "removed": 0, "shared": 2}
    with pytest.raises(InputError, match="no registered grid is called costed@ffff"):
        answer("costed@ffff", files[1])
    with pytest.raises(InputError, match="is a grid as it was run"):
        answer(name, files[1], "--set", "seed=1")
