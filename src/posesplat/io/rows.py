"""Text files of whitespace-separated rows, read with errors that name the file, the line and what was expected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float


def malformed(path: Path, line: int, expected: str, came: str) -> ValueError:
    """The error for a line that does not follow its format."""
    return ValueError(
        f"{path}, line {line}: expected {expected}; got {came}. Correct the line or export the file again."
    )


def read_rows(path: Path, columns: int, expected: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and words of every row; blank lines and lines that start with # are passed over.

    Raises:
        ValueError: for a row with another number of words than ``columns``, or a file that is not text.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                words = line.split()
                if not words or words[0].startswith("#"):
                    continue
                if len(words) != columns:
                    raise malformed(path, number, expected, f"{len(words)} values: {line.strip()[:80]!r}")
                yield number, words
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be a text file of rows '{expected}'; got binary data. Pass another file."
        ) from error


def finite_numbers(path: Path, line: int, words: Sequence[str], expected: str) -> list[float]:
    """The words of one row as numbers.

    Raises:
        ValueError: when a word is not a finite number.
    """
    values = []
    for word in words:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise malformed(path, line, expected, f"{word!r}, which is not a finite number")
        values.append(value)
    return values


def unit_quaternion(path: Path, line: int, quaternion: Sequence[float], expected: str) -> Float[np.ndarray, " 4"]:
    """A quaternion of any order at exact unit length.

    Raises:
        ValueError: when its length is off by more than rounding, which means that columns are mixed up.
    """
    array = np.asarray(quaternion, dtype=np.float64)
    length = float(np.linalg.norm(array))
    if abs(length - 1) > 0.01:
        raise malformed(path, line, expected, f"a quaternion of length {length:.4g}")
    return array / length
