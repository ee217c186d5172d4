"""Names and place of the sequences that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

SampleName = Literal["tum_fr1_desk", "icl_livingroom1"]
SAMPLE_NAMES: tuple[SampleName, ...] = ("tum_fr1_desk", "icl_livingroom1")
"""Bundled sequences: a Kinect on a desk with motion capture truth, and a rendered living room with reference poses."""


def samples_folder() -> Path:
    """The folder that holds a folder for each of them."""
    return Path(__file__).resolve().parent.parent / "samples"
