"""The real `shake` stage, which misbehaves on command and keeps a checkpoint often, so that kills fall between two of them."""

from jobs.stages import shake as real
from tests.chaos.misbehave import misbehaving

real.CHECKPOINT_S = 0.2
run, run_fused = misbehaving(real)
