"""A private Ray that is shut down while its board is still asked: Ray 2.60 then ends the process with its own exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.s2l_process import ROOT

SCRIPT = """\
import sys, time
from pathlib import Path
from cluster.ray_node import ray_session
from jobs.execute.board import BoardReader, News

with ray_session(workers=1, temp=Path(sys.argv[1])):
    import ray

    @ray.remote(num_cpus=0)
    class SlowBoard:
        def __init__(self):
            self.asked = 0
        def news(self):
            self.asked += 1
            time.sleep(1.5)
            return {"run": News(said={"key": (0.5, "half")})}
        def count(self):
            return self.asked

    told = []
    reader = BoardReader(SlowBoard.remote(), lambda *news: told.append(news), hung_after_s=60, end_worker=str, say=print)
    reader.start()
    while not told:
        time.sleep(0.05)
    time.sleep(0.7)  # the reader waits for its next answer now
    reader.stop()
    assert not reader.is_alive(), "the board is still asked"
sys.exit(42)
"""


def test_the_board_is_asked_no_more_when_its_reader_has_stopped(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 42, done.stderr
    assert "progress is not shown" not in done.stderr
