"""What a unit takes: how many processes, and which share of a GPU, by what its model and its stages need."""
