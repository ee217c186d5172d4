"""Procedural solid textures: colour as a function of the point in the body frame, with a built-in prefilter.

Every pattern is evaluated for a footprint, the width in metres of the sample on the surface, and fades or softens what
is finer than that, so that images alias little at any size. Footprint 0 gives the unfiltered pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

TextureKind = Literal["waves", "patches", "checker", "noise", "plain"]

_TABLE_SIZE = 16
_FADE = np.float32(np.pi**2 / 6.0)


@runtime_checkable
class Texture(Protocol):
    """A pattern that gives every point of a body its colour."""

    def colours(
        self, points_in_body: Float[np.ndarray, "n 3"], footprint_m: Float[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "n 3"]:
        """RGB at the points, about [0, 1], averaged over roughly ``footprint_m`` metres."""
        ...


@dataclass(frozen=True)
class Plain:
    """One colour everywhere."""

    colour: tuple[float, float, float]
    """RGB in [0, 1]."""

    def colours(
        self, points_in_body: Float[np.ndarray, "n 3"], footprint_m: Float[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "n 3"]:
        """See :meth:`Texture.colours`."""
        return np.tile(np.array(self.colour, dtype=np.float32), (len(points_in_body), 1))


@dataclass(frozen=True, eq=False)
class Waves:
    """Sums of plane waves in random directions, a few for each wavelength: smooth, exactly band-limited."""

    mean: Float[np.ndarray, "3"]
    """Mean RGB."""
    wavelengths_m: Float[np.ndarray, " octaves"]
    """One wavelength an octave."""
    wave_vectors: Float[np.ndarray, "octaves waves 3"]
    """Wave vectors in the body frame, cycles per metre, of about the octave's wavelength."""
    phases: Float[np.ndarray, "octaves waves"]
    """Phases in turns."""
    amplitudes: Float[np.ndarray, "octaves waves 3"]
    """RGB amplitude of each wave."""

    @staticmethod
    def random(
        rng: np.random.Generator,
        mean: Float[np.ndarray, "3"],
        wavelengths_m: Float[np.ndarray, " octaves"],
        contrast: float,
        waves_per_octave: int = 6,
    ) -> Waves:
        """Waves of random direction, phase and tint, whose sum has a standard deviation of about ``contrast``."""
        shape = (len(wavelengths_m), waves_per_octave)
        directions = rng.normal(size=(*shape, 3))
        lengths = np.linalg.norm(directions, axis=-1) * wavelengths_m[:, None] * rng.uniform(0.8, 1.25, size=shape)
        tints = rng.normal(size=(*shape, 1)) + 0.6 * rng.normal(size=(*shape, 3))
        weights = np.asarray(wavelengths_m)[:, None, None] ** 0.25
        amplitudes = tints * weights
        amplitudes *= contrast / np.sqrt(0.5 * np.square(amplitudes).sum(axis=(0, 1)).mean())
        phases = rng.uniform(size=shape)
        return Waves(np.asarray(mean), np.asarray(wavelengths_m), directions / lengths[..., None], phases, amplitudes)

    def colours(
        self, points_in_body: Float[np.ndarray, "n 3"], footprint_m: Float[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "n 3"]:
        """See :meth:`Texture.colours`; a wave of frequency f keeps exp(-2 pi^2 f^2 sigma^2) of its height.

        sigma = footprint / sqrt(12) is the standard deviation of a box of the footprint's width; two thirds of f^2 lie
        within the surface on average.
        """
        octaves, waves, _ = self.wave_vectors.shape
        vectors = (2.0 * np.pi * self.wave_vectors).reshape(-1, 3)
        angles = points_in_body.astype(np.float32) @ vectors.T.astype(np.float32)
        angles += (2.0 * np.pi * self.phases).astype(np.float32).ravel()
        values = np.sin(angles, out=angles)
        squared = (1.0 / np.square(self.wavelengths_m)).astype(np.float32)
        kept = np.exp(
            np.multiply.outer(-_FADE * np.float32(2.0 / 3.0) * np.square(footprint_m, dtype=np.float32), squared)
        )
        values *= kept @ np.repeat(np.eye(octaves, dtype=np.float32), waves, axis=1)
        return _offset_by(self.mean, values @ self.amplitudes.reshape(-1, 3).astype(np.float32))


@dataclass(frozen=True, eq=False)
class Cells:
    """Random colours on a cubic lattice: flat patches with soft edges, or value noise when the edges fill the cells.

    Source: value noise, Ebert et al., Texturing and Modeling, 2003, chapter 2.
    """

    cell_m: float
    """Lattice spacing."""
    edge_m: float
    """Width of the transition between neighbours, at most ``cell_m`` (then it is value noise)."""
    lattice_from_body: Float[np.ndarray, "3 3"]
    """Rotation of the lattice; oblique lattices cut surfaces into polygons."""
    offset: Float[np.ndarray, "3"]
    """Shift of the lattice in cells."""
    table: Float32[np.ndarray, "16 16 16 4"]
    """RGB of the lattice points less their mean, and a 0 (four are looked up faster); repeats beyond its size."""
    mean: Float[np.ndarray, "3"]
    """Mean RGB, to which the pattern fades where the footprint exceeds the cells."""

    @staticmethod
    def random(
        rng: np.random.Generator,
        mean: Float[np.ndarray, "3"],
        cell_m: float,
        edge_m: float,
        contrast: float,
        oblique: bool = True,
    ) -> Cells:
        """Cells whose colours spread evenly about ``mean`` with standard deviation ``contrast`` in brightness."""
        size = (_TABLE_SIZE,) * 3
        brightness = rng.uniform(-1.0, 1.0, size=(*size, 1)) * np.sqrt(3.0) * contrast
        table = np.zeros((*size, 4), dtype=np.float32)
        table[..., :3] = brightness + rng.normal(size=(*size, 3)) * 0.35 * contrast
        lattice_from_body = Rotation.random(rng=rng).as_matrix() if oblique else np.eye(3)
        offset = rng.uniform(size=3) * _TABLE_SIZE
        return Cells(cell_m, edge_m, lattice_from_body, offset, table, np.asarray(mean))

    def colours(
        self, points_in_body: Float[np.ndarray, "n 3"], footprint_m: Float[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "n 3"]:
        """See :meth:`Texture.colours`; trilinear between lattice colours, with steps as wide as the edge."""
        position = (self.lattice_from_body / self.cell_m) @ points_in_body.T + self.offset[:, None]
        lower = np.floor(position)
        step = np.subtract(position, lower, dtype=np.float32, casting="same_kind")
        step -= np.float32(0.5)
        step /= np.minimum(_widened(self.edge_m, footprint_m) / self.cell_m, np.float32(1.0))
        step += np.float32(0.5)
        np.clip(step, 0.0, 1.0, out=step)
        step *= step * (np.float32(3.0) - np.float32(2.0) * step)
        low = lower.astype(np.int64)
        (x0, y0, z0), (x1, y1, z1) = low & (_TABLE_SIZE - 1), (low + 1) & (_TABLE_SIZE - 1)
        x, y, z = (np.repeat(axis, 4).reshape(-1, 4) for axis in step)
        flat = self.table.reshape(-1, 4)

        def along_z(row: np.ndarray) -> np.ndarray:
            return _mixed(flat.take(row + z0, axis=0), flat.take(row + z1, axis=0), z)

        def along_y(plane: np.ndarray) -> np.ndarray:
            return _mixed(along_z((plane + y0) * _TABLE_SIZE), along_z((plane + y1) * _TABLE_SIZE), y)

        pattern = _mixed(along_y(x0 * _TABLE_SIZE), along_y(x1 * _TABLE_SIZE), x)
        kept = np.exp(-_FADE * np.square(footprint_m / (2.0 * self.cell_m), dtype=np.float32))
        pattern *= np.repeat(kept, 4).reshape(-1, 4)
        return _offset_by(self.mean, pattern[:, :3])


@dataclass(frozen=True)
class Checker:
    """Two colours in turn along the chosen body axes, with soft edges."""

    first: tuple[float, float, float]
    """RGB of the cell at the origin's positive side."""
    second: tuple[float, float, float]
    """RGB of its neighbours."""
    cell_m: float
    """Cell width."""
    edge_m: float = 0.01
    """Width of the transition."""
    axes: tuple[int, ...] = (0, 1, 2)
    """Body axes along which the colours alternate; leave out the normal of a flat face."""

    def colours(
        self, points_in_body: Float[np.ndarray, "n 3"], footprint_m: Float[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "n 3"]:
        """See :meth:`Texture.colours`."""
        width = _widened(self.edge_m, footprint_m) / self.cell_m
        slope = np.float32(2.0 / np.pi) / np.minimum(width, np.float32(1.0))
        sign = np.exp(-_FADE * np.square(footprint_m / (2.0 * self.cell_m), dtype=np.float32))
        for axis in self.axes:
            wave = np.sin((points_in_body[:, axis] * (np.pi / self.cell_m)).astype(np.float32))
            sign *= np.clip(wave * slope, -1.0, 1.0)
        first, second = np.array(self.first), np.array(self.second)
        return _offset_by(0.5 * (first + second), np.multiply.outer(sign, (0.5 * (first - second)).astype(np.float32)))


@dataclass(frozen=True)
class Layered:
    """Several patterns on top of one another: the first, plus what the others differ from mid-grey."""

    layers: tuple[Texture, ...]
    """The base, then the details."""

    def colours(
        self, points_in_body: Float[np.ndarray, "n 3"], footprint_m: Float[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "n 3"]:
        """See :meth:`Texture.colours`."""
        total = self.layers[0].colours(points_in_body, footprint_m)
        for layer in self.layers[1:]:
            total = total + (layer.colours(points_in_body, footprint_m) - np.float32(0.5))
        return total


@dataclass(frozen=True)
class BoxFaces:
    """A pattern for each face of a box."""

    size_m: tuple[float, float, float]
    """Edge lengths of the box."""
    faces: tuple[Texture, Texture, Texture, Texture, Texture, Texture]
    """Textures of the faces at -x, +x, -y, +y, -z, +z."""

    def colours(
        self, points_in_body: Float[np.ndarray, "n 3"], footprint_m: Float[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "n 3"]:
        """See :meth:`Texture.colours`."""
        face = np.zeros(len(points_in_body), dtype=np.int8)
        furthest = np.zeros(len(points_in_body))
        for axis, size in enumerate(self.size_m):
            relative = points_in_body[:, axis] / size
            distance = np.abs(relative)
            np.copyto(face, 2 * axis + (relative > 0), where=distance > furthest, casting="unsafe")
            np.maximum(furthest, distance, out=furthest)
        present = np.flatnonzero(np.bincount(face, minlength=6))
        if len(present) == 1:
            return self.faces[present[0]].colours(points_in_body, footprint_m)
        result = np.empty((len(points_in_body), 3), dtype=np.float32)
        for index in present:
            chosen = np.flatnonzero(face == index)
            result[chosen] = self.faces[index].colours(points_in_body.take(chosen, axis=0), footprint_m.take(chosen))
        return result


def _offset_by(mean: Float[np.ndarray, "3"], pattern: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """The pattern plus a mean colour, a channel at a time (numpy is slow along an axis of three)."""
    result = np.empty(pattern.shape, dtype=np.float32)
    for channel, value in enumerate(mean):
        np.add(pattern[:, channel], np.float32(value), out=result[:, channel])
    return result


def _mixed(
    first: Float32[np.ndarray, "n 4"], second: Float32[np.ndarray, "n 4"], share: Float32[np.ndarray, "n 4"]
) -> Float32[np.ndarray, "n 4"]:
    """Linear interpolation; overwrites ``second``."""
    second -= first
    second *= share
    second += first
    return second


def _widened(edge_m: float, footprint_m: Float[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """Width of an edge once it is averaged over the footprint."""
    width: Float32[np.ndarray, " n"] = np.sqrt(np.square(footprint_m, dtype=np.float32) + np.float32(edge_m**2))
    return width


def procedural_texture(
    kind: TextureKind,
    rng: np.random.Generator,
    scale_m: float = 0.3,
    contrast: float = 0.16,
    axes: tuple[int, ...] = (0, 1, 2),
) -> Texture:
    """A random texture of a kind, with its own tint.

    Args:
        kind: ``waves`` (smooth), ``patches`` (polygons with corners), ``checker``, ``noise`` (cloudy, many scales),
            or ``plain`` (one colour).
        rng: source of all random choices.
        scale_m: size of the main structure; details go down to about a sixth of it.
        contrast: standard deviation of the brightness, in [0, 0.25].
        axes: for ``checker``, the body axes along which it alternates.
    """
    if kind not in get_args(TextureKind):
        raise ValueError(f"kind must be one of {', '.join(get_args(TextureKind))}; got {kind!r}. Choose a known kind.")
    mean = rng.uniform(0.38, 0.62) + rng.uniform(-0.12, 0.12, size=3)
    grey = np.full(3, 0.5)
    octaves = scale_m * np.geomspace(2.0, 1.0 / 6.0, 5)
    if kind == "plain":
        return Plain((float(mean[0]), float(mean[1]), float(mean[2])))
    if kind == "waves":
        return Waves.random(rng, mean, octaves, contrast)
    if kind == "patches":
        coarse = Cells.random(rng, mean, scale_m, 0.05 * scale_m, 0.85 * contrast)
        fine = Cells.random(rng, grey, 0.3 * scale_m, 0.05 * scale_m, 0.5 * contrast)
        grain = Cells.random(rng, grey, 0.08 * scale_m, 0.08 * scale_m, 0.3 * contrast)
        return Layered((coarse, fine, grain))
    if kind == "noise":
        scales = scale_m * np.array([1.0, 0.45, 0.2])
        layers = [
            Cells.random(rng, centre, s, s, contrast) for centre, s in zip((mean, grey, grey), scales, strict=True)
        ]
        return Layered(tuple(layers))
    detail = Waves.random(rng, grey, octaves[1:], 0.6 * contrast)
    step = contrast * (0.8 + 0.4 * rng.normal(size=3).clip(-1, 1))
    first, second = mean + step, mean - step
    checker = Checker(
        (float(first[0]), float(first[1]), float(first[2])),
        (float(second[0]), float(second[1]), float(second[2])),
        cell_m=scale_m,
        edge_m=0.04 * scale_m,
        axes=axes,
    )
    return Layered((checker, detail))
