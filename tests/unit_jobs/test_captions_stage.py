"""The captions stage, and scores that read what it left: by image, in any order, with shared network calls."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from jobs.execute.order import WorkOrder
from jobs.execute.units import Unit
from jobs.ledger.leases import LeaseKeeper
from jobs.ledger.ledger import Ledger
from jobs.plan.graph import Graph, Node
from jobs.stages import captions as stage
from jobs.stages import score
from jobs.stages.contract import StageJob
from jobs.stages.specs import CaptionsStage, DataStage, DrawnFaces, ScoreStage
from jobs.store.open import open_store
from jobs.worker.stage_runner import Worker, run_order
from jobs.worker.warm import Scratch
from s2l_core.captioners.table import AutomaticCaptions, read_captions, write_captions
from s2l_core.faces import records
from s2l_core.images import ImageRecord, write_images
from s2l_core.scores import read_scores
from s2l_core.specs.attacks import ClidAttack, LossAttack, SecMIAttack
from s2l_core.specs.captioners import BlipCaptioner, ColoursCaptioner
from s2l_core.specs.captions import AutomaticCaption, NullCaption
from s2l_core.specs.pretrain import SmallShape
from s2l_core.tiny.architecture import untrained
from tests.blip_models import save_blip

torch.set_num_threads(1)
DATA = records("zorvik", seed=0, members=9, non_members=12)


class Nothing:
    """A worker's progress and cache that keep nothing."""

    def load(self, into: Path) -> bool:
        return False

    def save(self, folder: Path) -> None:
        raise AssertionError("a short stage needs no checkpoint")

    def get(self, key: str, make: Any) -> Any:
        return make()


def job(spec: Any, out: Path, said: list[float] | None = None, micro_batch: int | None = None, **parents: Path) -> StageJob:
    out.mkdir(parents=True)
    given = tuple((role, f"{folder}", folder) for role, folder in parents.items())
    say = (lambda fraction, words: said.append(fraction)) if said is not None else (lambda fraction, words: None)
    return StageJob(spec, out.name, given, out, Nothing(), Nothing(), "cpu", say, micro_batch=micro_batch)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a base model, a BLIP and a data set."""
    root = tmp_path_factory.mktemp("place")
    shape = SmallShape(vae_channels=(8, 8, 8), unet_channels=(16, 16), text_width=16, text_layers=1)
    untrained(shape, ("photo", "in", "green", "blue", "orange", "red", "of", "zorvik"), seed=0).save(root / "base")
    save_blip(root / "blip")
    (root / "data").mkdir()
    write_images(root / "data" / "images.parquet", DATA)
    return root


def captioned(place: Path, out: Path, *, blip: bool, **more: Any) -> AutomaticCaptions:
    network = {"captioner": place / "blip"} if blip else {}
    stage.run(job(CaptionsStage(captioner=BlipCaptioner() if blip else ColoursCaptioner()), out, data=place / "data", **network, **more))
    assert [path.name for path in out.iterdir()] == ["captions.parquet"]
    return read_captions(out / "captions.parquet")


@pytest.mark.parametrize("blip", [False, True])
def test_every_image_has_one_caption_whatever_the_batch_and_progress_is_said(place: Path, tmp_path: Path, blip: bool) -> None:
    said: list[float] = []
    whole = captioned(place, tmp_path / "whole", blip=blip, said=said)
    assert list(whole.texts) == [record.image_id for record in DATA]
    assert len(set(whole.texts.values())) > 3
    assert said == [16 / 21, 1.0]
    for size in (1, 2, 5):
        cut = captioned(place, tmp_path / f"{size}", blip=blip, micro_batch=size)
        assert cut == whole
        assert (tmp_path / f"{size}" / "captions.parquet").read_bytes() == (tmp_path / "whole" / "captions.parquet").read_bytes()


def test_members_and_non_members_are_captioned_by_one_rule(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "turned"
    folder.mkdir()
    turned = [ImageRecord(one.image_id, one.image, "other words", "bob", not one.member) for one in reversed(DATA)]
    write_images(folder / "images.parquet", turned)
    found = captioned(place, tmp_path / "one", blip=False)
    stage.run(job(CaptionsStage(captioner=ColoursCaptioner()), tmp_path / "two", data=folder))
    assert read_captions(tmp_path / "two" / "captions.parquet").texts == found.texts


def test_after_an_out_of_memory_half_as_many_images_are_captioned_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s2l_core.captioners.colours import Colours

    batches: list[int] = []
    whole = Colours.__call__

    def small(self: Colours, images: Any) -> list[str]:
        batches.append(len(images))
        if len(images) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, images)

    monkeypatch.setattr(Colours, "__call__", small)
    worker, nodes = _worker(tmp_path), _nodes()
    outcome = _run(worker, *nodes)
    assert set(outcome.ran) == {node.key for node in nodes}
    assert batches == [16, 8, 4, 4, 4, 4, 4, 1]
    manifest = worker.ledger.manifest("captions", nodes[1].key)
    assert manifest is not None
    assert (manifest.made["micro_batch"], manifest.made["batch_size"]) == (4, 4)


def test_a_failure_says_nothing_of_what_was_captioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("jobs.stages.data")

    def broken(job: StageJob) -> None:
        write_images(job.out / "images.parquet", [*DATA, ImageRecord("last", b"no image", "a secret caption", "zorvik", True)])

    module.run = broken  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jobs.stages.data", module)
    worker, nodes = _worker(tmp_path), _nodes()
    outcome = _run(worker, *nodes)
    assert outcome.failed[nodes[1].key][0] == "configuration"
    (failure,) = worker.ledger.failures()
    assert "image last: no image in a known format" in failure.message
    assert "secret" not in failure.message + failure.traceback
    assert "photo in" not in failure.message + failure.traceback


def _worker(folder: Path) -> Worker:
    ledger = Ledger(open_store(str(folder / "store")))
    return Worker(ledger=ledger, scratch=Scratch(folder / "scratch"), leases=LeaseKeeper(ledger.leases))


def _nodes() -> tuple[Node, Node]:
    graph = Graph()
    data = graph.add(DataStage(source=DrawnFaces(identity="zorvik", members=9, non_members=12)))
    return data, graph.add(CaptionsStage(captioner=ColoursCaptioner()), (("data", data),))


def _run(worker: Worker, *nodes: Node) -> Any:
    inside = {node.key for node in nodes}
    needs = frozenset(above.key for node in nodes for _, above in node.parents if above.key not in inside)
    return run_order(WorkOrder.of(Unit("unit", "prepare", nodes, needs), {}), worker, lambda key, fraction, words: None)


# --- scores ---

LOSS = LossAttack(timesteps=(200,), draws=1)


def scored(place: Path, out: Path, *specs: ScoreStage, captions: Path | None = None) -> list[StageJob]:
    parents = {"base": place / "base", "data": place / "data"} | ({"captions": captions} if captions else {})
    jobs = [job(spec, out / f"{number}", **parents) for number, spec in enumerate(specs)]
    score.run_fused(jobs)
    return jobs


def test_an_attack_shows_each_image_what_the_captioner_said_of_it(place: Path, tmp_path: Path) -> None:
    captioned(place, tmp_path / "auto", blip=False)
    automatic = ScoreStage(attack=LOSS, caption=AutomaticCaption())
    (one,) = scored(place, tmp_path / "one", automatic, captions=tmp_path / "auto")
    (plain,) = scored(place, tmp_path / "plain", ScoreStage(attack=LOSS))
    found, own = (read_scores(each.out / "scores.parquet") for each in (one, plain))
    assert (found.score != own.score).all()
    assert found.image_ids == own.image_ids
    assert found.facts["caption"] == {"kind": "automatic", "captioner": ColoursCaptioner().model_dump(mode="json")}
    assert own.facts["caption"] == {"kind": "own"}
    assert b"photo in" not in (one.out / "scores.parquet").read_bytes()

    by_hand = tmp_path / "by-hand"  # own captions, written into the file in another order
    by_hand.mkdir()
    turned = DATA[::-1]
    write_captions(by_hand / "captions.parquet", ColoursCaptioner(), turned, [record.text for record in turned])
    (same,) = scored(place, tmp_path / "same", automatic, captions=by_hand)
    assert (read_scores(same.out / "scores.parquet").score == own.score).all()


def test_attacks_with_the_same_automatic_captions_share_network_calls(place: Path, tmp_path: Path) -> None:
    captioned(place, tmp_path / "auto", blip=True)
    attacks = (LOSS, ClidAttack(timesteps=(200,)), SecMIAttack(t=50, k=10))
    specs = [ScoreStage(attack=attack, caption=AutomaticCaption()) for attack in attacks]
    jobs = scored(place, tmp_path / "together", *specs, captions=tmp_path / "auto")
    assert [each.made["network_calls"] for each in jobs] == [12] * 3, "the loss is one of CLiD's five; SecMI has seven of its own"
    for number, spec in enumerate(specs):
        (alone,) = scored(place, tmp_path / f"alone-{number}", spec, captions=tmp_path / "auto")
        assert (alone.out / "scores.parquet").read_bytes() == (jobs[number].out / "scores.parquet").read_bytes()


def test_captions_of_other_images_are_refused_without_telling_any(place: Path, tmp_path: Path) -> None:
    (tmp_path / "auto").mkdir()
    write_captions(tmp_path / "auto" / "captions.parquet", ColoursCaptioner(), DATA[1:], ["photo in red"] * (len(DATA) - 1))
    spec = ScoreStage(attack=LOSS, caption=AutomaticCaption())
    with pytest.raises(ValueError, match=f"1 of 21 images have no automatic caption, first {DATA[0].image_id}; ") as caught:
        scored(place, tmp_path / "it", spec, captions=tmp_path / "auto")
    assert "photo in red" not in str(caught.value)


def test_an_image_of_which_nothing_was_said_is_told_to_an_attack_that_compares_captions(place: Path, tmp_path: Path) -> None:
    (tmp_path / "auto").mkdir()
    write_captions(tmp_path / "auto" / "captions.parquet", ColoursCaptioner(), DATA, ["", *["photo"] * (len(DATA) - 1)])
    clid = ScoreStage(attack=ClidAttack(timesteps=(200,)), caption=AutomaticCaption())
    with pytest.raises(ValueError, match="1 of 21 images have an empty one"):
        scored(place, tmp_path / "it", clid, captions=tmp_path / "auto")
    loss, null = ScoreStage(attack=LOSS, caption=AutomaticCaption()), ScoreStage(attack=LOSS, caption=NullCaption())
    (empty,) = scored(place, tmp_path / "loss", loss, captions=tmp_path / "auto")
    (without,) = scored(place, tmp_path / "null", null)
    assert read_scores(empty.out / "scores.parquet").score[0] == read_scores(without.out / "scores.parquet").score[0]
