"""Numbers that no command can use, refused before any work is done; a name means the same in every command."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

_MANY = math.inf
LIMITS: dict[str, tuple[float, float]] = {
    "batch": (1, _MANY),
    "clips": (1, _MANY),
    "delta": (1, _MANY),
    "devices": (1, 1024),
    "evaluate": (0, _MANY),
    "field_of_view_deg": (1, 179),
    "frames": (1, _MANY),
    "gsplatloc_frames": (0, _MANY),
    "gsplatloc_queries": (0, _MANY),
    "gsplatloc_steps": (2, _MANY),
    "gsplatloc_width": (32, _MANY),
    "height": (8, 100_000),
    "images": (3, _MANY),
    "learning_rate": (0, 1),
    "longest": (32, 100_000),
    "max_context": (2, _MANY),
    "max_points": (1, _MANY),
    "max_splats": (1, _MANY),
    "max_starts": (1, _MANY),
    "min_soft_inliers": (0, _MANY),
    "minutes": (0, _MANY),
    "pairs": (1, _MANY),
    "photo_pairs": (1, _MANY),
    "pictures": (0, _MANY),
    "port": (0, 65_535),
    "pycolmap_clips": (0, _MANY),
    "queries": (1, _MANY),
    "real_pairs": (1, _MANY),
    "realisations": (1, _MANY),
    "render_from": (0, 1),
    "rooms": (1, _MANY),
    "runs": (1, _MANY),
    "save_every": (1, _MANY),
    "seed": (0, 2**31 - 1),
    "side": (32, 100_000),
    "steps": (1, _MANY),
    "stride": (1, _MANY),
    "strides": (1, 64),
    "subsets": (1, _MANY),
    "threads": (1, 1024),
    "warm_up": (0, _MANY),
    "width": (8, 100_000),
    "widths": (8, 100_000),
    "workers": (0, 1024),
}
"""Least and largest value of options with these names; an option of another name must merely be a number."""


def check_limits(options: Any) -> None:
    """Refuse options that are out of their limits.

    Args:
        options: the dataclass of a command; dataclasses in it are looked at too where they are the command's own.

    Raises:
        ValueError: naming the option, its limits and its value.
    """
    for name, value in _numbers(options):
        option = f"--{name.replace('_', '-')}"
        if math.isnan(value):
            raise ValueError(f"{option} must be a number; got nan. Leave it out for its default.")
        least, most = LIMITS.get(name, (-_MANY, _MANY))
        if not least <= value <= most:
            expected = f"at least {least}" if most == _MANY else f"between {least} and {most}"
            raise ValueError(f"{option} must be {expected}; got {value}. Leave it out for its default.")


def check_folders(out: Path | None, data: Path | None) -> None:
    """Refuse an output folder that could not be written, and a folder of data sets that is not there.

    Raises:
        OSError: naming the folder.
    """
    from posesplat.io.results import check_place

    if out is not None:
        check_place(out)
    if data is not None and not data.is_dir():
        raise FileNotFoundError(f"--data must be a folder of data sets; there is none at {data}. Check the path.")


def _numbers(options: Any) -> Iterator[tuple[str, float]]:
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(value) and type(value).__module__.startswith("posesplat.cli."):
            yield from _numbers(value)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                yield field.name, number
