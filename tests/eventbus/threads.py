"""Threads that start at the same moment, for tests of what they share."""

from __future__ import annotations

import threading
from collections.abc import Callable


def in_threads(count: int, do: Callable[[int], object]) -> None:
    """Call a function with the number of each thread, and raise if it fails in any of them."""
    barrier = threading.Barrier(count)
    errors: list[BaseException] = []

    def begin(number: int) -> None:
        barrier.wait()
        try:
            do(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
