"""SecMI_NNs (arXiv 2302.01316): SecMI's error at each element instead of their sum, for a classifier to read.

What this generator returns are no scores but what they are learnt from: `s2l_core.attacks.calibration` makes scores of them.
"""

from __future__ import annotations

from s2l_core.attacks.queries import Attack, Images
from s2l_core.attacks.secmi import miss
from s2l_core.specs.attacks import SecMINNsAttack


def attack(spec: SecMINNsAttack, images: Images) -> Attack:
    """The absolute t-error of each element, [n, ...]; t/k + 2 network calls, the same as SecMI's.

    Raises:
        ValueError: t + k is beyond the schedule.
    """
    factor, difference = yield from miss(images, spec.t, spec.k)
    return (factor * difference).abs()
