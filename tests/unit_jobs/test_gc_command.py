"""`s2l gc` over grids that were registered, with stages that were committed by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.cli.main import s2l
from jobs.errors import InputError
from jobs.grid.read import read_grid
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.plan.expand import expand
from jobs.plan.plan import Plan
from jobs.store.open import open_store
from tests.ledger_cases import leave


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("S2L_STORE", str(tmp_path / "store"))
    return Ledger(open_store(str(tmp_path / "store")))


def run(*args: str, check: int = 0) -> Result:
    done = CliRunner().invoke(s2l, ["gc", *args])
    assert done.exit_code == check or isinstance(done.exception, InputError), done.output
    return done


def answer(*args: str) -> Any:
    return json.loads(run(*args, "--json").stdout)


def done(ledger: Ledger, tmp_path: Path, *sets: str) -> Plan:
    """A plan of the grid `smoke` that is registered, and all of whose stages are committed, with something in them."""
    plan = expand(read_grid("smoke", sets))
    ledger.save_grid(plan.registration())
    manifests: dict[str, Manifest] = {}
    for node in plan.nodes():
        parents = {parent.key: manifests[parent.key] for _, parent in node.parents}
        manifests[node.key] = ledger.commit(node, leave(tmp_path, node.key, {"out": node.key.encode()}), parents=parents, made={})
    return plan


def keys(plan: Plan) -> set[str]:
    return {node.key for node in plan.nodes()}


def committed(ledger: Ledger, plans: Sequence[Plan]) -> set[str]:
    kinds = {node.kind for plan in plans for node in plan.nodes()}
    return {key for kind in kinds for key in ledger.committed(kind)}


def test_what_registered_grids_ask_for_stays_and_what_only_a_forgotten_one_does_goes(ledger: Ledger, tmp_path: Path) -> None:
    small, large = done(ledger, tmp_path, "seed=0"), done(ledger, tmp_path, "seed=0,1")
    assert answer("--grace", "0")["bytes"] == 0
    name = f"smoke@{large.grid_key[:12]}"
    found = answer("--grace", "0", "--forget", name)
    only = keys(large) - keys(small)
    assert found["deleted"] is False
    assert found["forgotten"] == [f"smoke@{large.grid_key}"]
    assert found["found"]["grids"]["objects"] == 1
    assert found["found"]["stages"]["objects"] == found["found"]["stage_blobs"]["objects"] == sum(found["stages"].values()) == len(only) > 0
    assert found["found"]["stage_blobs"]["bytes"] == 64 * len(only)
    assert committed(ledger, [small, large]) == keys(small) | keys(large)
    assert len(ledger.grids()) == 2

    assert answer("--grace", "0", "--forget", name, "--delete") == found | {"deleted": True}
    assert committed(ledger, [small, large]) == keys(small)
    assert [grid["grid_key"] for grid in ledger.grids()] == [small.grid_key]
    assert answer("--grace", "0")["bytes"] == 0


def test_nothing_goes_that_is_younger_than_a_day_unless_told(ledger: Ledger, tmp_path: Path) -> None:
    plan = done(ledger, tmp_path)
    assert answer("--forget", "smoke")["found"]["stages"]["objects"] == 0
    assert answer("--forget", "smoke", "--grace", "0")["found"]["stages"]["objects"] == len(keys(plan))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"name": "broken", "axes": {"domain": ["nobody-known"]}}, "cannot be planned any more"),
        ("of smoke, with its data gone", "/no/such/folder"),
        (None, "cannot be planned any more"),
        ("of smoke", "means other trials in this version of S2L"),
    ],
)
def test_a_grid_that_cannot_be_told_keeps_all_stages_until_it_is_forgotten(
    ledger: Ledger, tmp_path: Path, document: object, said: str
) -> None:
    plan = done(ledger, tmp_path)
    if isinstance(document, str):
        gone = {"fixed": plan.document["fixed"] | {"data": "/no/such/folder"}} if "gone" in document else {}
        document = plan.document | gone
    ledger.save_grid({"grid": "broken", "grid_key": "1" * 64} | ({} if document is None else {"document": document}))
    found = answer("--grace", "0", "--forget", "smoke")
    assert found["found"]["stages"]["objects"] == 0
    assert said in found["kept"][0]
    assert found["kept"][0].startswith("all stages stay: ")
    assert answer("--grace", "0", "--forget", "smoke", "--forget", "broken")["found"]["stages"]["objects"] == len(keys(plan))


def test_a_garbled_document_keeps_all_stages(ledger: Ledger, tmp_path: Path) -> None:
    plan = done(ledger, tmp_path)
    (tmp_path / "store" / "grids" / "smoke" / f"{plan.grid_key}.json").write_text("{")
    found = answer("--grace", "0")
    assert found["found"]["stages"]["objects"] == 0
    assert "cannot be read" in found["kept"][0]


def test_the_table_says_what_would_go_and_how(ledger: Ledger, tmp_path: Path) -> None:
    plan = done(ledger, tmp_path)
    told = run("--grace", "0", "--forget", "smoke").stdout
    assert f"{'stages that no registered grid reaches':40} {len(keys(plan)):>9,}" in told
    assert "nothing was removed; next: the same command with --delete" in told
    assert run("--grace", "0").stdout == "nothing to remove\n"
    assert "\nremoved\n" in run("--grace", "0", "--forget", "smoke", "--delete").stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--forget", "smok"), r"no registered grid is called smok; registered in this store: smoke@[0-9a-f]{12}$"),
        (("--forget", "smoke@ffff"), "no registered grid is called smoke@ffff"),
    ],
)
def test_a_grid_that_is_not_registered_cannot_be_forgotten(ledger: Ledger, tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    done(ledger, tmp_path)
    error = run(*args).exception
    assert isinstance(error, InputError)
    assert re.search(said, str(error))


def test_a_key_s_beginning_that_fits_several_is_refused(ledger: Ledger) -> None:
    for end in "12":
        ledger.save_grid({"grid": "twin", "grid_key": "a" * 63 + end})
    error = run("--forget", "twin@aa").exception
    assert isinstance(error, InputError)
    assert "twin@aa fits 2 registered grids; give more of the key" in str(error)
    assert answer("--forget", "twin")["found"]["grids"]["objects"] == 2


def test_an_empty_store_is_said(ledger: Ledger) -> None:
    error = run().exception
    assert isinstance(error, InputError)
    assert "there is nothing in the store" in str(error)
