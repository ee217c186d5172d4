"""The optional parts of posesplat: which packages they need, what they unlock, and how to get them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple


class Extra(NamedTuple):
    """One optional part."""

    packages: dict[str, str]
    """Names by which its packages are imported, each with the name by which pip knows it."""
    unlocks: str
    """What works with it."""


EXTRAS: dict[str, Extra] = {
    "learned": Extra(
        {"torch": "torch", "transformers": "transformers", "safetensors": "safetensors"},
        "reconstruct; networks for depth, features and matches",
    ),
    "train": Extra({"torch": "torch", "lightning": "lightning", "safetensors": "safetensors"}, "train"),
    "sfm": Extra({"pycolmap": "pycolmap"}, "bridge --estimator sfm; COLMAP as a rival in bench"),
    "inbetween": Extra(
        {
            "accelerate": "accelerate",
            "diffusers": "diffusers",
            "ftfy": "ftfy",
            "httpx": "httpx",
            "sentencepiece": "sentencepiece",
        },
        "bridge --inbetween diffusers, runway or luma",
    ),
    "report": Extra({"matplotlib": "matplotlib"}, "plots in report.html"),
    "viewer": Extra({"viser": "viser"}, "the 3D viewer"),
    "video": Extra({"av": "av"}, "H.264 videos written"),
    "batch": Extra({"ray": "ray"}, "many clips on many machines"),
    "cuda": Extra({"gsplat": "gsplat"}, "rendering on an NVIDIA GPU"),
}
"""By the name in ``pip install 'posesplat[NAME]'``; the same as in pyproject.toml."""


def install_command(*names: str) -> str:
    """The command that adds extras."""
    return f"pip install 'posesplat[{','.join(names)}]'"


def require(extra: str) -> None:
    """Say at once that an extra is not installed, before any work is done.

    Raises:
        ImportError: naming the first package that is missing, and the command that installs it.
    """
    for package, distribution in EXTRAS[extra].packages.items():
        if find_spec(package) is None:
            raise ImportError(
                f"this needs {distribution}, which is not installed. Install it with: {install_command(extra)}",
                name=package,
            )


def missing_extra(error: ImportError) -> str | None:
    """The first extra that holds the package which could not be imported; None where no extra does."""
    package = (error.name or "").partition(".")[0]
    return next((name for name, extra in EXTRAS.items() if package in extra.packages), None)
