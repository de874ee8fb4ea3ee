"""What a lost worker means for its unit: counted or not, tried in smaller pieces, given up."""

from __future__ import annotations

import contextlib
import json
from contextlib import ExitStack
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from ray.exceptions import GetTimeoutError

from jobs.errors import InputError
from jobs.execute.backends import RayBackend
from jobs.execute.board import BoardReader, News, Place, Story
from jobs.execute.judged import judged
from jobs.execute.losses import SETTLE_S, Losses, Verdict
from jobs.execute.queue import Outcome
from jobs.execute.units import Unit
from jobs.ledger.failures import ErrorClass
from jobs.plan.graph import Graph
from jobs.policy import Hung, Preempted, RetryPolicy
from jobs.stages.specs import DataStage, DrawnFaces

if TYPE_CHECKING:
    from jobs.execute.backends import Running
    from jobs.worker.warm import Scratch

UNIT = Unit("u", "cell", (Graph().add(DataStage(source=DrawnFaces(identity="nobody"))),), frozenset())
STAGE = UNIT.nodes[0].key
PLACE = Place("node-a", "host-a", 77, "{}", "stacks")
STORY = Story("u", PLACE, heard=0.0, stage=STAGE, words="step 3 of 9")


class World:
    """Nodes that may go away, and a wait that takes no time."""

    def __init__(self) -> None:
        self.alive = {"node-a", "node-b"}
        self.gone_after_wait: set[str] = set()
        self.waited: list[float] = []
        policy = RetryPolicy(preempted=Preempted(tries=3), hung=Hung(tries=2, after_s=900))
        self.losses = Losses(policy, lambda node: node in self.alive, wait=self.wait)

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.alive -= self.gone_after_wait

    def lose(self, story: Story | None = STORY, times: int = 1) -> list[Verdict | None]:
        return [self.losses.lost(UNIT, story) for _ in range(times)]


@pytest.fixture
def world() -> World:
    return World()


def test_a_unit_that_takes_its_workers_down_on_living_nodes_is_given_up(world: World) -> None:
    first, second, third = world.lose(times=3)
    assert (first, second) == (None, None)
    assert third is not None
    assert (third.error_class, third.stage, third.host, third.tries) == ("preempted", STAGE, "host-a", 3)
    assert "3 times, on nodes that live; the last that was seen: 'step 3 of 9' (process 77 on host-a)" in third.message


def test_nodes_that_go_away_are_no_tries_of_the_unit(world: World) -> None:
    for number in range(9):
        assert world.lose(replace(STORY, place=replace(PLACE, node=f"node-{number}"))) == [None]
    assert world.losses.told(UNIT) == "9 of 10 nodes that may go away under it"
    assert world.losses.halved[STAGE] == 0
    assert world.lose(times=2) == [None, None]
    assert world.losses.told(UNIT) == "2 of 3 tries and 9 of 10 nodes that may go away under it"
    assert world.lose()[-1] is not None, "those on a node that lives count as ever"


def test_a_unit_under_which_one_node_after_the_other_goes_away_is_given_up(world: World) -> None:
    (*before, last) = [world.lose(replace(STORY, place=replace(PLACE, node=f"node-{number}", host="host-z")))[0] for number in range(10)]
    assert before == [None] * 9
    assert last is not None
    assert (last.error_class, last.stage, last.host, last.tries) == ("preempted", STAGE, "host-z", 10)
    assert "the node went away each time it ran this stage, 10 times: does it take its nodes down; the last" in last.message


def test_a_node_whose_end_is_learned_after_its_workers_costs_no_tries_either(world: World) -> None:
    world.lose(times=2)
    world.gone_after_wait = {"node-a"}
    assert world.lose() == [None]
    assert world.waited == [SETTLE_S]
    assert world.losses.told(UNIT) == "3 of 10 nodes that may go away under it"


def test_workers_that_never_began_are_given_twice_the_tries_and_time_for_their_node_to_be_known_as_gone(world: World) -> None:
    found = world.lose(None, times=6)
    assert found[:5] == [None] * 5
    assert found[5] == Verdict(
        "preempted", "the worker died each time it ran this stage (killed, or out of memory), 6 times, on nodes that live", tries=6
    )
    assert world.waited == [SETTLE_S] * 7


def test_from_the_second_worker_on_that_died_in_a_stage_its_pieces_are_halved(world: World) -> None:
    halved = []
    for _ in range(3):
        world.lose()
        halved.append(world.losses.halved[STAGE])
    assert halved == [0, 1, 2]


def test_workers_that_died_in_different_stages_halve_nothing(world: World) -> None:
    world.lose()
    world.lose(replace(STORY, stage="another"))
    assert +world.losses.halved == {}


def test_a_hung_unit_is_given_up_by_its_own_count_and_names_its_last_progress(world: World) -> None:
    hung = replace(STORY, hung_s=901.0, trace="File x, line 3 in run")
    assert world.lose() == [None]
    assert world.lose(hung) == [None]
    assert world.losses.told(UNIT) == "1 of 3 tries and 1 of 2 tries"
    (verdict,) = world.lose(hung)
    assert verdict is not None
    assert (verdict.error_class, verdict.trace, verdict.tries) == ("hung", "File x, line 3 in run", 2)
    assert "no progress for 900 s, twice; the last that was seen: 'step 3 of 9'" in verdict.message


def told_to_leave(world: World, *stands: str) -> list[Verdict | None]:
    """One notice after the other, and what the unit had done by then."""
    return [world.losses.told_to_leave(UNIT, STORY, frozenset([one])) for one in stands]


def test_a_unit_that_is_evicted_again_and_again_and_gets_no_further_is_given_up(world: World) -> None:
    (*before, last) = told_to_leave(world, *["nothing"] * 10)
    assert before == [None] * 9
    assert last is not None
    assert (last.error_class, last.stage, last.host, last.tries) == ("preempted", STAGE, "host-a", 10)
    assert "told to leave (SIGTERM) each time it ran this stage, 10 times in a row, and the unit got no further" in last.message
    assert "the last that was seen: 'step 3 of 9' (process 77 on host-a)" in last.message


def test_notices_between_which_a_unit_gets_further_are_never_counted_up(world: World) -> None:
    assert told_to_leave(world, *(f"step {number}" for number in range(100))) == [None] * 100
    assert told_to_leave(world, *["step 100"] * 9, *["step 101"] * 9) == [None] * 18
    assert told_to_leave(world, "step 101")[0] is not None


def test_notices_are_no_deaths_and_deaths_no_notices(world: World) -> None:
    told_to_leave(world, *["nothing"] * 9)
    assert world.lose(times=2) == [None, None]
    assert world.losses.told(UNIT) == "2 of 3 tries"
    assert world.losses.halved[STAGE] == 1


def test_workers_that_do_not_reach_the_store_which_the_driver_reaches_are_given_up_as_transient(world: World) -> None:
    found = [world.losses.unreached(UNIT, "no route") for _ in range(3)]
    assert found[:2] == [None, None]
    assert found[2] is not None
    assert (found[2].error_class, found[2].tries) == ("transient", 3)
    assert "no route" in found[2].message


# --- workers that live, and could not do it ---


class Run:
    """What a driver's run does about a unit, and what it says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.given_up: list[Verdict] = []

    def tell(self, text: str) -> None:
        self.said.append(text)

    def reach_store(self) -> None:
        """It answers."""

    def give_up(self, unit: Unit, verdict: Verdict) -> Outcome:
        self.given_up.append(verdict)
        return Outcome(failed={STAGE: (verdict.error_class, verdict.message)})

    def judge(self, world: World, outcome: Outcome) -> Outcome | None:
        return judged(cast("Running", self), world.losses, UNIT, outcome)


def broken(error_class: ErrorClass, message: str) -> Outcome:
    return Outcome(broken=asdict(Verdict(error_class, message, STAGE, "host-a", "Traceback ...")), ran=("before",), notes=("a note",))


def test_input_of_which_no_worker_can_be_made_ends_the_run_unless_others_were_made_of_it(world: World) -> None:
    run, wrong = Run(), Outcome(wrong="a worker on host-b cannot begin: no key")
    with pytest.raises(InputError, match="a worker on host-b cannot begin: no key"):
        run.judge(world, wrong)
    world.losses.worked = True
    found = [run.judge(world, wrong) for _ in range(3)]
    assert [outcome is not None and outcome.preempted for outcome in found] == [True, True, False]
    assert run.said[0].endswith("its unit begins again: unknown: a worker on host-b cannot begin: no key")
    (given_up,) = run.given_up
    assert (given_up.error_class, given_up.message, given_up.tries) == ("unknown", "a worker on host-b cannot begin: no key", 3)


def test_an_error_outside_of_the_stages_that_may_pass_is_tried_as_often_as_a_lost_worker_and_recorded_as_what_it_is(world: World) -> None:
    run = Run()
    found = [run.judge(world, broken("unknown", "no driver\nof that name")) for _ in range(3)]
    assert [one.preempted for one in found if one is not None] == [True, True, False]
    last = found[-1]
    assert last is not None
    assert (last.failed, last.ran, last.notes) == ({STAGE: ("unknown", "no driver")}, ("before",), ("a note",))
    assert run.given_up == [Verdict("unknown", "no driver\nof that name", STAGE, "host-a", "Traceback ...", tries=3)]
    assert run.said == ["a worker on host-a failed outside of its stages; its unit begins again: unknown: no driver"] * 2


def test_an_error_outside_of_the_stages_that_cannot_pass_is_recorded_at_once(world: World) -> None:
    outcome = Run().judge(world, broken("configuration", "written by a newer S2L"))
    assert outcome is not None
    assert (outcome.failed, outcome.is_open) == ({STAGE: ("configuration", "written by a newer S2L")}, False)


def test_input_of_which_no_worker_can_be_made_ends_the_run(world: World) -> None:
    with pytest.raises(InputError, match="no key is set"):
        Run().judge(world, Outcome(wrong="a worker on host-a cannot begin: no key is set"))


@pytest.mark.parametrize("ended", [False, True])
def test_a_driver_gives_up_a_unit_whose_workers_are_told_to_leave_unless_all_of_it_is_done(ended: bool) -> None:
    said, given_up = list[str](), list[Verdict]()

    def give_up(unit: Unit, verdict: Verdict) -> Outcome:
        given_up.append(verdict)
        return Outcome(committed=(STAGE,)) if ended else Outcome(failed={STAGE: ("preempted", "told to leave")})

    policy = RetryPolicy(preempted=Preempted(notices=2))
    run = SimpleNamespace(policy=policy, halved={}, tell=said.append, give_up=give_up, stands=lambda unit: frozenset())
    backend = RayBackend(cast("Running", run), cast("Scratch", None), ExitStack(), slots=1, gpus=0.0)
    reader, outcomes = Reader(), []
    for number in range(2):
        reader.hear(f"run {number}", News(begun=("u", PLACE), left=json.dumps(asdict(Outcome(preempted=True, notes=("a note",))))))
        outcomes.append(backend._lost(UNIT, None, reader))
    first, second = outcomes
    assert first is not None
    assert first.preempted
    assert second is not None
    assert (second.preempted, second.notes) == (False, ["a note"])
    assert (second.committed, second.failed) == (((STAGE,), {}) if ended else ((), {STAGE: ("preempted", "told to leave")}))
    assert [one.tries for one in given_up] == [2]
    assert len(said) == 1


def test_a_driver_learns_from_the_board_why_a_worker_could_not_be_made() -> None:
    said: list[str] = []
    run = SimpleNamespace(policy=RetryPolicy(), halved={}, tell=said.append)
    backend = RayBackend(cast("Running", run), cast("Scratch", None), ExitStack(), slots=1, gpus=0.0)
    reader = Reader()
    reader.hear("r", News(begun=("u", PLACE), left=json.dumps(asdict(Outcome(wrong="no key is set")))))
    with pytest.raises(InputError, match="no key is set"):
        backend._lost(UNIT, None, reader)
    reader.hear("r", News(begun=("u", PLACE), left=json.dumps(asdict(broken("unknown", "no driver")))))
    outcome = backend._lost(UNIT, None, reader)
    assert outcome is not None
    assert (outcome.preempted, len(said)) == (True, 1)


# --- the stories ---


class Reader(BoardReader):
    """A reader whose board is a list of news, and whose clock is set by hand."""

    def __init__(self) -> None:
        self.now, self.ended, self.words = 0.0, [], []
        self.fails = False
        super().__init__(
            None,
            lambda *news: None,
            hung_after_s=60.0,
            end_worker=self.end,
            say=self.words.append,
            clock=lambda: self.now,
        )
        self.coming: list[dict[str, News]] = []

    def end(self, place: Place) -> str:
        if self.fails:
            raise TimeoutError("no answer")
        self.ended.append(place.pid)
        return "stacks"

    def collect(self, wait_s: float = 0.0) -> None:
        for news in self.coming:
            for run, one in news.items():
                self._note(run, one)
        self.coming = []

    def hear(self, run: str, news: News) -> None:
        self.coming.append({run: news})
        self.collect()

    def look(self) -> None:
        self._end_the_silent()


def test_a_worker_is_ended_when_it_has_shown_no_progress_for_so_long_and_only_once() -> None:
    reader = Reader()
    reader.hear("r", News(begun=("u", PLACE)))
    reader.now = 59.0
    reader.look()
    reader.hear("r", News(said={"k": (0.5, "half")}, last="k"))
    reader.now = 118.0
    reader.look()
    assert reader.ended == []
    reader.now = 119.0
    reader.look()
    reader.look()
    assert reader.ended == [77]
    story = reader.story("u")
    assert story is not None
    assert (story.stage, story.words, story.hung_s, story.trace) == ("k", "half", 60.0, "stacks")
    assert reader.story("u") is None, "the next run is a story of its own"


def test_a_unit_that_has_ended_is_not_waited_for_even_when_its_beginning_and_end_are_learned_at_once() -> None:
    reader = Reader()
    reader.hear("r", News(begun=("u", PLACE), ended=True))
    reader.now = 1000.0
    reader.look()
    assert reader.ended == []


def test_a_worker_that_cannot_be_ended_is_tried_again_after_as_long_and_the_user_is_told() -> None:
    reader = Reader()
    reader.fails = True
    reader.hear("r", News(begun=("u", PLACE)))
    reader.now = 60.0
    reader.look()
    assert "cannot be ended: no answer" in reader.words[0]
    reader.fails = False
    reader.now = 119.0
    reader.look()
    assert reader.ended == []
    reader.now = 120.0
    reader.look()
    assert reader.ended == [77]


def test_the_outcome_of_a_worker_that_left_is_kept_in_its_story() -> None:
    reader = Reader()
    reader.hear("r", News(begun=("u", PLACE)))
    reader.hear("r", News(left="{}"))
    story = reader.story("u")
    assert story is not None
    assert story.left == "{}"


def test_a_process_that_begins_another_unit_has_ended_the_one_before_even_if_that_was_not_heard() -> None:
    reader = Reader()
    reader.hear("r", News(begun=("u", PLACE)))
    reader.hear("elsewhere", News(begun=("w", replace(PLACE, holder="another process of that id"))))
    reader.now = 50.0
    reader.hear("s", News(begun=("v", PLACE)))
    reader.now = 100.0
    reader.hear("s", News(said={"k": (0.5, "half")}, last="k"))
    reader.hear("elsewhere", News(said={"k": (0.5, "half")}, last="k"))
    reader.look()
    assert reader.ended == [], "the process was ended for what it had done long ago"
    assert (reader.story("u"), reader.story("v") is None, reader.story("w") is None) == (None, False, False)


class Board:
    """A board that gives each piece of news away once, however late it answers; stands in for the actor and for `ray.get`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept: dict[str, News] = {}
        self.slow, self.broken = 0, False
        self.news = SimpleNamespace(remote=self.give_away)
        monkeypatch.setattr("ray.get", self.answer)
        self.reader = BoardReader(self, lambda *news: None, hung_after_s=60.0, end_worker=str, say=print)

    def give_away(self) -> dict[str, News]:
        given, self.kept = self.kept, {}
        return given

    def answer(self, asked: dict[str, News], timeout: float) -> dict[str, News]:
        if self.broken:
            raise RuntimeError("the actor is gone")
        if self.slow:
            self.slow -= 1
            raise GetTimeoutError
        return asked

    def hear(self, news: News) -> None:
        """What a reader does round after round."""
        self.kept["r"] = news
        with contextlib.suppress(GetTimeoutError):
            self.reader.collect()


@pytest.mark.parametrize("rounds", [1, 3])
def test_news_that_come_too_late_are_heard_all_the_same(monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    board = Board(monkeypatch)
    board.slow = rounds
    board.hear(News(begun=("u", PLACE)))
    for number in range(rounds):
        board.hear(News(said={"k": (0.1, f"step {number}")}, last="k"))
    board.slow = 1
    board.hear(News(left="{}"))
    story = board.reader.story("u")
    assert story is not None, "a unit that hangs from now on would never be noticed"
    assert (story.words, story.left) == (f"step {rounds - 1}", "{}"), "a notice would be counted as a death"


def test_an_end_that_is_heard_late_ends_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch)
    board.hear(News(begun=("u", PLACE)))
    board.slow = 1
    board.hear(News(ended=True))
    assert board.reader.story("u") is None


def test_an_answer_that_will_not_come_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch)
    board.broken = True
    with pytest.raises(RuntimeError):
        board.hear(News(begun=("u", PLACE)))
    board.broken = False
    board.hear(News(begun=("v", PLACE)))
    assert board.reader.story("v") is not None
