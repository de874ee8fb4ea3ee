"""What images are compared by: numbers [n, d] for n images.

One file a kind, found by the spec's `kind`; each has `load(spec, *, folder, device) -> Extractor`.
"""

from s2l_core.features.extractor import Extractor, load

__all__ = ["Extractor", "load"]
