"""The threads of OpenCV and of the linear algebra inside NumPy and SciPy, held down while processor time is measured.

OpenBLAS lets idle threads spin: on small systems of equations that multiplies the processor time by ten.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from posesplat.kernels.threads import blas_libraries


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """OpenCV's and the linear algebra's threads within the block, afterwards as before; None leaves them."""
    import cv2

    if threads is None:
        yield
        return
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(threads)
        with blas_libraries().limit(limits=threads, user_api="blas"):
            yield
    finally:
        cv2.setNumThreads(before)


def blas_threads() -> list[int]:
    """Threads of each library of linear algebra that was found."""
    return [int(library["num_threads"]) for library in blas_libraries().select(user_api="blas").info()]
