"""Options that every command with frames shares: which camera took them, in which unit, which of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from posesplat.datasets.calibration import PixelCentre

if TYPE_CHECKING:
    from posesplat.datasets.calibration import ReadOptions
    from posesplat.datasets.sequences import FrameSequence
    from posesplat.geometry.frame import Frame
    from posesplat.images import DepthUnits


@dataclass(frozen=True)
class FrameOptions:
    """How frames are read."""

    camera: str | None = None
    """camera.json, fx,fy,cx,cy[,k1,k2,p1,p2[,k3]], a COLMAP model, exif or auto; default: what lies by the images."""
    pixel_centre: PixelCentre = "corner"
    """Where the numbers of --camera put the top-left pixel's centre: corner = (0.5, 0.5), integer = (0, 0)."""
    depth_scale: float | None = None
    """Stored depth / depth scale = metres; by default what the data set says."""
    any_depth: bool = False
    """Accept depth whose median lies outside 0.01 to 50 m, which otherwise counts as a wrong unit."""
    first: int = 0
    """Number of the first frame to use; negative numbers count from the end."""
    every: int = 1
    """Use every k-th frame from the first on."""
    count: int | None = None
    """Use at most this many frames."""

    def __post_init__(self) -> None:
        if self.every < 1 or (self.count is not None and self.count < 1):
            raise ValueError(
                f"--every and --count must be at least 1; got {self.every} and {self.count}. Leave them out for all "
                "frames."
            )
        if self.depth_scale is not None and not 0 < self.depth_scale < float("inf"):
            raise ValueError(
                f"--depth-scale must be a positive number (stored value / depth scale = metres); got "
                f"{self.depth_scale}. Use 1000 for millimetres, 5000 for the TUM benchmark."
            )

    def _plausible_m(self) -> tuple[float, float] | None:
        return None if self.any_depth else (0.01, 50.0)

    def depth_units(self) -> DepthUnits:
        """The unit of depth maps that lie elsewhere than the frames: --depth-scale, else millimetres."""
        from posesplat.images import DepthUnits

        return DepthUnits(self.depth_scale or 1000.0, self.depth_scale is not None, (), self._plausible_m())

    def read_options(self) -> ReadOptions:
        """How files are read."""
        from posesplat.datasets.calibration import ReadOptions

        return ReadOptions(self.camera, self.pixel_centre, self.depth_scale, self._plausible_m(), True)

    def open(self, source: Sequence[str]) -> FrameSequence:
        """Open a video, folder, glob or list of images and choose frames.

        Raises:
            FileNotFoundError: when there is nothing at the source.
            ValueError: when it holds no frames, or the choice leaves none.
        """
        from posesplat.datasets.open import open_frames

        if not source:
            raise ValueError("FRAMES must be a video, a folder, a glob or a list of images; got none. See --help.")
        frames = open_frames(
            source[0] if len(source) == 1 else list(source),
            camera=self.camera,
            pixel_centre=self.pixel_centre,
            depth_scale=self.depth_scale,
            plausible_depth_m=self._plausible_m(),
        )
        chosen = frames[self.first :: self.every][: self.count]
        if not len(chosen):
            raise ValueError(
                f"--first, --every and --count must leave at least one of {len(frames)} frames; got first "
                f"{self.first}, every {self.every}, count {self.count}. Count from 0."
            )
        return chosen

    def open_image(self, path: Path, camera: str | None, depth: Path | None = None) -> tuple[Frame, bool]:
        """One image, and whether its focal length is a guess: neither given, nor beside the image, nor in its EXIF.

        Args:
            path: of the image.
            camera: in the place of ``--camera``.
            depth: its depth map.
        """
        from posesplat.datasets.calibration import UnknownCamera
        from posesplat.datasets.folder import open_image_list
        from posesplat.geometry.cameras import Camera

        def read(camera: str | None) -> Frame:
            reading = replace(self, camera=camera).read_options()
            return open_image_list([path], reading, None if depth is None else [depth])[0]

        try:
            return read(camera), camera == "auto"
        except UnknownCamera:
            pass
        try:
            Camera.from_exif(path)
        except ValueError:
            return read("auto"), True
        return read("exif"), False
