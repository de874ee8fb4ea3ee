"""The grid made by hand, for all tests here."""

from tests.grid_by_hand import loud, make_world, quiet

__all__ = ["loud", "make_world", "quiet"]
