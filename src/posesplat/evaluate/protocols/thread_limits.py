"""The threads of OpenCV and of the linear algebra inside NumPy and SciPy, held down while processor time is measured.

OpenBLAS lets idle threads spin: on small systems of equations that multiplies the processor time by ten.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import scipy

_FUNCTIONS = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads")


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """OpenCV's and OpenBLAS's threads within the block, afterwards as before; None leaves them.

    OpenBLAS is found where the wheels of NumPy and SciPy bring it; another one is left alone.
    """
    import cv2

    if threads is None:
        yield
        return
    before = cv2.getNumThreads(), [get() for get, _ in _openblas()]
    try:
        cv2.setNumThreads(threads)
        for _, put in _openblas():
            put(threads)
        yield
    finally:
        cv2.setNumThreads(before[0])
        for (_, put), count in zip(_openblas(), before[1], strict=True):
            put(count)


def blas_threads() -> list[int]:
    """Threads of each OpenBLAS that was found."""
    return [int(get()) for get, _ in _openblas()]


@cache
def _openblas() -> tuple[tuple[Any, Any], ...]:
    """Functions that get and set the number of threads, of each OpenBLAS."""
    found = []
    for package in (numpy, scipy):
        place = Path(str(package.__file__)).parent
        for path in (*place.parent.glob(f"{place.name}.libs/*openblas*"), *place.glob(".dylibs/*openblas*")):
            try:
                library = ctypes.CDLL(str(path))
            except OSError:
                continue
            for name in _FUNCTIONS:
                get, put = (getattr(library, name.format(verb), None) for verb in ("get", "set"))
                if get is not None and put is not None:
                    found.append((get, put))
                    break
    return tuple(found)
