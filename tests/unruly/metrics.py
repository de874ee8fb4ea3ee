"""A `metrics` stage that does nothing. Where there is a file `$UNRULY/lacking`, the host lacks what it needs."""

import os
from pathlib import Path

from tests.benchmarks.noop_stages.nothing import run

__all__ = ["run"]

if Path(os.environ["UNRULY"], "lacking").exists():
    raise ImportError("libgpu.so.12: cannot open shared object file; its key was planted-secret")
