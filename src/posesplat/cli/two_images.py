"""What the commands for two images share: reading them, and writing their poses."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from posesplat.cli.frame_options import FrameOptions

if TYPE_CHECKING:
    from posesplat.align.shared_focal import SharedFocal
    from posesplat.geometry.estimate import PoseEstimate
    from posesplat.geometry.frame import Frame
    from posesplat.geometry.trajectory import Trajectory
    from posesplat.providers.two_view.provider import TwoViewProvider

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TwoImages:
    """Both images, where their matches come from, and what was found out about their camera."""

    a: Frame
    b: Frame
    matcher: TwoViewProvider
    focal: SharedFocal | None = None
    """Where neither a camera nor EXIF told the focal length."""

    @property
    def has_depth(self) -> bool:
        """Whether both images come with depth."""
        return self.a.depth is not None and self.b.depth is not None

    @staticmethod
    def open(
        paths: tuple[Path, Path],
        reading: FrameOptions,
        camera_b: str | None = None,
        depths: tuple[Path | None, Path | None] = (None, None),
        *,
        matcher: str,
        seed: int = 0,
    ) -> TwoImages:
        """Read both images, with the depth of files where there is any, and find out their cameras.

        A camera that is given wins, then what lies by the images, then EXIF; else both share a focal length that their
        matches tell, or one that is guessed.

        Args:
            paths: of A and B.
            reading: how they are read; its camera is that of A.
            camera_b: of B where it is another one.
            depths: depth maps of A and B.
            matcher: see :func:`posesplat.providers.two_view.open.open_two_view`.
            seed: of the samples that tell a focal length.

        Raises:
            FileNotFoundError: when a file is missing.
            ValueError: when a file is broken, or a camera that was given cannot be read.
        """
        from posesplat.providers.two_view.open import open_two_view

        provider = open_two_view(matcher)
        a, guessed = reading.open_image(paths[0], reading.camera, depths[0])
        b, also = reading.open_image(paths[1], camera_b or reading.camera, depths[1])
        if not guessed or not also or (a.camera.width, a.camera.height) != (b.camera.width, b.camera.height):
            return TwoImages(a, b, provider)
        from posesplat.align.shared_focal import shared_focal
        from posesplat.providers.two_view.given import GivenMatches

        matches = provider.matches(a, b)
        found = shared_focal(matches, a.camera, seed=seed)
        given = GivenMatches(matches, provider.name)
        if found.focal_px is None:
            _LOG.warning("the guessed focal length stays: %s", found.reason)
            return TwoImages(a, b, given, found)
        _LOG.warning("focal length found: %.0f px, between %.0f and %.0f", found.focal_px, *found.interval_px)
        camera = replace(a.camera, fx=found.focal_px, fy=found.focal_px)
        return TwoImages(replace(a, camera=camera), replace(b, camera=camera), given, found)


def pair_trajectory(a: Frame, b: Frame, estimate: PoseEstimate) -> Trajectory:
    """Camera A at the origin and camera B at its pose b_from_a."""
    import numpy as np
    from scipy.spatial.transform import RigidTransform

    from posesplat.geometry.estimate import PoseEstimate
    from posesplat.geometry.trajectory import Trajectory

    origin = PoseEstimate(
        True, "", RigidTransform.identity(), np.zeros((6, 6)), scale=estimate.scale, source="the world"
    )
    names = (a.name, b.name) if a.name != b.name else (f"A {a.name}", f"B {b.name}")
    return Trajectory((origin, estimate), np.array([0.0, 1.0]), names)


def print_answer(facts: dict[str, str], estimate: PoseEstimate, out: Path) -> None:
    """The table that people see, then why there is no pose or what to know of it, and where all is written."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(show_header=False)
    for name, value in facts.items():
        table.add_row(name, value)
    console.print(table)
    for line in (estimate.reason, *estimate.warnings):
        if line:
            console.print(line, highlight=False, markup=False)
    console.print(f"written to {out}", highlight=False, markup=False)
