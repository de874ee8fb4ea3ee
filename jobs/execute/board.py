"""What workers tell the driver while they run: where, how far, that they leave. No news means that a worker is dead, or hangs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

NEWS_EVERY_S, NEWS_WAIT_S = 0.5, 5.0
LAST_NEWS_WAIT_S = 30.0
"""How long the board may take to say what a lost worker said last: whether it was told to leave decides whether its loss counts."""


@dataclass(frozen=True)
class Place:
    """Where a unit runs: the same value for all units of one process, and for no other process.

    Attributes:
        node: Ray's name of the node.
        holder: the process, as leases name it (`jobs.ledger.holder`), as JSON.
        stacks: a file on that host which the process writes its stacks to when it is asked to.
    """

    node: str
    host: str
    pid: int
    holder: str
    stacks: str


@dataclass
class Story:
    """What is known of one run of a unit.

    Attributes:
        heard: when it was last heard of, on the driver's clock.
        left: the outcome (JSON) with which the worker left, because its machine is taken away.
        hung_s: how long it showed no progress when the driver set out to kill it for that; 0 otherwise.
        ended: whether it was killed.
        trace: its stacks at that moment.
    """

    unit: str
    place: Place
    heard: float
    stage: str = ""
    words: str = ""
    left: str = ""
    hung_s: float = 0.0
    ended: bool = False
    trace: str = ""


@dataclass
class News:
    """What happened to one run since the driver asked last."""

    begun: tuple[str, Place] | None = None
    said: dict[str, tuple[float, str]] = field(default_factory=dict)
    last: str = ""
    left: str = ""
    ended: bool = False


def board_class() -> Any:
    """A Ray actor that workers tell their news to, and the driver reads."""
    import ray

    @ray.remote(num_cpus=0)
    class Board:
        def __init__(self) -> None:
            self._news: dict[str, News] = {}
            self._open = True
            self._avoided: set[str] = set()

        def close(self) -> None:
            self._open = False

        def avoid(self, nodes: list[str]) -> None:
            self._avoided = set(nodes)

        def is_open(self, node: str) -> bool:
            return self._open and node not in self._avoided

        def begin(self, run: str, unit: str, place: Place) -> None:
            self._of(run).begun = (unit, place)

        def tell(self, run: str, key: str, fraction: float, words: str) -> None:
            news = self._of(run)
            news.said[key], news.last = (fraction, words), key

        def leave(self, run: str, outcome: str) -> None:
            self._of(run).left = outcome

        def end(self, run: str) -> None:
            self._of(run).ended = True

        def news(self) -> dict[str, News]:
            news, self._news = self._news, {}
            return news

        def _of(self, run: str) -> News:
            return self._news.setdefault(run, News())

    return Board


def is_open(board: Any, node: str) -> bool:
    """Whether a unit may still begin on a node: workers ask when they are about to. A board that does not answer is no reason to stop."""
    import ray

    if board is None:
        return True
    try:
        return bool(ray.get(board.is_open.remote(node), timeout=NEWS_WAIT_S))
    except Exception:
        return True


class BoardReader(threading.Thread):
    """Carries news from the board to a reporter until stopped, knows the story of every unit that runs, and ends workers that hang.

    It carries two words the other way: that nothing may begin any more, and on which nodes nothing may begin.

    Args:
        tell: told (stage key, fraction, words).
        closed: whether nothing may begin any more.
        avoided: nodes on which nothing may begin, by Ray's names.
        hung_after_s: how long a unit may show no progress.
        end_worker: kills a process where it runs and gives its stacks back; raises when it cannot.
        say: told of workers that were ended, in words.
    """

    def __init__(
        self,
        board: Any,
        tell: Callable[[str, float, str], None],
        *,
        closed: Callable[[], bool] = lambda: False,
        avoided: Callable[[], tuple[str, ...]] = tuple,
        hung_after_s: float,
        end_worker: Callable[[Place], str],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(daemon=True, name="s2l-board")
        self._board, self._tell, self._end_worker, self._say, self._clock = board, tell, end_worker, say, clock
        self._closed, self._avoided, self._told_to_avoid = closed, avoided, tuple[str, ...]()
        self._hung_after_s = hung_after_s
        self._stories: dict[str, Story] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._complained = False
        self._asked: Any = None  # news that the board gave away and that did not arrive yet: it has them no more

    def run(self) -> None:
        while not self._stopping.wait(NEWS_EVERY_S):
            try:
                if self._closed():
                    self._board.close.remote()
                if self._told_to_avoid != (nodes := self._avoided()):
                    self._board.avoid.remote(list(nodes))
                    self._told_to_avoid = nodes
                self.collect()
                self._end_the_silent()
            except Exception as error:  # a run goes on without its news
                if not self._complained:
                    self._complained = True
                    print(f"progress is not shown: {error}", file=sys.stderr)

    def collect(self, wait_s: float = NEWS_WAIT_S) -> None:
        """Take what the board has, and first what it was asked for before and was too slow to answer.

        Raises:
            Exception: it does not answer in time, or at all.
        """
        with self._lock:
            if self._asked is not None:
                self._take(wait_s)
            self._asked = self._board.news.remote()
            self._take(wait_s)

    def _take(self, wait_s: float) -> None:
        import ray
        from ray.exceptions import GetTimeoutError

        try:
            news = ray.get(self._asked, timeout=wait_s)
        except GetTimeoutError:
            raise
        except Exception:  # this answer will not come
            self._asked = None
            raise
        self._asked = None
        for run, one in news.items():
            self._note(run, one)

    def story(self, unit: str) -> Story | None:
        """What is known of the newest run of a unit, asked of the board once more; None when it never said that it had begun."""
        try:
            self.collect(LAST_NEWS_WAIT_S)
        except Exception as error:
            print(f"the last news of a lost worker are missing: {error}", file=sys.stderr)
        with self._lock:
            runs = [run for run, story in self._stories.items() if story.unit == unit]
            found = self._stories[runs[-1]] if runs else None
            for run in runs:  # that worker is gone: the next run is a story of its own
                del self._stories[run]
        return found

    def runs_nothing(self) -> bool:
        """Whether no unit is known to run: what was handed out waits for a worker, or has ended."""
        with self._lock:
            return not self._stories

    def stop(self) -> None:
        """Return when the board is asked no more: Ray ends a process in which a thread still asks while it shuts down."""
        self._stopping.set()
        self.join()

    def _note(self, run: str, news: News) -> None:
        for key, (fraction, words) in news.said.items():
            self._tell(key, fraction, words)
        if news.ended:
            self._stories.pop(run, None)
            return
        if news.begun is not None:
            self._begin(run, *news.begun)
        story = self._stories.get(run)
        if story is None:
            return
        story.heard, story.hung_s = self._clock(), 0.0
        story.left = news.left or story.left
        if news.last:
            story.stage, story.words = news.last, news.said[news.last][1]

    def _begin(self, run: str, unit: str, place: Place) -> None:
        """A process runs one unit at a time: what it ran before has ended, whether that was heard or not."""
        over = [old for old, story in self._stories.items() if story.place == place]
        for old in over:
            del self._stories[old]
        self._stories[run] = Story(unit, place, self._clock())

    def _end_the_silent(self) -> None:
        now = self._clock()
        with self._lock:
            silent = [one for one in self._stories.values() if now - one.heard >= self._hung_after_s and not one.ended]
        for story in silent:
            story.hung_s += now - story.heard
            try:
                story.trace = self._end_worker(story.place)
                story.ended = True
                self._say(f"no progress for {story.hung_s:.0f} s: ended the worker {story.place.pid} on {story.place.host}")
            except Exception as error:
                story.heard = self._clock()  # once more after as long again
                self._say(f"the worker {story.place.pid} on {story.place.host} shows no progress and cannot be ended: {error}")
