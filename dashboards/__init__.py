"""What people look at: tables, plots, report. Reads the ledger; writes nothing to it."""
