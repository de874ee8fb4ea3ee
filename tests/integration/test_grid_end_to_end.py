"""A grid from plan to results: only the difference runs, workers and order change nothing, corrupt stores mend, S3 does as a folder."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.s2l_process import Home, chaos_grid

Finished = tuple[Home, Path]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A grid that ran in one process, without Ray."""
    folder = tmp_path_factory.mktemp("finished")
    home, grid = Home(folder), chaos_grid(folder)
    home.run("run", str(grid), "--local", "--no-tracking")
    return home, grid


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Finished:
    """A store of one's own with the same content."""
    home, _ = finished
    for source in home.store.rglob("*"):
        if source.is_file():
            target = tmp_path / source.relative_to(home.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return Home(tmp_path), chaos_grid(tmp_path)


def to_run(plan: dict[str, Any]) -> dict[str, int]:
    return {kind: row["to_run"] for kind, row in plan["stages"].items() if row["to_run"]}


def by_kind(names: set[str]) -> dict[str, int]:
    kinds = [Path(name).parent.name for name in names]
    return {kind: kinds.count(kind) for kind in set(kinds)}


def test_results_are_rows_of_the_contracts_columns_in_its_order(finished: Finished) -> None:
    home, grid = finished
    rows = json.loads(home.results(str(grid)))
    columns = [
        "trial_key",
        "domain",
        "method",
        "rank",
        "seed",
        "attack",
        "metric",
        "before",
        "after",
        "delta",
        "delta_low",
        "delta_high",
        "verdict",
    ]
    assert set(rows[0]) == {*columns, "n_member", "n_non_member"}
    order = [(row["trial_key"], row["attack"], row["metric"]) for row in rows]
    assert order == sorted(order)
    assert {row["metric"] for row in rows} == {"auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001", "asr"}
    assert len({row["trial_key"] for row in rows}) == 6
    for row in rows:
        assert row["verdict"] in ("amplified", "reduced", "none", "inverted")
        assert row["delta_low"] <= row["delta"] <= row["delta_high"]
        assert row["delta"] == pytest.approx(row["after"] - row["before"], abs=1e-12)
    assert all(row["delta"] == 0.0 for row in rows if row["method"] == "none")
    assert any(row["delta"] != 0.0 for row in rows if row["method"] != "none")


def test_running_again_runs_nothing_and_says_so(finished: Finished) -> None:
    home, grid = finished
    before = home.manifests()
    done = home.run("run", str(grid), "--no-tracking")
    assert "nothing to run" in done.stdout
    assert home.manifests() == before


def test_ray_with_two_workers_and_domains_in_another_order_gives_the_same_bytes(finished: Finished, tmp_path: Path) -> None:
    reference, grid = finished
    home, other = Home(tmp_path), chaos_grid(tmp_path)
    text = other.read_text()
    (line,) = [line for line in text.splitlines() if line.strip().startswith("domain:")]
    one, two = line.split("[")[1].rstrip("]").split(", ")
    other.write_text(text.replace(line, f"  domain: [{two}, {one}]"))
    answer = home.json("run", str(other), "--workers", "2", "--no-tracking")
    assert answer["trials"] == {"done": 6, "failed": 0, "blocked": 0}
    assert home.results(str(other)) == reference.results(str(grid))
    assert set(home.manifests()) == set(reference.manifests())


def test_adding_a_seed_runs_exactly_what_the_plan_says(copy: Finished) -> None:
    home, grid = copy
    before = set(home.manifests())
    promised = to_run(home.json("plan", str(grid), "--set", "seed=0,1"))
    assert promised == {"shake": 4, "score": 4, "metrics": 4, "pooled": promised["pooled"]}
    answer = home.json("run", str(grid), "--set", "seed=0,1", "--local", "--no-tracking")
    assert answer["stages"]["ran"] == sum(promised.values())
    assert by_kind(set(home.manifests()) - before) == promised
    assert before <= set(home.manifests())


def damage(home: Home, how: str) -> str:
    """Spoil one stage that the results hang on; returns its key."""
    manifest = sorted((home.store / "manifests" / "metrics").glob("*.json"))[0]
    payload = json.loads(manifest.read_text())["payloads"][0]
    blob = home.store / "blobs" / payload["sha256"][:2] / payload["sha256"]
    if how == "flipped byte":
        content = bytearray(blob.read_bytes())
        content[random.Random(0).randrange(len(content))] ^= 1
        blob.write_bytes(content)
    elif how == "deleted blob":
        blob.unlink()
    else:
        manifest.write_bytes(manifest.read_bytes()[:100])
    return manifest.stem


@pytest.mark.parametrize("how", ["flipped byte", "deleted blob", "truncated manifest"])
def test_what_is_spoiled_is_found_named_set_aside_and_made_again(copy: Finished, finished: Finished, how: str) -> None:
    home, grid = copy
    key = damage(home, how)
    found = home.run("verify", check=[3])
    assert key in found.stdout
    assert "metrics" in found.stdout
    problems = home.json("verify", check=[3])["problems"]
    assert {(problem["kind"], problem["key"]) for problem in problems if problem["severity"] == "error"} == {("metrics", key)}
    home.run("verify", "--repair", check=[3])
    home.run("verify")
    answer = home.json("run", str(grid), "--local", "--no-tracking")
    assert answer["stages"]["ran"] == 1
    assert home.results(str(grid)) == finished[0].results(str(grid))
    assert any(path.is_file() for path in (home.store / "quarantine").rglob("*"))


def test_a_spoiled_parent_is_made_again_when_a_new_trial_reads_it(copy: Finished) -> None:
    home, grid = copy
    (manifest, *_) = sorted((home.store / "manifests" / "sp").glob("*.json"))
    payload = json.loads(manifest.read_text())["payloads"][0]
    (home.store / "blobs" / payload["sha256"][:2] / payload["sha256"]).write_bytes(b"nonsense")
    done = home.run("run", str(grid), "--set", "seed=0,1", "--local", "--no-tracking")
    assert manifest.stem in done.stderr
    assert "quarantine" in done.stderr
    home.run("verify")
    assert home.json("run", str(grid), "--set", "seed=0,1", "--no-tracking")["stages"]["ran"] == 0


def test_a_failing_trial_is_a_record_and_the_rest_goes_on(tmp_path: Path) -> None:
    home, grid = Home(tmp_path), chaos_grid(tmp_path)
    grid.write_text(grid.read_text().replace("lr: 1.0e-2", "lr: 1.0e+30"))
    answer = home.json("run", str(grid), "--workers", "2", check=[3])
    assert answer["trials"] == {"done": 2, "failed": 4, "blocked": 0}
    status = home.json("status", str(grid))
    assert status["trials"] == {"done": 2, "failed": 4, "blocked": 0, "missing": 0}
    (failure,) = status["failures"]
    assert failure["class"] == "numerical"
    assert failure["count"] == 4
    assert "step" in failure["message"]
    (record, *_) = sorted((home.store / "failures" / "shake").rglob("*.json"))
    kept = json.loads(record.read_text())
    assert "NumericalFailure" in kept["traceback"]
    assert kept["host"]
    rows = json.loads(home.results(str(grid)))
    assert {row["method"] for row in rows} == {"none"}


def test_a_folder_and_a_real_s3_server_give_the_same_results(finished: Finished, tmp_path: Path) -> None:
    from cluster.services import seaweedfs

    reference, grid = finished
    server = seaweedfs.start(tmp_path / "weed", buckets=("runs",))
    try:
        home = Home(tmp_path)
        environment = home.environment() | server.environment() | {"S2L_STORE": "s3://runs/audit"}
        home.environment = lambda: environment  # type: ignore[method-assign]
        answer = home.json("run", str(grid), "--workers", "2", "--no-tracking")
        assert answer["trials"]["done"] == 6
        assert home.results(str(grid)) == reference.results(str(grid))
        home.run("verify")
        secret = environment["AWS_SECRET_ACCESS_KEY"].encode()
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and "weed" not in path.parts and secret in path.read_bytes()]
    finally:
        seaweedfs.stop(server, at_once=True)


def test_a_folder_model_of_stable_diffusions_shape_runs_through_every_stage(tmp_path: Path) -> None:
    from tests.sd_models import sd_model

    home = Home(tmp_path)
    sd_model(prediction_type="v_prediction").save(tmp_path / "model")
    text = """\
name: sd-shaped
fixed: {model: MODEL, data: tiny-faces, sp_size: 4, sp_steps: 2, steps: 2, batch: 2, bootstrap: 100, attacks: [pia, s2l-paper], prior: true}
axes: {domain: [zorvik], method: [none, dreambooth], seed: [0]}
""".replace("MODEL", str(tmp_path / "model"))
    grid = tmp_path / "sd.yaml"
    grid.write_text(text)
    answer = home.json("run", str(grid), "--local", "--no-tracking")
    assert answer["trials"] == {"done": 2, "failed": 0, "blocked": 0}
    (manifest,) = (home.store / "manifests" / "base").glob("*.json")
    names = {payload["name"] for payload in json.loads(manifest.read_text())["payloads"]}
    assert {
        "model_index.json",
        "unet/diffusion_pytorch_model.safetensors",
        "tokenizer/vocab.json",
    } <= names or "tokenizer/tokenizer.json" in names
    assert (home.store / "manifests" / "prior").is_dir()
    (tmp_path / "model").rename(tmp_path / "moved")
    grid.write_text(text.replace(str(tmp_path / "model"), str(tmp_path / "moved")))
    assert home.json("plan", str(grid))["stages"]["base"] == {"distinct": 1, "done": 1, "to_run": 0}


def test_no_private_image_leaves_the_store(finished: Finished, tmp_path: Path) -> None:
    home, grid = finished
    home.run("sync", str(grid))
    home.run("report", str(grid), "-o", str(tmp_path / "plain.html"))
    home.run("report", str(grid), "-o", str(tmp_path / "private.html"), "--show-private")
    assert "data:image/png" not in (tmp_path / "plain.html").read_text()
    assert "data:image/png" in (tmp_path / "private.html").read_text()
    outside = [path for path in home.folder.rglob("*") if path.is_file() and home.store not in path.parents]
    assert not [path for path in outside if path.suffix == ".parquet"]


def test_a_run_leaves_no_scratch_behind_where_images_could_be_read(copy: Finished) -> None:
    home, grid = copy
    scratch = home.folder / "tmp"
    scratch.mkdir()
    environment = home.environment() | {"TMPDIR": str(scratch)}
    home.environment = lambda: environment  # type: ignore[method-assign]
    assert home.json("run", str(grid), "--set", "seed=3", "--local", "--no-tracking")["stages"]["ran"] > 0
    (private,) = scratch.glob("s2l-*")
    assert private.stat().st_mode & 0o077 == 0
    assert list(private.iterdir()) == []
