"""S2L's own stages, but for shakes of rank 2: those fail with every secret of their environment in the message. A package without a folder."""

from pathlib import Path

import jobs.stages

__path__ = [str(Path(__file__).resolve().parent / "telling"), *jobs.stages.__path__]
