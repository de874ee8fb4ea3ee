"""What a grid asks for: trials, the stages they share, what those need and cost. Pure planning: no torch, nothing is run."""
