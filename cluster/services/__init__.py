"""Servers that S2L can start on this machine: the real parts, for `make up` and for tests."""
