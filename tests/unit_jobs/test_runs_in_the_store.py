"""Runs as the store knows them: registered, asked to end, followed, forgotten. Store and driver thread are real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from jobs.errors import GridError, InputError, NotFound, OutOfReach
from jobs.execute.limits import Gate, Limits
from jobs.ledger.holder import Holder
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.runs import registry
from jobs.runs.follow import follow
from jobs.runs.record import SILENT_S, Log, RunRecord
from jobs.runs.registry import OwnRun, Runs
from jobs.runs.shown import one_of, runs_of, shown, told
from jobs.runs.watch import LogTail, Watch
from jobs.store.open import open_store
from jobs.store.protocol import ObjectStore


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def runs(store: ObjectStore) -> Runs:
    return Runs(store)


def elsewhere(own: OwnRun, store: ObjectStore, **changes: object) -> RunRecord:
    """The run as if its driver were on another machine."""
    assert own.record.holder is not None
    holder = own.record.holder.model_copy(update={"host": "another"})
    record = own.record.model_copy(update={"holder": holder, **changes})
    name = Paths.run_file(record.grid, record.run, "run")
    store.replace(name, record.to_bytes(), store.get(name).tag)
    return record


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- the registry ---


def test_a_run_is_known_while_it_runs_and_after_its_end(runs: Runs) -> None:
    own = runs.begin("grid", "a" * 64)
    (record,) = runs.of("grid")
    assert (record.state, record.condition(time.time())) == ("running", "running")
    assert record.holder == own.record.holder
    own.end(3, {"grid": "grid"}, "three failed")
    (record,) = runs.of("grid")
    assert (record.state, record.exit_code, record.answer, record.words) == ("ended", 3, {"grid": "grid"}, "three failed")
    assert runs.of("other") == []


def test_a_driver_that_died_on_this_machine_is_lost_at_once(runs: Runs, store: ObjectStore) -> None:
    own = runs.begin("grid", "a" * 64)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert own.record.holder is not None
    record = own.record.model_copy(update={"holder": own.record.holder.model_copy(update={"pid": gone.pid})})
    assert record.condition(time.time()) == "lost"
    assert own.record.condition(time.time()) == "running"


def test_a_driver_elsewhere_that_is_not_heard_of_is_silent(runs: Runs, store: ObjectStore) -> None:
    record = elsewhere(runs.begin("grid", "a" * 64), store)
    assert record.condition(record.beat_at + SILENT_S - 1) == "running"
    assert record.condition(record.beat_at + SILENT_S + 1) == "silent"


def test_asking_names_one_run_so_that_a_later_one_is_not_stopped(runs: Runs) -> None:
    first = runs.begin("grid", "a" * 64)
    runs.ask(first.record, "drain")
    second = runs.begin("grid", "a" * 64)
    assert (first.asked(), second.asked()) == ("drain", None)
    first.end(130, None, "")
    assert first.asked() is None


def test_stop_takes_the_place_of_drain_and_never_the_other_way(runs: Runs) -> None:
    own = runs.begin("grid", "a" * 64)
    for what, found in (("drain", "drain"), ("stop", "stop"), ("drain", "stop")):
        runs.ask(own.record, what)  # type: ignore[arg-type]
        assert own.asked() == found


def test_a_submitted_run_is_taken_over_with_its_order_by_whoever_drives_it(runs: Runs) -> None:
    submitted = runs.submit("grid", "a" * 64, {"order": b"what to do"}, "http://head:8265")
    (record,) = runs.of("grid")
    assert (record.condition(time.time()), record.holder, record.job) == ("submitted", None, f"s2l-grid-{record.run}")
    own = runs.take_over("grid", submitted.record.run)
    assert runs.read("grid", record.run, "order") == b"what to do"
    (record,) = runs.of("grid")
    assert (record.state, record.holder, record.job) == ("running", own.record.holder, submitted.record.job)
    with pytest.raises(NotFound):
        runs.take_over("grid", "no-such-run")


def test_a_write_whose_answer_was_lost_does_not_stop_later_ones(runs: Runs, store: ObjectStore) -> None:
    own = runs.begin("grid", "a" * 64)
    elsewhere(own, store)  # the object changed under us, as after a write whose answer was lost
    own.beat()
    assert runs.of("grid")[0].beat == 1


def test_old_runs_that_ended_are_forgotten_and_others_are_not(runs: Runs, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "KEPT", 2)
    names = iter(f"2026010{number}-000000-aaaaaa" for number in range(1, 9))
    monkeypatch.setattr(registry, "new_run_id", lambda: next(names))
    ended = runs.begin("grid", "a" * 64)
    ended.write_log(Log(lines=("x",)))
    ended.end(0, None, "")
    alive = runs.begin("grid", "a" * 64)
    for _ in range(3):
        runs.begin("grid", "a" * 64)
    left = {record.run for record in runs.of("grid")}
    assert alive.record.run in left
    assert ended.record.run not in left
    assert not list(store.list(f"{Paths.runs_of('grid')}{ended.record.run}/"))


def test_what_is_no_record_is_passed_over(runs: Runs, store: ObjectStore) -> None:
    store.create(Paths.run_file("grid", "20260101-000000-aaaaaa", "run"), b"{")
    assert runs.of("grid") == []


# --- its driver ---


class Driven:
    """A watched run whose interruptions are counted."""

    def __init__(self, runs: Runs, limits: Limits | None = None, wall: Callable[[], float] = time.time) -> None:
        self.own = runs.begin("grid", "a" * 64)
        self.gate = Gate(limits, wall=wall)
        self.log = LogTail()
        self.notes: list[str] = []
        self.interrupted = 0
        self.clock = 0.0
        self.watch = Watch(
            self.own, self.gate, self.log, self.notes.append, tick_s=0.01, interrupt=self._interrupt, clock=lambda: self.clock
        )

    def _interrupt(self) -> None:
        self.interrupted += 1


def test_drain_closes_the_gate_and_interrupts_nothing(runs: Runs) -> None:
    driven = Driven(runs)
    with driven.watch:
        runs.ask(driven.own.record, "drain")
        until(driven.gate.is_closed)
        assert driven.interrupted == 0
        driven.watch.exit_code = 130
    assert runs.of("grid")[0].exit_code == 130
    assert [note for note in driven.notes if "nothing new begins" in note] == driven.notes[:1]


def test_stop_interrupts_once_and_again_only_when_it_was_not_heeded(runs: Runs) -> None:
    driven = Driven(runs)
    runs.ask(driven.own.record, "stop")
    for _ in range(3):
        driven.watch.tick()
    assert driven.interrupted == 1
    driven.clock = 31.0
    driven.watch.tick()
    assert driven.interrupted == 2
    assert len(driven.notes) == 1


def test_what_still_runs_ten_minutes_after_the_time_is_interrupted(runs: Runs) -> None:
    now = [0.0]
    driven = Driven(runs, Limits(until=100.0), wall=lambda: now[0])
    now[0] = 100.0 + 599.0
    driven.watch.tick()
    assert driven.interrupted == 0
    now[0] = 100.0 + 600.0
    driven.watch.tick()
    assert driven.interrupted == 1


def test_an_interrupted_run_and_a_failed_one_say_so_in_their_record(runs: Runs) -> None:
    for error, code in ((KeyboardInterrupt(), 130), (OutOfReach("the store is gone"), 4), (RuntimeError("bug"), 1)):
        driven = Driven(runs)
        with pytest.raises(type(error)), driven.watch:
            raise error
        record = runs.find("grid", driven.own.record.run)
        assert record is not None
        assert (record.state, record.exit_code, record.answer) == ("ended", code, None)


def test_what_a_run_ends_with_is_kept_without_secrets(runs: Runs, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted-secret")
    driven = Driven(runs)
    with pytest.raises(RuntimeError), driven.watch:
        raise RuntimeError("https://ann:hush-hush@host refuses planted-secret")
    kept = runs.read("grid", driven.own.record.run, "run").decode()
    assert "https://***@host refuses ***" in kept
    assert "planted" not in kept
    assert "hush" not in kept


def test_the_log_of_a_run_holds_no_secret_of_what_its_mirror_says(runs: Runs, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.cli.driving import drive_run
    from jobs.execute.options import RunOptions
    from jobs.grid.read import read_grid
    from jobs.ledger.ledger import Ledger
    from jobs.plan.expand import expand
    from jobs.tracker import session

    def telling(plan: object, ledger: object, uri: object, notice: Callable[[str], None], **more: object) -> NoReturn:
        notice("MLflow is behind: planted-secret")
        raise OutOfReach("gone")

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted-secret")
    monkeypatch.setattr(session, "mirrored", telling)
    own, plan = runs.begin("smoke", "a" * 64), expand(read_grid("smoke"))
    with pytest.raises(OutOfReach):
        drive_run(plan, Ledger(store), RunOptions(store=store.url), own, tracking="http://host", shown="smoke", as_json=False)
    assert "MLflow is behind: ***" in runs.log(own.record).lines


def test_the_real_interruption_is_that_of_ctrl_c() -> None:
    code = (
        "import signal, time, threading; from jobs.runs.watch import interrupt\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "threading.Timer(0.2, interrupt).start()\n"
        "try: time.sleep(60)\n"
        "except KeyboardInterrupt: raise SystemExit(42)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False, timeout=120).returncode == 42
    assert signal.getsignal(signal.SIGINT) is not None


def test_a_store_that_does_not_answer_is_said_once_and_stops_no_run(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    driven = Driven(runs)

    def gone(own: OwnRun) -> None:
        raise OutOfReach("no answer")

    monkeypatch.setattr(OwnRun, "asked", gone)
    monkeypatch.setattr(OwnRun, "beat", gone)
    monkeypatch.setattr(OwnRun, "write_log", lambda own, log: gone(own))
    for _ in range(3):
        driven.watch.tick()
    assert driven.notes == ["this run's record cannot be kept up to date: no answer"]


def test_only_the_last_lines_of_a_log_are_kept_and_the_gap_is_told() -> None:
    tail = LogTail(kept=3)
    for number in range(5):
        tail.write(f"line {number}\n")
    tail.write("half a li")
    log = tail.log()
    assert (log.first, log.lines, log.end) == (2, ("line 2", "line 3", "line 4"), 5)
    assert log.after(0) == ("line 2", "line 3", "line 4")
    assert log.after(1) == ("(1 lines left out)", "line 2", "line 3", "line 4")
    assert log.after(4) == ("line 4",)
    assert log.after(5) == ()


# --- following ---


def test_a_run_is_followed_to_its_end_line_by_line(runs: Runs) -> None:
    driven = Driven(runs)
    said: list[str] = []
    found: list[RunRecord] = []

    def look() -> None:
        record, dead = follow(runs, driven.own.record, said.append, poll_s=0.01)
        assert dead is None
        found.append(record)

    looking = threading.Thread(target=look)
    looking.start()
    with driven.watch as watch:
        driven.log.write("first\n")
        until(lambda: said == ["first"])
        driven.log.write("second\n")
        watch.exit_code, watch.words = 0, "all done"
    looking.join(60)
    assert said == ["first", "second"]
    assert (found[0].exit_code, found[0].words) == (0, "all done")


def test_a_driver_elsewhere_that_is_silent_for_long_is_given_up(runs: Runs, store: ObjectStore) -> None:
    record = elsewhere(runs.begin("grid", "a" * 64), store)
    now = iter(range(0, 10_000, 50))
    _, dead = follow(runs, record, lambda line: None, poll_s=0.0, clock=lambda: float(next(now)))
    assert dead is not None
    assert "has not been heard of for" in dead


def test_a_job_that_ended_before_its_driver_began_is_told(runs: Runs) -> None:
    own = runs.submit("grid", "a" * 64, {}, "http://head:8265")
    _, dead = follow(runs, own.record, lambda line: None, job_ended=lambda record: "FAILED: no module named jobs", poll_s=0.0)
    assert dead == "FAILED: no module named jobs"


# --- which run a person means ---


def test_status_shows_who_is_at_work_and_the_last_that_is_not(runs: Runs, store: ObjectStore) -> None:
    for _ in range(3):
        runs.begin("grid", "a" * 64).end(0, None, "")
    own = runs.begin("grid", "a" * 64)
    found = shown(store, "grid")
    assert [run["state"] for run in found] == ["ended", "running"]
    (line,) = told(found)
    assert f"running, process {os.getpid()} on {Holder.me().host}" in line
    assert own.record.run in line


def test_a_grid_is_known_by_file_by_shipped_name_and_by_the_name_its_runs_have(runs: Runs, store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("name: mine\nfixed: {data: /no/such/folder}\naxes:\n  domain: [a]\n  method: [lora]\n")
    for name in ("mine", "smoke"):
        runs.begin(name, "a" * 64)
    assert [record.grid for record in runs_of(store, str(path), None)] == ["mine"]
    assert [record.grid for record in runs_of(store, "smoke", None)] == ["smoke"]
    with pytest.raises(GridError, match="no such grid"):
        runs_of(store, "gone", None)
    for key in ("a", "b"):
        runs.begin("gone", key * 64)
    assert {record.grid_key[0] for record in runs_of(store, "gone", None)} == {"a", "b"}  # of one second, in any order
    assert [record.grid_key[0] for record in runs_of(store, "gone@bb", None)] == ["b"]
    with pytest.raises(GridError, match="no such grid"):
        runs_of(store, "gone@c", None)
    Ledger(store).save_grid({"grid": "planned", "grid_key": "c" * 64})
    assert runs_of(store, "planned", None) == []


def test_a_run_is_named_by_the_beginning_of_its_id(runs: Runs) -> None:
    own = runs.begin("grid", "a" * 64)
    assert one_of(runs.of("grid"), own.record.run[:18], "grid")[0].run == own.record.run
    with pytest.raises(InputError, match="0 runs of grid begin so; the last ones: "):
        one_of(runs.of("grid"), "x", "grid")
