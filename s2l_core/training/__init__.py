"""Training: one loop, its checkpoints, its device and precision."""
