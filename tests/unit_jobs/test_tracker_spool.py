"""The spool: nothing that was appended is lost, whoever dies."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.tracker.event import Event
from jobs.tracker.spool import Spool

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from pathlib import Path
from jobs.tracker.event import Event
from jobs.tracker.spool import Spool
spool = Spool(Path(sys.argv[1]), "grid", "uri")
for number in range(3):
    spool.append(Event(str(number), {}, "done", {}, None, {}, number))
print("written", flush=True)
sys.stdin.read()
"""


def event(key: str) -> Event:
    return Event(key, {"domain": "zorvik"}, "done", {}, None, {}, 0)


Make = Callable[..., Spool]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Make]:
    made: list[Spool] = []

    def make(uri: str = "uri") -> Spool:
        made.append(Spool(tmp_path, "grid", uri))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_what_a_killed_writer_left_is_taken_over_once(tmp_path: Path, spool: Make) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        assert spool().adopt() == [], "a living writer's spool is its own"
        writer.kill()
        writer.wait(30)
    first, second = spool(), spool()
    assert [found.trial for found in first.adopt()] == ["0", "1", "2"]
    assert second.adopt() == []
    first.keep_only([])


def test_a_line_cut_by_a_crash_is_skipped(spool: Make) -> None:
    dead = spool()
    dead.append(event("a"))
    dead.keep_only([event("a")])
    with dead.path.open("ab") as file:
        file.write(event("b").to_line()[:20])
    assert [found.trial for found in spool().adopt()] == ["a"]


def test_delivered_events_leave_nothing_on_disk(tmp_path: Path, spool: Make) -> None:
    ours = spool()
    ours.append(event("a"))
    assert list(tmp_path.rglob("*.jsonl"))
    ours.keep_only([])
    assert not list(tmp_path.iterdir())


def test_each_address_has_a_spool_of_its_own(spool: Make) -> None:
    one = spool("http://one")
    one.append(event("a"))
    one.keep_only([event("a")])
    assert spool("http://two").adopt() == []
    assert len(spool("http://one").adopt()) == 1


def test_many_that_take_over_at_once_share_out_the_events(spool: Make) -> None:
    for number in range(20):
        dead = spool()
        dead.append(event(str(number)))
        dead.keep_only([event(str(number))])
    heirs = [spool() for _ in range(4)]
    for heir in heirs:
        heir.append(event("own"))
    found: list[str] = []
    threads = [threading.Thread(target=lambda heir=heir: found.extend(one.trial for one in heir.adopt())) for heir in heirs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=int) == [str(number) for number in range(20)]
