"""The real `metrics` stage, which misbehaves on command."""

from jobs.stages import metrics as real
from tests.chaos.misbehave import misbehaving

run, run_fused = misbehaving(real)
