"""A wrong clock for every Python process that finds this on its path: `S2L_CHAOS_SKEW_S` seconds ahead, or behind, from its first line."""

import os
import time

_SKEW_S = float(os.environ.get("S2L_CHAOS_SKEW_S", "0"))
_time, _time_ns = time.time, time.time_ns


def _skewed() -> float:
    return _time() + _SKEW_S


def _skewed_ns() -> int:
    return _time_ns() + int(_SKEW_S * 1e9)


if _SKEW_S:
    time.time, time.time_ns = _skewed, _skewed_ns
