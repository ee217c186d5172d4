"""A map: Gaussians and the views from which they were seen, in one PLY file that any splat viewer opens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.ply import read_ply, read_ply_comments, write_ply
from posesplat.geometry.cameras import Camera

_COMMENT = "posesplat view "


@dataclass(frozen=True)
class MapView:
    """A camera from which the map was seen: a good place to render it from."""

    camera: Camera
    """Pinhole of the view."""
    cam_from_world: RigidTransform
    """Pose of the view."""
    name: str = ""
    """Usually the frame's name."""
    given_cam_from_world: RigidTransform | None = None
    """The pose as it was given, where the map contradicted it and holds the frame elsewhere."""


@dataclass(frozen=True)
class SplatMap:
    """Gaussians in a world frame, with the views they were built from (none for maps trained elsewhere)."""

    gaussians: Gaussians
    """The scene."""
    views: tuple[MapView, ...] = ()
    """Where it was seen from."""
    metric: bool = True
    """True when the world's unit is the metre; maps trained on SfM poses have an arbitrary unit."""

    def save(self, path: str | PathLike[str]) -> None:
        """Write a splat PLY; the views travel in its header comments."""
        comments = [f"posesplat metric {json.dumps(self.metric)}"]
        for view in self.views:
            record = {
                "name": view.name,
                "camera": view.camera.to_json(),
                "cam_from_world": _numbers(view.cam_from_world),
            }
            if view.given_cam_from_world is not None:
                record["given_cam_from_world"] = _numbers(view.given_cam_from_world)
            comments.append(_COMMENT + json.dumps(record))
        write_ply(path, self.gaussians, comments)

    @staticmethod
    def load(path: str | PathLike[str], metric: bool = True) -> SplatMap:
        """Read any splat PLY; ``metric`` says what a file that does not say it itself is.

        Raises:
            ValueError: for a file that is not a splat PLY, or with damaged view comments.
        """
        views = []
        for comment in read_ply_comments(path):
            if comment.startswith("posesplat metric "):
                metric = bool(json.loads(comment.removeprefix("posesplat metric ")))
            if comment.startswith(_COMMENT):
                try:
                    record = json.loads(comment.removeprefix(_COMMENT))
                    camera = {name: record["camera"][name] for name in ("fx", "fy", "cx", "cy", "width", "height")}
                    given = record.get("given_cam_from_world")
                    given = None if given is None else _pose(given)
                    views.append(MapView(Camera(**camera), _pose(record["cam_from_world"]), record["name"], given))
                except (KeyError, ValueError, TypeError) as error:
                    raise ValueError(
                        f"{path}: view comments must be what SplatMap.save writes; got {comment!r} ({error}). "
                        "Remove the comment or build the map again."
                    ) from error
        return SplatMap(read_ply(path), tuple(views), metric)


def _numbers(pose: RigidTransform) -> list[float]:
    """The upper three rows of a pose's matrix."""
    numbers: list[float] = np.asarray(pose.as_matrix())[:3].ravel().tolist()
    return numbers


def _pose(numbers: list[float]) -> RigidTransform:
    return RigidTransform.from_matrix(np.vstack([np.reshape(numbers, (3, 4)), [0.0, 0.0, 0.0, 1.0]]))
