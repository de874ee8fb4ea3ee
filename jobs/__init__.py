"""What runs: grids, plans, the ledger and its store, stages, Tune execution, the tracker and the command line."""
