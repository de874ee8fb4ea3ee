"""The real `sp` stage, which misbehaves on command."""

from jobs.stages import sp as real
from tests.chaos.misbehave import misbehaving

run, run_fused = misbehaving(real)
