"""Real RGB-D sequences: two small ones inside the package, larger ones where POSESPLAT_DATA points.

Authors, licences and changes of the bundled images are in ``ATTRIBUTION.md`` in each folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from posesplat.datasets.open import open_frames
from posesplat.datasets.sample_names import SAMPLE_NAMES, SampleName, samples_folder
from posesplat.datasets.sequences import FrameSequence

__all__ = [
    "SAMPLE_NAMES",
    "MissingData",
    "SampleName",
    "data_folder",
    "real_sequence",
    "sample_folder",
    "sample_sequence",
]


class MissingData(FileNotFoundError):
    """A data set that is not on this machine."""


def sample_folder(name: SampleName) -> Path:
    """The folder of a bundled sequence.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in SAMPLE_NAMES:
        raise ValueError(f"Sample must be one of {', '.join(SAMPLE_NAMES)}; got {name!r}.")
    return samples_folder() / name


def sample_sequence(name: SampleName) -> FrameSequence:
    """A bundled RGB-D sequence with true poses.

    Raises:
        ValueError: for an unknown name.
    """
    return open_frames(sample_folder(name))


def real_sequence(name: str, root: str | os.PathLike[str] | None = None) -> FrameSequence:
    """Open the folder ``name`` of ``root``, by default the folder in the environment variable POSESPLAT_DATA.

    Raises:
        MissingData: when the variable is not set, or has no such folder.
    """
    return open_frames(data_folder(name, root))


def data_folder(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """Where a data set lies; see :func:`real_sequence`.

    Raises:
        MissingData: when the variable is not set, or has no such folder.
    """
    place = os.environ.get("POSESPLAT_DATA") if root is None else os.fspath(root)
    if not place:
        raise MissingData(
            f"The data set {name!r} needs a folder of data sets; none was given and POSESPLAT_DATA is not set. "
            "Set POSESPLAT_DATA to it."
        )
    folder = Path(place) / name
    if not folder.is_dir():
        raise MissingData(
            f"Expected the data set {name!r} in {place}; there is no such folder. "
            "Set POSESPLAT_DATA to the folder that holds it."
        )
    return folder
