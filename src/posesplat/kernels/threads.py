"""How many threads the kernels use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


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
        raise ValueError(f"Thread count must be a whole number of at least 1; got {source!r}. Check POSESPLAT_THREADS.")
    return count


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep NumPy's and SciPy's linear algebra to one thread: systems of some hundred unknowns are slower with more."""
    with blas_libraries().limit(limits=1, user_api="blas"):
        yield


@cache
def blas_libraries() -> ThreadpoolController:
    """What sets the threads of the libraries that are loaded at the first call."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
