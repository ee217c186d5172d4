"""Solids and sheets that rays meet in closed form, each in its own body frame.

Directions are stored components first, shape (3, ...), and need not have unit length: the answers are multiples of
them, so that rays with z = 1 in the camera give depth along the optical axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

_TINY = 1e-300


@runtime_checkable
class Shape(Protocol):
    """What the ray caster and the view sampler need to know of a shape."""

    @property
    def bounding_radius_m(self) -> float:
        """Radius of a ball about the body origin that holds the shape; infinite for a plane."""
        ...

    def intersect(
        self, origin_in_body: Float[np.ndarray, "3"], directions_in_body: Float[np.ndarray, "3 *n"]
    ) -> Float[np.ndarray, "*n"]:
        """Smallest t > 0 with origin + t * direction on the seen surface; infinite where there is none."""
        ...

    def normals(self, points_in_body: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Unit normals that point out of the solid, at points on the surface."""
        ...

    def clearance(self, points_in_body: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """Metres to the surface or fewer, positive where a camera may stand, negative inside the matter."""
        ...


def _check_positive(owner: str, sizes: tuple[float, ...]) -> None:
    if not all(size > 0 for size in sizes):
        raise ValueError(f"{owner} needs sizes above 0 metres; got {sizes}. Pass positive lengths.")


@dataclass(frozen=True)
class Quad:
    """A rectangle in the body plane z = 0 about the origin, seen from both sides; infinite sizes make a plane."""

    width_m: float = math.inf
    """Extent along x."""
    height_m: float = math.inf
    """Extent along y."""

    def __post_init__(self) -> None:
        _check_positive("Quad", (self.width_m, self.height_m))

    @property
    def bounding_radius_m(self) -> float:
        """Half the diagonal."""
        return 0.5 * math.hypot(self.width_m, self.height_m)

    def intersect(
        self, origin_in_body: Float[np.ndarray, "3"], directions_in_body: Float[np.ndarray, "3 *n"]
    ) -> Float[np.ndarray, "*n"]:
        """See :meth:`Shape.intersect`."""
        (ox, oy, oz), (dx, dy, dz) = origin_in_body, directions_in_body
        with np.errstate(divide="ignore", invalid="ignore"):
            t = -oz / dz
            hit = t > 0
            if math.isfinite(self.width_m):
                hit &= np.abs(ox + t * dx) <= 0.5 * self.width_m
            if math.isfinite(self.height_m):
                hit &= np.abs(oy + t * dy) <= 0.5 * self.height_m
        return np.where(hit, t, np.inf)

    def normals(self, points_in_body: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """See :meth:`Shape.normals`; the side of -z counts as outside."""
        return np.broadcast_to(np.array([0.0, 0.0, -1.0]), points_in_body.shape)

    def clearance(self, points_in_body: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """See :meth:`Shape.clearance`; never negative, as a sheet has no inside."""
        half = np.array([0.5 * self.width_m, 0.5 * self.height_m, 0.0])
        distance: Float[np.ndarray, " n"] = np.linalg.norm(np.maximum(np.abs(points_in_body) - half, 0.0), axis=-1)
        return distance


@dataclass(frozen=True)
class Box:
    """A box about the origin, its edges along the body axes: a solid, or a room seen from within."""

    size_m: tuple[float, float, float]
    """Edge lengths along x, y, z."""
    inside: bool = False
    """True when it is a room: only the inner faces are seen, and cameras stand within."""

    def __post_init__(self) -> None:
        _check_positive("Box", self.size_m)

    @property
    def bounding_radius_m(self) -> float:
        """Half the space diagonal."""
        return 0.5 * math.hypot(*self.size_m)

    def intersect(
        self, origin_in_body: Float[np.ndarray, "3"], directions_in_body: Float[np.ndarray, "3 *n"]
    ) -> Float[np.ndarray, "*n"]:
        """See :meth:`Shape.intersect`. Source: Kay and Kajiya, Ray tracing complex scenes, 1986 (slabs)."""
        near, far = _slab(origin_in_body[0], directions_in_body[0], 0.5 * self.size_m[0])
        for axis in (1, 2):
            enter, leave = _slab(origin_in_body[axis], directions_in_body[axis], 0.5 * self.size_m[axis])
            np.maximum(near, enter, out=near)
            np.minimum(far, leave, out=far)
        return _first_hit(near, far, self.inside)

    def normals(self, points_in_body: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """See :meth:`Shape.normals`."""
        relative = points_in_body / (0.5 * np.array(self.size_m))
        axis = np.argmax(np.abs(relative), axis=-1)[:, None]
        normals = np.zeros(points_in_body.shape)
        np.put_along_axis(normals, axis, np.sign(np.take_along_axis(relative, axis, axis=-1)), axis=-1)
        return normals

    def clearance(self, points_in_body: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """See :meth:`Shape.clearance`; the exact signed distance."""
        gap = np.abs(points_in_body) - 0.5 * np.array(self.size_m)
        outside = np.linalg.norm(np.maximum(gap, 0.0), axis=-1)
        distance: Float[np.ndarray, " n"] = outside + np.minimum(gap.max(axis=-1), 0.0)
        return -distance if self.inside else distance


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid about the origin, its axes along the body axes: a solid, or a room without any plane."""

    semi_axes_m: tuple[float, float, float]
    """Half extents along x, y, z."""
    inside: bool = False
    """True when it is a room: only the inner surface is seen, and cameras stand within."""

    def __post_init__(self) -> None:
        _check_positive("Ellipsoid", self.semi_axes_m)

    @property
    def bounding_radius_m(self) -> float:
        """The longest semi-axis."""
        return max(self.semi_axes_m)

    def intersect(
        self, origin_in_body: Float[np.ndarray, "3"], directions_in_body: Float[np.ndarray, "3 *n"]
    ) -> Float[np.ndarray, "*n"]:
        """See :meth:`Shape.intersect`; the unit sphere's quadratic in scaled coordinates."""
        axes = np.array(self.semi_axes_m)
        directions = [component / axis for component, axis in zip(directions_in_body, axes, strict=True)]
        near, far = _round_span(list(origin_in_body / axes), directions, 1.0)
        return _first_hit(near, far, self.inside)

    def normals(self, points_in_body: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """See :meth:`Shape.normals`; the gradient of the implicit equation."""
        gradient = points_in_body / np.square(self.semi_axes_m)
        normals: Float[np.ndarray, "n 3"] = gradient / np.linalg.norm(gradient, axis=-1, keepdims=True)
        return normals

    def clearance(self, points_in_body: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """See :meth:`Shape.clearance`; a lower bound (exact for a sphere), as scaling by the axes shrinks no more."""
        scaled = np.linalg.norm(points_in_body / np.array(self.semi_axes_m), axis=-1)
        distance: Float[np.ndarray, " n"] = (scaled - 1.0) * min(self.semi_axes_m)
        return -distance if self.inside else distance


@dataclass(frozen=True)
class Sphere(Ellipsoid):
    """An ellipsoid with three equal axes; build it with :meth:`of_radius`."""

    @staticmethod
    def of_radius(radius_m: float, inside: bool = False) -> Sphere:
        """A sphere about the body origin."""
        return Sphere((radius_m, radius_m, radius_m), inside)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.semi_axes_m)) != 1:
            raise ValueError(f"Sphere needs three equal semi-axes; got {self.semi_axes_m}. Use Ellipsoid.")


@dataclass(frozen=True)
class Cylinder:
    """A solid cylinder with flat caps about the origin, its axis along body y."""

    radius_m: float
    """Radius of the mantle."""
    height_m: float
    """Extent along y."""

    def __post_init__(self) -> None:
        _check_positive("Cylinder", (self.radius_m, self.height_m))

    @property
    def bounding_radius_m(self) -> float:
        """Distance from the centre to the rim."""
        return math.hypot(self.radius_m, 0.5 * self.height_m)

    def intersect(
        self, origin_in_body: Float[np.ndarray, "3"], directions_in_body: Float[np.ndarray, "3 *n"]
    ) -> Float[np.ndarray, "*n"]:
        """See :meth:`Shape.intersect`; the span within the mantle, cut by the span between the caps."""
        across = (0, 2)
        near, far = _round_span(
            [origin_in_body[i] for i in across], [directions_in_body[i] for i in across], self.radius_m
        )
        enter, leave = _slab(origin_in_body[1], directions_in_body[1], 0.5 * self.height_m)
        return _first_hit(np.maximum(near, enter), np.minimum(far, leave), inside=False)

    def normals(self, points_in_body: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """See :meth:`Shape.normals`."""
        radial = points_in_body * (1.0, 0.0, 1.0)
        distance = np.linalg.norm(radial, axis=-1, keepdims=True)
        mantle = radial / np.maximum(distance, _TINY)
        cap = np.sign(points_in_body) * (0.0, 1.0, 0.0)
        on_cap = np.abs(points_in_body[:, 1:2]) - 0.5 * self.height_m > distance - self.radius_m
        normals: Float[np.ndarray, "n 3"] = np.where(on_cap, cap, mantle)
        return normals

    def clearance(self, points_in_body: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """See :meth:`Shape.clearance`; the exact signed distance."""
        radial = np.hypot(points_in_body[:, 0], points_in_body[:, 2]) - self.radius_m
        axial = np.abs(points_in_body[:, 1]) - 0.5 * self.height_m
        outside = np.hypot(np.maximum(radial, 0.0), np.maximum(axial, 0.0))
        distance: Float[np.ndarray, " n"] = outside + np.minimum(np.maximum(radial, axial), 0.0)
        return distance


def _slab(
    origin: float, direction: Float[np.ndarray, "*n"], half: float
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Where lines enter and leave the slab -half <= x <= half."""
    inverse = 1.0 / np.where(direction == 0.0, _TINY, direction)
    middle = -origin * inverse
    reach = half * np.abs(inverse)
    return middle - reach, middle + reach


def _round_span(
    origin: list[float], direction: list[Float[np.ndarray, "*n"]], radius: float
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Where lines enter and leave a ball (or circle) about 0; enter > leave where they miss it."""
    squared = sum(d * d for d in direction)
    squared = np.where(squared == 0.0, _TINY, squared)
    along = sum(o * d for o, d in zip(origin, direction, strict=True))
    discriminant = along * along - squared * (sum(o * o for o in origin) - radius * radius)
    root = np.sqrt(np.maximum(discriminant, 0.0))
    missed = discriminant < 0.0
    near, far = (-along - root) / squared, (-along + root) / squared
    near[missed], far[missed] = np.inf, -np.inf
    return near, far


def _first_hit(near: Float[np.ndarray, "*n"], far: Float[np.ndarray, "*n"], inside: bool) -> Float[np.ndarray, "*n"]:
    """The seen end of the span [near, far]: the far one in a room or within the solid, else the near one."""
    first = far if inside else np.where(near > 0.0, near, far)
    return np.where((near <= far) & (far > 0.0), first, np.inf)
