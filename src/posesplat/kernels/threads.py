"""How many threads the kernels use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

_Part = TypeVar("_Part")
_Done = TypeVar("_Done")


def thread_count(threads: int | None = None) -> int:
    """The number of threads to use: the argument, else ``POSESPLAT_THREADS``, else the processors we may run on.

    Raises:
        ValueError: when the argument or the variable is not a whole number of at least 1.
    """
    source: object = threads if threads is not None else os.environ.get("POSESPLAT_THREADS")
    if source is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        count = int(str(source))
    except ValueError:
        count = 0
    if count < 1:
        cure = "Correct or unset POSESPLAT_THREADS." if threads is None else "Leave it out for all processors."
        raise ValueError(f"Thread count must be a whole number of at least 1; got {source!r}. {cure}")
    return count


def side_by_side(work: Callable[[_Part], _Done], parts: Sequence[_Part], threads: int | None = None) -> list[_Done]:
    """``work`` of each part, in order, by as many threads as :func:`thread_count` says; no part may need another."""
    workers = min(thread_count(threads), len(parts))
    if workers < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, parts))


def first_accepted(
    work: Callable[[_Part], _Done],
    parts: Sequence[_Part],
    accepts: Callable[[_Done], bool],
    threads: int | None = None,
) -> _Done:
    """``work`` of the first part whose result is accepted, or of the last; several threads work at all of them."""
    if thread_count(threads) > 1:
        results = side_by_side(work, parts, threads)
        return next((result for result in results if accepts(result)), results[-1])
    for part in parts:
        result = work(part)
        if accepts(result):
            break
    return result


@contextmanager
def one_library_thread() -> Iterator[None]:
    """Keep NumPy's, SciPy's and OpenCV's own work to one thread.

    Systems of some hundred unknowns and single images are slower with more, whose waiting takes time from threads of
    :func:`side_by_side`.
    """
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with blas_libraries().limit(limits=1, user_api="blas"):
            yield
    finally:
        cv2.setNumThreads(before)


@cache
def blas_libraries() -> ThreadpoolController:
    """What sets the threads of the libraries that are loaded at the first call."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
