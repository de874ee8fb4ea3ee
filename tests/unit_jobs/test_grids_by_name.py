"""A grid by the name that it was run under: which one that is, and what is said where several have it. Stages do nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli.main import s2l
from jobs.errors import GridError, InputError
from jobs.execute import run as run_module
from jobs.execute.options import RunOptions

GRID = "name: my-grid\nfixed: {attacks: [loss], alpha: rank}\naxes: {domain: [zorvik], method: [none, lora], seed: SEEDS}\n"


class World:
    """A folder with a store, and a grid file that comes and goes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "my-grid.yaml"

    def call(self, *args: str) -> Any:
        more = ["--local", "--no-tracking"] if args[0] in ("run", "retry") else []
        return CliRunner().invoke(s2l, [*args, *more, "--store", str(self.folder / "store")], standalone_mode=False, catch_exceptions=False)

    def ran(self, seeds: str) -> str:
        """Run the grid with these seeds and remove its file; gives the grid's key."""
        self.file.write_text(GRID.replace("SEEDS", seeds))
        key = str(json.loads(self.call("plan", str(self.file), "--json").stdout)["grid_key"])
        self.call("run", str(self.file))
        self.file.unlink()
        saved = self.folder / "store" / "grids" / "my-grid" / f"{key}.json"
        self.age = getattr(self, "age", 1000.0) - 100.0
        os.utime(saved, (time.time() - self.age,) * 2)
        return key


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    plain = run_module.run_plan

    def with_stages(plan: Any, ledger: Any, options: RunOptions, *more: Any) -> Any:
        return plain(plan, ledger, RunOptions(**vars(options) | {"stages": "tests.benchmarks.noop_stages"}), *more)

    monkeypatch.setattr(run_module, "run_plan", with_stages)
    return World(tmp_path)


def test_a_grid_that_was_run_is_found_by_its_name_and_it_is_said_which_one(world: World) -> None:
    key = world.ran("[0]")
    said = f"s2l: grid my-grid: no file, so taken as it was run with this store: my-grid@{key[:12]} (first run 20"
    status = world.call("status", "my-grid", "--json")
    assert json.loads(status.stdout)["trials"]["done"] == 2
    assert said in status.stderr
    for command in (["plan"], ["retry", "--dry-run"], ["report", "-o", "page.html"], ["diff", "my-grid"], ["run"]):
        assert said in world.call(command[0], "my-grid", *command[1:]).stderr, command
    assert "my-grid: 1 trial" not in world.call("status", f"my-grid@{key[:4]}").stdout
    trial = json.loads(world.call("diff", "my-grid", f"my-grid@{key[:6]}", "--json").stdout)
    assert trial["trials"] == {"added": 0, "removed": 0, "shared": 2}


def test_of_several_grids_of_one_name_the_newest_is_taken_and_all_are_named(world: World) -> None:
    old, new = world.ran("[0]"), world.ran("[0, 1]")
    status = world.call("status", "my-grid", "--json")
    assert sum(json.loads(status.stdout)["trials"].values()) == 3
    assert f"my-grid@{new[:12]} (first run " in status.stderr
    assert f"the newest of 2; also there: my-grid@{old[:12]} (" in status.stderr
    assert sum(json.loads(world.call("status", f"my-grid@{old[:8]}", "--json").stdout)["trials"].values()) == 2
    again = world.ran("[0]")
    assert again == old
    with pytest.raises(InputError, match=f"2 grids called my-grid were run with this store: name one of my-grid@{old[:12]}"):
        world.call("run", "my-grid")
    assert world.call("run", f"my-grid@{new[:8]}").return_value == 0


def test_a_file_and_a_shipped_name_come_before_the_store(world: World) -> None:
    world.ran("[0]")
    Path("my-grid").write_text(GRID.replace("SEEDS", "[0, 1, 2]"))
    status = world.call("status", "my-grid", "--json")
    assert sum(json.loads(status.stdout)["trials"].values()) == 4
    assert "run with this store" not in status.stderr


def test_a_shipped_name_whose_grid_was_run_otherwise_only_says_so(world: World) -> None:
    key = str(json.loads(world.call("plan", "smoke", "--set", "method=none", "--json").stdout)["grid_key"])
    assert world.call("status", "smoke").stderr == ""
    world.call("run", "smoke", "--set", "method=none")
    said = f"s2l: smoke as it ships was not run with this store; what was: smoke@{key[:12]} ("
    assert said in world.call("status", "smoke").stderr
    assert world.call("status", "smoke", "--set", "method=none").stderr == ""
    assert f"taken as it was run with this store: smoke@{key[:12]}" in world.call("status", f"smoke@{key[:6]}").stderr


def test_a_name_that_nobody_knows_is_refused_with_those_that_are_known(world: World) -> None:
    world.ran("[0]")
    with pytest.raises(GridError, match=r"my-gird: no such grid; give a YAML path or a shipped name: .*; run with this store: my-grid$"):
        world.call("status", "my-gird")
    with pytest.raises(GridError, match=r"my-grid\.yaml: no such grid"):
        world.call("status", "my-grid.yaml")
    with pytest.raises(InputError, match="no registered grid is called my-grid@ffff"):
        world.call("status", "my-grid@ffff")
    with pytest.raises(InputError, match="my-grid is a grid as it was run, with its profile and values; leave --profile and --set out"):
        world.call("status", "my-grid", "--set", "seed=0")


def test_cancel_and_attach_know_the_name_and_the_key(world: World) -> None:
    key = world.ran("[0]")
    attached = world.call("attach", f"my-grid@{key[:4]}")
    assert attached.return_value == 0
    assert " of my-grid ended with exit code 0 at 20" in attached.stderr.splitlines()[0]
    assert "Ctrl-C" not in attached.stderr
    with pytest.raises(InputError, match="no run of my-grid is at work with this store; the last one"):
        world.call("cancel", "my-grid")
