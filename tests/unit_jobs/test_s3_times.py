"""Times in an S3 server's answers, whichever of their forms it writes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.store.s3 import _time

MOMENT = datetime(2015, 10, 21, 7, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    "written", ["2015-10-21T07:28:00Z", "2015-10-21T07:28:00.000Z", "Wed, 21 Oct 2015 07:28:00 GMT", 1445412480, "1445412480"]
)
def test_every_form_of_a_time_is_the_same_moment(written: Any) -> None:
    assert _time(written).astimezone(UTC) == MOMENT


def test_what_is_no_time_is_an_error() -> None:
    with pytest.raises(ValueError, match="Invalid timestamp"):
        _time("yesterday")
