"""Who runs what: records of runs in the store, what their drivers are asked to do, and their last lines (docs/decisions/0015)."""
