"""Weights that one run lets go while another commits them: whoever comes in between whom, they are there in the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jobs.errors import Interrupted
from jobs.ledger.blobs import Blobs
from jobs.ledger.drops import LOOK_EVERY_S, OUTLAST_S, Drops
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.ledger.retention import drop
from jobs.ledger.verify import verify
from jobs.plan.graph import Graph, Node
from jobs.stages.specs import BaseStage, PackagedModel, ShakeStage
from jobs.store.open import open_store
from jobs.store.protocol import ObjectStore
from s2l_core.specs.adapters import DenseAdapter
from s2l_core.specs.objectives import DenoiseObjective
from s2l_core.specs.training import TrainSpec
from tests.failing_store import FailingStore
from tests.ledger_cases import leave

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
FILES = {WEIGHTS: b"the same weights", "adapter.json": b"{}"}


def nodes() -> tuple[Node, Node, Node]:
    """A base and two shakes of it."""
    graph = Graph()
    base = graph.add(BaseStage(source=PackagedModel(name="tiny", content="0" * 64)))
    specs = (
        ShakeStage(adapters=(DenseAdapter(),), objective=DenoiseObjective(), training=TrainSpec(), name="ada", seed=seed) for seed in (0, 1)
    )
    ours, theirs = (graph.add(spec, [("base", base)]) for spec in specs)
    return base, ours, theirs


BASE, OURS, THEIRS = nodes()


@dataclass
class Party:
    """Somebody who works in a thread of his own, one request at a time, when he is let."""

    work: Callable[[Party], object]
    permits: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    resting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    over: bool = False
    waits: bool = False
    stopped: bool = False
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self.resting.acquire()

    def _run(self) -> None:
        try:
            self.pause()
            self.work(self)
        except Interrupted:
            pass
        except BaseException as error:
            self.error = error
        self.over = True
        self.resting.release()

    def pause(self) -> None:
        """Rest until the next step."""
        self.resting.release()
        self.permits.acquire()
        if self.stopped:
            raise Interrupted

    def steps(self, number: int) -> None:
        for _ in range(number):
            if not self.over:
                self.permits.release()
                self.resting.acquire()

    def wait(self, seconds: float) -> None:
        """What a party does that waits for the other."""
        self.waits = True
        self.pause()

    def go_on(self) -> None:
        """To the end, or until it waits."""
        while not self.over and not self.waits:
            self.steps(1)

    def kill(self) -> None:
        self.stopped = True
        while not self.over:
            self.steps(1)


class Stepwise(FailingStore):
    """A store whose user rests before each request."""

    def __init__(self, inner: ObjectStore, party: Party) -> None:
        super().__init__(inner)
        self._party = party

    def _count(self, method: str, name: str) -> bool:
        self._party.pause()
        return super()._count(method, name)


class Race:
    """A run that drops the weights of its shake, and one that commits another shake of the same bytes."""

    def __init__(self, folder: Path, *, dropped_before: bool) -> None:
        self.folder = folder
        self.store = open_store(str(folder / "store"))
        self.ledger = Ledger(self.store)
        base = self.ledger.commit(BASE, leave(folder, "base", {"model_index.json": b"{}"}), parents={}, made={})
        self.parents = {BASE.key: base}
        self.ours = leave(folder, "ours", FILES)
        self.theirs = leave(folder, "theirs", FILES)
        made = self.ledger.commit(OURS, self.ours, parents=self.parents, made={})
        (self.payload,) = [payload for payload in made.payloads if payload.is_weights]
        if dropped_before:
            drop(self.ledger, [OURS], "small")

    def dropper(self, party: Party) -> None:
        drop(Ledger(Stepwise(self.store, party)), [OURS], "small")

    def writer(self, party: Party) -> None:
        store = Stepwise(self.store, party)
        ledger = Ledger(store)
        ledger._blobs = Blobs(store, Drops(store, wait=party.wait))
        ledger.commit(THEIRS, self.theirs, parents=self.parents, made={})

    def is_kept(self) -> bool:
        there = self.store.size(Paths.blob(self.payload.sha256)) is not None
        return there and self.store.size(Paths.dropped(self.payload.sha256)) is None and verify(self.ledger) == []


def alone(party: Party) -> int:
    """How many requests a party makes where nobody disturbs it."""
    steps = 0
    while not party.over:
        party.steps(1)
        steps += 1
    return steps


@pytest.mark.parametrize("dropped_before", [False, True])
@pytest.mark.parametrize("begins", ["dropper", "writer"])
def test_weights_that_are_committed_while_they_go_are_there_in_the_end(tmp_path: Path, begins: str, dropped_before: bool) -> None:
    """The one makes so many requests, the other so many, the one the rest, the other the rest: for all numbers of the two."""
    order = ("dropper", "writer") if begins == "dropper" else ("writer", "dropper")
    firsts, seconds = (alone(Party(getattr(Race(tmp_path / who, dropped_before=dropped_before), who))) for who in order)
    lost = []
    for first in range(1, firsts + 1):
        for second in range(1, seconds + 1):
            race = Race(tmp_path / f"{first}-{second}", dropped_before=dropped_before)
            one, other = (Party(getattr(race, who)) for who in order)
            one.steps(first)
            other.steps(second)
            one.go_on()
            while not (one.over and other.over):
                other.steps(1)
                one.steps(1)
            assert (one.error, other.error) == (None, None)
            if not race.is_kept():
                lost.append((first, second))
    assert lost == []


def test_what_was_marked_by_a_run_that_was_killed_is_waited_for_only_so_long(tmp_path: Path) -> None:
    race, waited = Race(tmp_path, dropped_before=False), list[float]()
    Drops(race.store).mark(race.payload)
    ledger = Ledger(race.store)
    ledger._blobs = Blobs(race.store, Drops(race.store, wait=waited.append))
    ledger.commit(THEIRS, race.theirs, parents=race.parents, made={})
    assert sum(waited) == OUTLAST_S
    assert set(waited) == {LOOK_EVERY_S}
    assert race.is_kept()


def test_weights_that_went_later_than_a_commit_waited_for_are_marked_and_not_lost(tmp_path: Path) -> None:
    dropped = 0
    for first in range(1, alone(Party(Race(tmp_path / "alone", dropped_before=False).dropper)) + 1):
        race = Race(tmp_path / str(first), dropped_before=False)
        dropper = Party(race.dropper)
        dropper.steps(first)
        ledger = Ledger(race.store)
        ledger._blobs = Blobs(race.store, Drops(race.store, wait=lambda _: None))
        ledger.commit(THEIRS, race.theirs, parents=race.parents, made={})
        dropper.go_on()
        assert verify(race.ledger) == []
        dropped += not race.is_kept()
    assert dropped > 0


@pytest.mark.parametrize("killed_after", range(1, 14))
def test_a_run_that_is_killed_while_it_drops_leaves_weights_or_the_mark_that_they_were_dropped(tmp_path: Path, killed_after: int) -> None:
    race = Race(tmp_path, dropped_before=False)
    party = Party(race.dropper)
    party.steps(killed_after)
    party.kill()
    assert verify(race.ledger) == []
    assert drop(race.ledger, [OURS], "small").blobs in (0, 1)
    assert race.store.size(Paths.blob(race.payload.sha256)) is None
    assert race.store.size(Paths.dropped(race.payload.sha256)) is not None


def test_two_runs_that_drop_the_same_weights_leave_the_mark(tmp_path: Path) -> None:
    for first in range(1, 20):
        race = Race(tmp_path / str(first), dropped_before=False)
        one, other = Party(race.dropper), Party(race.dropper)
        one.steps(first)
        other.go_on()
        one.go_on()
        assert (one.over, other.over) == (True, True)
        assert race.store.size(Paths.blob(race.payload.sha256)) is None
        assert race.store.size(Paths.dropped(race.payload.sha256)) is not None
        assert verify(race.ledger) == []
