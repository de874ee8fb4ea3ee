"""Which training images a model gives back: candidates matched with members and, by the same matcher, with non-members.

The definitions: docs/extraction.md.
"""

from s2l_core.extraction.measure import Extraction, change, extraction

__all__ = ["Extraction", "change", "extraction"]
