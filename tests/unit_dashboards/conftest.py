"""The grids made by hand, for all tests here."""

from tests.ablations_by_hand import many, ranks, transfer
from tests.extraction_by_hand import gives_back
from tests.grid_by_hand import loud, make_world, quiet

__all__ = ["gives_back", "loud", "make_world", "many", "quiet", "ranks", "transfer"]
