"""Tensors and values: everything S2L computes. No network, scheduler, clock or environment variable."""
