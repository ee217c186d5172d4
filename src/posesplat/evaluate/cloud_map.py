"""Maps that are just points: what point-cloud registration works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.frame import Frame

Denoiser = Callable[[Frame], Frame]


@dataclass(frozen=True)
class PreparedCloud:
    """A cloud as small_gicp wants it: thinned, with normals and covariances, in a k-d tree."""

    cloud: Any
    """The small_gicp.PointCloud with estimated normals and covariances."""
    tree: Any
    """The small_gicp.KdTree of its points."""
    points: Float[np.ndarray, "n 3"]
    """The same points as an array."""
    normals: Float[np.ndarray, "n 3"] | None
    """The given unit normals of these points (small_gicp can not be handed normals); None where none were given."""


@dataclass(frozen=True)
class CloudMap:
    """A map of points, with normals where they are known."""

    points_in_world: Float[np.ndarray, "n 3"]
    """Metres."""
    normals_in_world: Float[np.ndarray, "n 3"] | None = None
    """Unit length, facing the camera that saw the point; None to estimate them from neighbouring points."""
    _prepared: dict[tuple[float, int], PreparedCloud] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @staticmethod
    def from_frames(
        frames: Sequence[Frame],
        cam_from_world: Sequence[RigidTransform] | RigidTransform,
        denoise: Denoiser | None = None,
        normals_in_cam: Sequence[Float[np.ndarray, "height width 3"]] | None = None,
    ) -> CloudMap:
        """All measured depth pixels of posed frames, as points in the world.

        Args:
            frames: observations with depth.
            cam_from_world: their poses, shape (n,).
            denoise: applied to each frame first.
            normals_in_cam: unit normals of each depth image, zero where unknown (such pixels are left out).

        Raises:
            ValueError: when nothing was measured, a frame has no depth, or counts differ.
        """
        poses = list(cam_from_world)
        if len(poses) != len(frames) or (normals_in_cam is not None and len(normals_in_cam) != len(frames)):
            raise ValueError(
                f"A cloud map needs a pose (and normals, if any) for each of its {len(frames)} frames; "
                f"got {len(poses)} poses. Leave out the frames without a pose."
            )
        points, normals = [np.zeros((0, 3))], [np.zeros((0, 3))]
        for index, (frame, pose) in enumerate(zip(frames, poses, strict=True)):
            seen = denoise(frame) if denoise else frame
            chosen = measured(seen)
            if normals_in_cam is not None:
                chosen &= np.any(normals_in_cam[index] != 0, axis=-1)
                normals.append(pose.rotation.inv().apply(normals_in_cam[index][chosen]))
            points.append(pose.inv().apply(points_in_cam(seen, chosen)))
        points_in_world = np.concatenate(points)
        if not len(points_in_world):
            raise ValueError("A cloud map needs measured depth; got frames whose depth is 0 everywhere.")
        return CloudMap(points_in_world, None if normals_in_cam is None else np.concatenate(normals))

    def prepared(self, voxel_size_m: float, neighbours: int, num_threads: int = 1) -> PreparedCloud:
        """The map ready for registration; the work is done once for each voxel size and number of neighbours."""
        key = (voxel_size_m, neighbours)
        if key not in self._prepared:
            self._prepared[key] = prepared(
                self.points_in_world, self.normals_in_world, voxel_size_m, neighbours, num_threads
            )
        return self._prepared[key]


def measured(frame: Frame) -> Bool[np.ndarray, "height width"]:
    """Which pixels have a depth.

    Raises:
        ValueError: when the frame has no depth image.
    """
    if frame.depth is None:
        raise ValueError(f"Registration needs depth; frame {frame.name!r} has none. Pass an RGB-D frame.")
    return np.asarray(frame.depth > 0)


def points_in_cam(frame: Frame, chosen: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "n 3"]:
    """The points of the ``chosen`` depth pixels in the camera frame, metres."""
    if frame.depth is None:
        return np.zeros((0, 3))
    return np.asarray(frame.camera.rays()[chosen] * frame.depth[chosen][:, None], dtype=np.float64)


def downsampled(points: Float[np.ndarray, "n 3"], voxel_size_m: float) -> Any:
    """A small_gicp.PointCloud of the mean of each occupied voxel; of all points for a voxel size of 0."""
    import small_gicp

    if voxel_size_m == 0:
        return small_gicp.PointCloud(points)
    # One thread: with more, small_gicp's sampling differs from run to run.
    return small_gicp.voxelgrid_sampling(points, voxel_size_m, 1)


def prepared(
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"] | None,
    voxel_size_m: float,
    neighbours: int,
    num_threads: int = 1,
) -> PreparedCloud:
    """Thin a cloud to one point a voxel and give each point a normal and a covariance from its neighbours."""
    import small_gicp

    if normals is None:
        cloud = downsampled(points, voxel_size_m)
    else:
        points, normals = _voxel_means(points, normals, voxel_size_m)
        cloud = small_gicp.PointCloud(points)
    tree = small_gicp.KdTree(cloud, num_threads=num_threads)
    small_gicp.estimate_normals_covariances(cloud, tree, neighbours, num_threads)
    return PreparedCloud(cloud, tree, cloud.points()[:, :3], normals)


def _voxel_means(
    points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], voxel_size_m: float
) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m 3"]]:
    """Mean point and unit mean normal of each occupied voxel, without voxels that hold surfaces facing apart."""
    if voxel_size_m == 0:
        return points, normals
    cells = np.floor((points - points.min(axis=0)) / voxel_size_m).astype(np.int64)
    numbers = np.ravel_multi_index(tuple(cells.T), tuple(cells.max(axis=0) + 1))
    _, voxel, counts = np.unique(numbers, return_inverse=True, return_counts=True)

    def means(values: np.ndarray) -> np.ndarray:
        sums = [np.bincount(voxel, weights=column, minlength=len(counts)) for column in values.T]
        return np.stack(sums, axis=-1) / counts[:, None]

    mean_normals = means(normals)
    length = np.linalg.norm(mean_normals, axis=-1)
    one_surface = length > 0.8
    return means(points)[one_surface], mean_normals[one_surface] / length[one_surface, None]
