"""Ctrl-C while Ray shuts down waits until it has."""

from __future__ import annotations

import signal
import threading

import pytest

from cluster.ray_node import undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_block_comes_at_its_end(number: int) -> None:
    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    reached: list[str] = []

    def work() -> None:
        with undisturbed():
            signal.raise_signal(number)
            reached.append("the end")

    before = signal.signal(number, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert reached == ["the end"]
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)


def test_without_a_signal_nothing_is_raised_and_other_threads_may_use_it() -> None:
    before = signal.getsignal(signal.SIGINT)
    reached: list[str] = []

    def work() -> None:
        with undisturbed():
            reached.append("the end")

    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert reached == ["the end", "the end"]
    assert signal.getsignal(signal.SIGINT) is before
