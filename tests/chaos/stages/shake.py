"""The real `shake` stage, which misbehaves on command."""

from jobs.stages import shake as real
from tests.chaos.misbehave import misbehaving

run, run_fused = misbehaving(real)
