"""Bytes and seconds as people read them."""

from __future__ import annotations

import pytest

from jobs.cli.amounts import bytes_text, seconds_text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 KB"), (3_435_000_000, "3.4 GB"), (2e18, "2000.0 PB")],
)
def test_bytes_are_told_in_powers_of_a_thousand(count: float, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (12_600, "3.5 h")])
def test_seconds_are_told_in_the_largest_unit_that_says_something(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
