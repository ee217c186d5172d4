"""The scene type: a set of 3D Gaussians with opacity and colour or features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.spatial.transform import RigidTransform, Rotation

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic: colour = 0.5 + SH_C0 * sh[:, 0]."""

_SH_COUNTS = (1, 4, 9, 16)


@dataclass(frozen=True)
class Gaussians:
    """3D Gaussians in a world frame; arrays are float32, read-only, and share their first length n.

    Source: Kerbl et al., 3D Gaussian Splatting, 2023, section 4 (covariance = R diag(scales)^2 R^T).
    """

    means_in_world: Float32[np.ndarray, "n 3"]
    """Centres."""
    quats_wxyz: Float32[np.ndarray, "n 4"]
    """Orientations, unit quaternions with the real part first, world_from_gaussian."""
    scales: Float32[np.ndarray, "n 3"]
    """Standard deviations along the Gaussian's own axes, in the unit of the world."""
    opacities: Float32[np.ndarray, " n"]
    """Opacity in [0, 1]."""
    colors: Float32[np.ndarray, "n 3"] | None = None
    """RGB in [0, 1]; exclusive with ``sh``."""
    sh: Float32[np.ndarray, "n k 3"] | None = None
    """Spherical harmonics of the colour, k = 1, 4, 9 or 16 coefficients, as the splat PLY stores them."""
    features: Float32[np.ndarray, "n d"] | None = None
    """Any further channels."""
    normals_in_world: Float32[np.ndarray, "n 3"] | None = None
    """Unit normals; None means the shortest axis."""

    def __post_init__(self) -> None:
        count = len(self.means_in_world)
        shapes = {
            "means_in_world": (count, 3),
            "quats_wxyz": (count, 4),
            "scales": (count, 3),
            "opacities": (count,),
            "colors": (count, 3),
            "normals_in_world": (count, 3),
        }
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            array = np.array(value, dtype=np.float32)
            expected = shapes.get(field.name)
            if (expected and array.shape != expected) or len(array) != count:
                raise ValueError(
                    f"Gaussians.{field.name} must have shape {expected or (count, '...')}; got {array.shape}. "
                    "All arrays describe the same Gaussians, in the same order."
                )
            if not np.isfinite(array).all():
                bad = int((~np.isfinite(array.reshape(count, -1))).any(axis=1).sum())
                raise ValueError(
                    f"Gaussians.{field.name} must be finite; got NaN or infinity in {bad} of {count} Gaussians. "
                    "Drop them first."
                )
            array.setflags(write=False)
            object.__setattr__(self, field.name, array)
        if self.colors is not None and self.sh is not None:
            raise ValueError("Gaussians take colors or sh; got both. Pass the one that holds the colour.")
        if self.sh is not None and (self.sh.ndim != 3 or self.sh.shape[1] not in _SH_COUNTS or self.sh.shape[2] != 3):
            raise ValueError(f"Gaussians.sh must have shape (n, k, 3) with k in {_SH_COUNTS}; got {self.sh.shape}.")
        if (self.scales < 0).any() or (self.opacities < 0).any() or (self.opacities > 1).any():
            raise ValueError(
                "Gaussians need scales >= 0 and opacities in [0, 1]; got values outside. "
                "PLY files store log(scale) and logit(opacity): read them with read_ply."
            )

    def __len__(self) -> int:
        return len(self.means_in_world)

    def rotations(self) -> Rotation:
        """Orientations of the Gaussians, world_from_gaussian, shape (n,)."""
        return Rotation.from_quat(self.quats_wxyz, scalar_first=True)

    def covariances(self) -> Float[np.ndarray, "n 3 3"]:
        """World covariances R diag(scales)^2 R^T."""
        axes = self.rotations().as_matrix() * self.scales[:, None, :]
        return np.asarray(axes @ np.swapaxes(axes, 1, 2))

    def normals(self) -> Float32[np.ndarray, "n 3"]:
        """Stored unit normals, or the shortest axis of each Gaussian where none are stored (sign arbitrary)."""
        if self.normals_in_world is not None:
            return self.normals_in_world
        axes = self.rotations().as_matrix()
        shortest = np.argmin(self.scales, axis=1)
        return np.asarray(axes[np.arange(len(self)), :, shortest], dtype=np.float32)

    def rgb(self, camera_centre_in_world: Float[np.ndarray, " 3"] | None = None) -> Float32[np.ndarray, "n 3"]:
        """RGB in [0, 1] as seen from a point (spherical harmonics), or the view-independent part without one.

        Raises:
            ValueError: when the Gaussians carry no colour.
        """
        if self.colors is not None:
            return self.colors
        if self.sh is None:
            raise ValueError("These Gaussians carry no colour; got neither colors nor sh. Use the depth objective.")
        from posesplat.gaussians.harmonics import evaluate_sh

        if camera_centre_in_world is None:
            return np.clip(0.5 + SH_C0 * self.sh[:, 0], 0, 1).astype(np.float32)
        directions = self.means_in_world - np.asarray(camera_centre_in_world, dtype=np.float32)
        return evaluate_sh(self.sh, directions)

    @property
    def has_color(self) -> bool:
        """True when the Gaussians carry colours or spherical harmonics."""
        return self.colors is not None or self.sh is not None

    def select(self, index: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"] | slice) -> Gaussians:
        """The Gaussians picked by a mask, an index array or a slice."""
        picked: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in picked.items():
            picked[name] = None if value is None else value[index]
        return Gaussians(**picked)

    def transformed(self, b_from_a: RigidTransform, scale: float = 1.0) -> Gaussians:
        """The same Gaussians in frame b: points become ``b_from_a.apply(scale * points)``.

        Raises:
            ValueError: for view-dependent colour (SH degree > 0), which a rotation would have to mix.
        """
        if self.sh is not None and self.sh.shape[1] > 1:
            raise ValueError(
                f"Gaussians with spherical harmonics above degree 0 cannot be rotated; got {self.sh.shape[1]} "
                "coefficients. Transform the camera instead, or bake colours with rgb()."
            )
        means = b_from_a.apply(scale * self.means_in_world.astype(np.float64))
        quats_wxyz = (b_from_a.rotation * self.rotations()).as_quat(scalar_first=True)
        normals = self.normals_in_world
        if normals is not None:
            normals = b_from_a.rotation.apply(normals).astype(np.float32)
        return replace(
            self,
            means_in_world=means.astype(np.float32),
            quats_wxyz=quats_wxyz.astype(np.float32),
            scales=np.float32(scale) * self.scales,
            normals_in_world=normals,
        )

    @staticmethod
    def merge(parts: Sequence[Gaussians]) -> Gaussians:
        """One set out of several that carry the same kinds of channels.

        Raises:
            ValueError: when one part has a channel that another lacks.
        """
        if not parts:
            raise ValueError("Gaussians.merge needs at least one part; got none.")
        merged: dict[str, Any] = {}
        for field in fields(Gaussians):
            values = [getattr(part, field.name) for part in parts]
            if any(value is None for value in values):
                if any(value is not None for value in values):
                    raise ValueError(
                        f"Gaussians.merge: some parts have {field.name} and some have not. Drop or add it."
                    )
                merged[field.name] = None
            else:
                merged[field.name] = np.concatenate(values)
        return Gaussians(**merged)
