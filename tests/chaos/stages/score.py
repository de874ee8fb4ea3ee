"""The real `score` stage, which misbehaves on command."""

from jobs.stages import score as real
from tests.chaos.misbehave import misbehaving

run, run_fused = misbehaving(real)
BATCH_SIZE = real.BATCH_SIZE
