"""The `s2l` command with stages that do nothing, telling what it asked of the store and what it cost. Run as a process of its own.

    python -m tests.benchmarks.counted FOLDER run GRID --store ... --tracking ...

Every call of a store, here and in Ray's workers, is a line `seconds method part` of a file `FOLDER/<role>-<pid>.calls`; at the end
`FOLDER/process.json` says what the process cost.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jobs.store.protocol import Entry
from tests.benchmarks.resident import status_mb

FOLDER, BEGAN = "S2L_COUNT_IN", "S2L_COUNT_BEGAN"
METHODS = ("get", "chunks", "size", "create", "replace", "put_file", "move", "delete")
PAGE = 1000
"""Names in one answer of S3: a listing is one request a page."""

_calls: int | None = None


def install() -> None:
    """Count what this process asks of any store from now on."""
    from jobs.store.folder import FolderStore
    from jobs.store.s3 import S3Store

    for store in (FolderStore, S3Store):
        for name in METHODS:
            setattr(store, name, _counting(name, getattr(store, name)))
        store.list = _counting_pages(store.list)  # type: ignore[method-assign]


def ray_hook(runtime_env: dict[str, Any] | None) -> dict[str, Any]:
    """Ray's RAY_RUNTIME_ENV_HOOK: workers count too."""
    return (runtime_env or {}) | {"worker_process_setup_hook": "tests.benchmarks.counted.install"}


def note(method: str, name: str) -> None:
    """One line: when, what, and of which part of the store."""
    if _calls is None:
        _open("worker")
    assert _calls is not None
    os.write(_calls, f"{time.time():.3f} {method} {name.partition('/')[0] or 'all'}\n".encode())


def _counting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def counted(self: Any, where: str, *args: Any, **options: Any) -> Any:
        note(name, where)
        return method(self, where, *args, **options)

    return counted


def _counting_pages(method: Callable[..., Iterator[Entry]]) -> Callable[..., Iterator[Entry]]:
    @functools.wraps(method)
    def counted(self: Any, prefix: str) -> Iterator[Entry]:
        note("list", prefix)
        for number, entry in enumerate(method(self, prefix)):
            if number and number % PAGE == 0:
                note("list", prefix)
            yield entry

    return counted


def _stages_that_do_nothing() -> None:
    import jobs.execute.options as options

    options.RunOptions = functools.partial(options.RunOptions, stages="tests.benchmarks.noop_stages")  # type: ignore[misc,assignment]


def _mark(marks: dict[str, float], began: float) -> None:
    """When the plan is made, when the first unit is on its way to a worker, and what the mirror's thread takes."""
    from jobs.execute.queue import Queue
    from jobs.execute.run import _Run
    from jobs.tracker.mirror import Mirror

    made, order, work = Queue.__init__, _Run.order_of, Mirror._work

    def mark(name: str) -> None:
        marks.setdefault(f"{name}_s", time.time() - began)
        marks.setdefault(f"{name}_cpu_s", _cpu_s())

    def init(self: Queue, *args: Any) -> None:
        made(self, *args)
        mark("planned")

    def order_of(self: _Run, unit: Any) -> str:
        mark("first_unit")
        return order(self, unit)

    def mirror(self: Mirror) -> None:
        work(self)
        marks["mirror_cpu_s"] = time.thread_time()

    Queue.__init__, _Run.order_of, Mirror._work = init, order_of, mirror  # type: ignore[method-assign]


def _cpu_s() -> float:
    used = os.times()
    return used.user + used.system


def main() -> None:
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    began = float(os.environ[BEGAN])
    os.environ |= {FOLDER: str(folder), "RAY_RUNTIME_ENV_HOOK": "tests.benchmarks.counted.ray_hook"}
    marks: dict[str, float] = {}
    if arguments[0] == "run":
        _stages_that_do_nothing()
        _mark(marks, began)
    _open("driver")
    install()
    from jobs.cli.main import s2l

    code = s2l.main(arguments, prog_name="s2l", standalone_mode=False)
    marks["main_thread_cpu_s"] = time.thread_time()
    found = {"exit": code or 0, "wall_s": time.time() - began, "cpu_s": _cpu_s(), "peak_mb": status_mb("VmHWM"), **marks}
    (folder / "process.json").write_text(json.dumps(found))


def _open(role: str) -> None:
    global _calls
    path = Path(os.environ[FOLDER]) / f"{role}-{os.getpid()}.calls"
    _calls = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


if __name__ == "__main__":
    from tests.benchmarks import counted  # the same module that the hook installs, not a second one called __main__

    counted.main()
