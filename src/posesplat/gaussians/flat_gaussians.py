"""A frame as a sparse set of flattened Gaussians, one a cell of the image: what mixture alignment compares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Int32, UInt8
from scipy.spatial.transform import Rotation

from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.lifting import LiftedGaussians, LiftOptions, NoSurface, Surface, lift
from posesplat.gaussians.surface_descriptors import surface_descriptors
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.kernels.plane_fit import fit_planes

_ENOUGH_FOR_AXES = 3000
"""Features that tell the principal axes of all."""

FIELD_TERMS = 6
"""Terms of a smooth log-depth field: 1, x, y, x^2 - 1/3, x y, y^2 - 1/3, with x and y from -1 to 1 over the image."""


@dataclass(frozen=True)
class FlatOptions:
    """How a frame becomes a sparse set of flattened Gaussians."""

    columns: int = 107
    """Cells along the width of the image; a Gaussian each."""
    thickness: float = 0.001
    """Least standard deviation along the normal, relative to the depth; 0.002 suits predicted depth."""
    plane_radius_px: int = 3
    """Half window of the plane fit, for an image 640 pixels wide."""
    max_step: float = 0.08
    """Gaussians are left out where the depth of a neighbouring cell differs by more than this fraction."""
    max_tilt_deg: float = 83.0
    """Surfaces seen at a larger angle from their normal are left out."""
    descriptors: bool = True
    """Describe the image around each Gaussian, where there is an image and no features are given."""

    def __post_init__(self) -> None:
        if not (self.columns >= 2 and self.thickness > 0 and self.plane_radius_px >= 1 and self.max_step > 0):
            raise ValueError(
                "FlatOptions needs columns >= 2, thickness > 0, plane_radius_px >= 1 and max_step > 0; got "
                f"{self}. The defaults suit images of rooms."
            )


@dataclass(frozen=True)
class FlatGaussians:
    """Flattened Gaussians in the frame of the camera that saw them."""

    camera: Camera
    """The pinhole of the frame."""
    cell_px: int
    """Side of the image's cells, of which each gave one Gaussian or none."""
    pixels: Float64[np.ndarray, "n 2"]
    """Where they were seen, corner-based pixels."""
    means_in_cam: Float64[np.ndarray, "n 3"]
    """Centres, metres."""
    normals_in_cam: Float64[np.ndarray, "n 3"]
    """Unit normals towards the camera."""
    spreads: Float64[np.ndarray, " n"]
    """Standard deviation in the plane, metres."""
    thicknesses: Float64[np.ndarray, " n"]
    """Standard deviation along the normal, metres."""
    lab: Float32[np.ndarray, "n 3"] | None = None
    """CIELAB colour, L from 0 to 100."""
    features: Float32[np.ndarray, "n d"] | None = None
    """Descriptors or a network's features; compared with those of another set only after :func:`joint_features`."""
    trust: Float32[np.ndarray, " n"] | None = None
    """How much the feature says, in [0, 1); None = 1."""

    def __len__(self) -> int:
        return len(self.means_in_cam)

    def covariances(self, sigma: float = 0.0, flatness: float = 1.0) -> Float64[np.ndarray, "n 3 3"]:
        """Covariances blurred by ``sigma`` times the depth, and by ``flatness`` of that along the normal.

        Half of the blur's variance is put on each of two sets that are compared:
        tau^2 = spread^2 + (sigma z)^2 / 2, nu^2 = thickness^2 + (flatness sigma z)^2 / 2, and
        Sigma = tau^2 I + min(0, nu^2 - tau^2) n n^T.
        """
        blur = 0.5 * (sigma * self.means_in_cam[:, 2]) ** 2
        wide = self.spreads**2 + blur
        thin = np.minimum(self.thicknesses**2 + flatness**2 * blur, wide)
        covariances = (thin - wide)[:, None, None] * self._outer
        axes = np.arange(3)
        covariances[:, axes, axes] += wide[:, None]
        return covariances

    @cached_property
    def _outer(self) -> Float64[np.ndarray, "n 3 3"]:
        return self.normals_in_cam[:, :, None] * self.normals_in_cam[:, None, :]

    def cells(self) -> Int32[np.ndarray, "rows columns"]:
        """The Gaussian of each cell of the image, -1 = none."""
        size = self.cell_px
        cells = np.full((-(-self.camera.height // size), -(-self.camera.width // size)), -1, dtype=np.int32)
        columns, rows = (self.pixels // size).astype(np.int64).T
        cells[rows, columns] = np.arange(len(self))
        return cells

    def field_basis(self, terms: int) -> Float64[np.ndarray, "n terms"]:
        """The first terms of a smooth log-depth field at each Gaussian's pixel; see :data:`FIELD_TERMS`."""
        return field_basis(self.camera, self.pixels, terms)

    def scaled(self, field: Float[np.ndarray, " terms"]) -> FlatGaussians:
        """The set with every depth multiplied by exp(basis . field); sizes stay as they are."""
        if len(field) == 0:
            return self
        factors = np.exp(self.field_basis(len(field)) @ field)
        return replace(self, means_in_cam=self.means_in_cam * factors[:, None])

    def select(self, index: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"]) -> FlatGaussians:
        """The Gaussians picked by a mask or an index array."""
        lab, features, trust = self.lab, self.features, self.trust
        return FlatGaussians(
            self.camera,
            self.cell_px,
            self.pixels[index],
            self.means_in_cam[index],
            self.normals_in_cam[index],
            self.spreads[index],
            self.thicknesses[index],
            None if lab is None else lab[index],
            None if features is None else features[index],
            None if trust is None else trust[index],
        )

    def as_gaussians(self) -> Gaussians:
        """The same set as a scene in the camera's frame, without features: for pictures and splat files."""
        tall = np.abs(self.normals_in_cam[:, 2:]) < 0.7
        first = np.cross(self.normals_in_cam, np.where(tall, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]]))
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        axes = np.stack([first, np.cross(self.normals_in_cam, first), self.normals_in_cam], axis=2)
        return Gaussians(
            means_in_world=self.means_in_cam.astype(np.float32),
            quats_wxyz=Rotation.from_matrix(axes).as_quat(scalar_first=True).astype(np.float32),
            scales=np.column_stack([self.spreads, self.spreads, self.thicknesses]).astype(np.float32),
            opacities=np.ones(len(self), dtype=np.float32),
            colors=None if self.lab is None else _rgb(self.lab),
            normals_in_world=self.normals_in_cam.astype(np.float32),
        )


def field_basis(
    camera: Camera, pixels: Float[np.ndarray, "n 2"], terms: int = FIELD_TERMS
) -> Float64[np.ndarray, "n terms"]:
    """The first terms of a smooth log-depth field at places of an image, corner-based pixels.

    Raises:
        ValueError: for more than :data:`FIELD_TERMS` terms.
    """
    if not 0 <= terms <= FIELD_TERMS:
        raise ValueError(f"A log-depth field has 0 to {FIELD_TERMS} terms; got {terms}.")
    x, y = (2 * pixels / np.array([camera.width, camera.height]) - 1).T
    return np.stack([np.ones_like(x), x, y, x * x - 1 / 3, x * y, y * y - 1 / 3], axis=1)[:, :terms]


def lift_flat(
    frame: Frame,
    options: FlatOptions = FlatOptions(),
    features: Float32[np.ndarray, "h w d"] | None = None,
    threads: int | None = None,
) -> FlatGaussians:
    """A frame with depth as one flattened Gaussian a cell, with colour and features where it has an image.

    Depth and normal of a Gaussian are those of a plane fitted around its pixel in inverse depth.

    Args:
        frame: with depth, metres.
        options: cell size and what is left out.
        features: channels at every pixel, such as a :class:`~posesplat.providers.features.provider.FeatureProvider`
            gives; None takes the weight-free descriptors of :mod:`posesplat.gaussians.surface_descriptors`.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Raises:
        NoSurface: when no pixel gives a plane.
        ValueError: when the frame has no depth, or features have another size.
    """
    if frame.depth is None:
        raise ValueError(f"Frame {frame.name!r} must have depth to become Gaussians; got an image only.")
    camera = frame.camera
    if features is not None and features.shape[:2] != (camera.height, camera.width):
        raise ValueError(
            f"Frame {frame.name!r}: features must be given at its {camera.width} x {camera.height} pixels; got an "
            f"array of shape {features.shape}. Compute them from this frame's image."
        )
    stride = max(round(camera.width / options.columns), 1)
    radius = max(round(options.plane_radius_px * camera.width / 640), 1)
    fit = fit_planes(frame.depth, camera, radius=radius, threads=threads)
    count = np.maximum(fit.support * (2 * radius + 1) ** 2, 1)
    surface = Surface(fit.depth, fit.planes, fit.residual / np.sqrt(count))
    lifted = lift(
        Frame(camera, depth=frame.depth, name=frame.name),
        surface,
        LiftOptions(stride=stride, max_tilt_deg=options.max_tilt_deg),
        threads,
    )
    smooth = ~_at_steps(fit.depth, lifted.pixels, stride, options.max_step)
    if not smooth.any():
        raise NoSurface(
            f"Frame {frame.name!r}: the depth of every cell differs from its neighbours' by more than "
            f"{options.max_step:.0%}. Check the depth image."
        )
    flat = _flattened(camera, lifted, smooth, stride, options)
    rows, columns = lifted.pixels[smooth].T
    if frame.image is None:
        return flat
    flat = replace(flat, lab=_lab(frame.image, stride)[rows, columns])
    if features is not None:
        return replace(flat, features=np.ascontiguousarray(features[rows, columns], dtype=np.float32))
    if not options.descriptors:
        return flat
    found = surface_descriptors(frame.image, camera, flat.means_in_cam, flat.normals_in_cam)
    return replace(flat, features=found.values, trust=found.trust)


def joint_features(
    a: FlatGaussians, b: FlatGaussians, channels: int = 24
) -> tuple[Float32[np.ndarray, "n d"], Float32[np.ndarray, "m d"]] | None:
    """The features of two sets as unit vectors on their common principal axes; None when one has none.

    What all have in common is taken off first, so that the cosine tells Gaussians apart.

    Raises:
        ValueError: when their features have different lengths.
    """
    if a.features is None or b.features is None:
        return None
    if a.features.shape[1] != b.features.shape[1]:
        raise ValueError(
            f"Features of both sets must have one length; got {a.features.shape[1]} and {b.features.shape[1]}. "
            "Use one source of features for both frames."
        )
    both = np.concatenate([a.features, b.features])
    both -= both.mean(axis=0)
    if both.shape[1] > channels:
        some = both[:: max(len(both) // _ENOUGH_FOR_AXES, 1)]
        _, axes = np.linalg.eigh((some.T @ some).astype(np.float64))
        both = both @ axes[:, -channels:].astype(np.float32)
    both /= np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-9)
    return both[: len(a)], both[len(a) :]


def _flattened(
    camera: Camera, lifted: LiftedGaussians, kept: Bool[np.ndarray, " n"], stride: int, options: FlatOptions
) -> FlatGaussians:
    means = lifted.gaussians.means_in_world[kept].astype(np.float64)
    normals = lifted.gaussians.normals()[kept].astype(np.float64)
    depth = means[:, 2]
    return FlatGaussians(
        camera=camera,
        cell_px=stride,
        pixels=lifted.pixels[kept][:, ::-1] + 0.5,
        means_in_cam=means,
        normals_in_cam=normals / np.linalg.norm(normals, axis=1, keepdims=True),
        spreads=0.5 * stride * depth / np.sqrt(camera.fx * camera.fy),
        thicknesses=np.hypot(options.thickness * depth, lifted.errors[kept]),
    )


def _at_steps(
    depth: Float32[np.ndarray, "h w"], pixels: Int[np.ndarray, "n 2"], stride: int, max_step: float
) -> Bool[np.ndarray, " n"]:
    """Where the depth one cell away differs by more than a fraction; missing depth is no step."""
    rows, columns = pixels.T
    own = depth[rows, columns]
    steps = np.zeros(len(pixels), dtype=np.bool_)
    for row, column in ((stride, 0), (-stride, 0), (0, stride), (0, -stride)):
        other = depth[
            np.clip(rows + row, 0, depth.shape[0] - 1),
            np.clip(columns + column, 0, depth.shape[1] - 1),
        ]
        steps |= (other > 0) & (np.abs(other - own) > max_step * own)
    return steps


def _lab(image: UInt8[np.ndarray, "h w 3"], stride: int) -> Float32[np.ndarray, "h w 3"]:
    import cv2

    smooth = cv2.GaussianBlur(image, (0, 0), 0.5 * stride) if stride > 1 else image
    return np.asarray(cv2.cvtColor(smooth.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB))


def _rgb(lab: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    import cv2

    return np.clip(cv2.cvtColor(lab[None], cv2.COLOR_LAB2RGB)[0], 0, 1)
