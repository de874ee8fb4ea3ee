"""How near a drawn set is to members and to non-members, and whom its images show. The definitions: docs/fidelity.md."""

from s2l_core.fidelity.change import change
from s2l_core.fidelity.identity import Judge
from s2l_core.fidelity.measure import fidelity

__all__ = ["Judge", "change", "fidelity"]
