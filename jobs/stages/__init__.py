"""Stages: their specs (no torch) and, one file a kind, what runs them."""
