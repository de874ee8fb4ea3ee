"""What describes images in words. One file a kind, found by the spec's `kind`; each has `load(spec, *, folder, device) -> Captioner`."""

from s2l_core.captioners.captioner import Captioner, load

__all__ = ["Captioner", "load"]
