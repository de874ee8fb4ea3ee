"""The memorisation stage on a small real model: what it leaves, before and after, alone and in small batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.stages import memorisation as stage
from jobs.stages.contract import StageJob
from jobs.stages.specs import MemorisationStage
from s2l_core.adapters import attach, save
from s2l_core.families.sd import StableDiffusion
from s2l_core.memorisation import memorisation_scores
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, TextualInversionAdapter
from s2l_core.specs.memorisation import MemorisationSpec
from s2l_core.specs.pretrain import SmallShape
from s2l_core.tiny.architecture import untrained

SHAPE = SmallShape(vae_channels=(8, 8, 8), unet_channels=(16, 16), text_width=16, text_layers=1)
SPEC = MemorisationSpec(prompts=("photo of {name}", "{name}"), noises=3, steps=5, measured=2, controls=("brindok", "calvessa", "mellune"))


class NoProgress:
    def load(self, into: Path) -> bool:
        return False

    def save(self, folder: Path) -> None:
        raise AssertionError("a short stage needs no checkpoint")


class Cache:
    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self.values:
            self.values[key] = make()
        return self.values[key]


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base model, one whose networks were changed, and one that learned a token."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("parents")
    folders = {name: root / name for name in ("base", "dense", "token")}
    for folder in folders.values():
        folder.mkdir()
    model = untrained(SHAPE, ("photo", "of", "zorvik", "mellune"), seed=0)
    model.save(folders["base"])
    shakes: dict[str, AdapterSpec] = {"dense": DenseAdapter(modules=("unet", "text_encoder")), "token": TextualInversionAdapter()}
    for name, spec in shakes.items():
        with attach(model, [spec], seed=1) as on:
            for parameter in on.parameters().values():
                parameter.data.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
            save(on, folders[name])
    return folders


class Runs:
    """Jobs of one worker."""

    def __init__(self, root: Path, parents: dict[str, Path]) -> None:
        self.root, self.parents, self.cache, self.made = root, parents, Cache(), {}  # type: ignore[var-annotated]
        self.said: list[float] = []

    def run(self, out: str, spec: MemorisationSpec = SPEC, name: str = "zorvik", *, micro_batch: int | None = None, **roles: Path) -> Any:
        (self.root / out).mkdir()
        job = StageJob(
            spec=MemorisationStage(memorisation=spec, name=name),
            key=out,
            parents=tuple((role, f"{folder}", folder) for role, folder in {"base": self.parents["base"], **roles}.items()),
            out=self.root / out,
            progress=NoProgress(),
            cache=self.cache,
            device="cpu",
            say=lambda fraction, words: self.said.append(fraction),
            micro_batch=micro_batch,
        )
        stage.run(job)
        assert [path.name for path in job.out.iterdir()] == ["memorisation.json"]
        self.made = job.made
        return json.loads((job.out / "memorisation.json").read_text())


@pytest.fixture
def runs(tmp_path: Path, parents: dict[str, Path]) -> Runs:
    return Runs(tmp_path, parents)


def test_the_document_holds_the_names_score_by_prompt_beside_the_controls(runs: Runs) -> None:
    found = runs.run("it")
    assert set(found) == {"name", "spec", "prompts", "score", "controls", "control_mean", "ratio", "rank"}
    assert [one["text"] for one in found["prompts"]] == ["photo of zorvik", "zorvik"]
    assert [one["name"] for one in found["controls"]] == list(SPEC.controls)
    assert found["score"] == pytest.approx(sum(one["score"] for one in found["prompts"]) / 2)
    others = [one["score"] for one in found["controls"]]
    assert found["control_mean"] == pytest.approx(sum(others) / 3)
    assert found["ratio"] == pytest.approx(found["score"] / found["control_mean"])
    assert found["rank"] == 1 + sum(one >= found["score"] for one in others)
    assert MemorisationSpec(**found["spec"]) == SPEC
    assert runs.said == sorted(runs.said)
    assert runs.said[-1] == 1.0


def test_the_scores_are_those_of_the_function_on_the_model(runs: Runs, parents: dict[str, Path]) -> None:
    from jobs.stages.score import Contexts

    found = runs.run("it")
    model = StableDiffusion.load(parents["base"])
    texts = ["photo of zorvik", "zorvik", "photo of mellune", "mellune"]
    arguments = (texts, model.latent_shape, Contexts(model), model.eps, model.alphas_cumprod)
    with torch.no_grad():
        alone = memorisation_scores(*arguments, noises=3, steps=5, measured=2).tolist()
    assert [one["score"] for one in found["prompts"]] == pytest.approx(alone[:2], rel=1e-5)
    assert found["controls"][2]["score"] == pytest.approx(sum(alone[2:]) / 2, rel=1e-5)


def test_another_batch_changes_scores_by_rounding_only_and_the_manifest_says_which_it_was(runs: Runs) -> None:
    whole = runs.run("whole")
    assert runs.made == {"batch_size": 32}
    for size in (1, 5):
        small = runs.run(f"by-{size}", micro_batch=size)
        assert runs.made == {"batch_size": size}
        assert small["score"] == pytest.approx(whole["score"], rel=1e-5)
        for one, other in zip(small["controls"], whole["controls"], strict=True):
            assert one["score"] == pytest.approx(other["score"], rel=1e-5)


def test_the_same_parents_give_the_same_bytes_and_a_names_score_does_not_depend_on_the_controls(runs: Runs) -> None:
    runs.run("first")
    runs.run("again")
    assert (runs.root / "first" / stage.FILE).read_bytes() == (runs.root / "again" / stage.FILE).read_bytes()
    fewer = runs.run("fewer", SPEC.model_copy(update={"controls": ("mellune",)}))
    assert fewer["score"] == pytest.approx(json.loads((runs.root / "first" / stage.FILE).read_text())["score"], rel=1e-5)


def test_after_a_shake_the_change_is_told_and_the_warm_model_is_as_it_was(runs: Runs, parents: dict[str, Path]) -> None:
    before = runs.run("before")
    after = runs.run("after", shake=parents["dense"], before=runs.root / "before")
    assert after["score"] != before["score"]
    assert after["change"] == {name: after[name] - before[name] for name in ("score", "control_mean", "ratio")}
    assert runs.run("later") == before
    assert len(runs.cache.values) == 1


def test_a_learned_token_is_asked_where_the_name_stood(runs: Runs, parents: dict[str, Path]) -> None:
    before = runs.run("before")
    after = runs.run("after", name="<s2l>", shake=parents["token"], before=runs.root / "before")
    assert [one["text"] for one in after["prompts"]] == ["photo of <s2l>", "<s2l>"]
    assert after["change"]["score"] != 0
    assert after["controls"] == before["controls"], "a token alone changes nothing for other names"


def test_names_that_the_model_cannot_tell_from_nothing_have_no_ratio(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StableDiffusion, "eps", lambda self, x, t, context: x)
    found = runs.run("flat")
    assert (found["score"], found["control_mean"], found["ratio"], found["rank"]) == (0.0, 0.0, None, 4)
