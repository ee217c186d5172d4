"""Sensor noise: structured-light depth cameras and 8-bit colour cameras."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from posesplat.geometry.frame import Frame


@dataclass(frozen=True)
class KinectNoise:
    """Parameters of :func:`kinect_noise`; the defaults are those of a first-generation Kinect.

    Source: Nguyen et al., Modeling Kinect sensor noise, 2012 (quadratic axial noise); Khoshelham and Elberink,
    Accuracy and resolution of Kinect depth data, 2012 (baseline, 1/8 px disparity).
    """

    axial_per_metre: float = 0.0012
    """Standard deviation of the depth is this times depth squared; 1/m."""
    baseline_m: float = 0.075
    """Distance of projector and camera: disparity in pixels is fx * baseline / depth."""
    disparity_step_px: float = 0.125
    """Disparities are multiples of this; 0 switches quantisation off."""
    edge_radius_px: int = 2
    """Width of the unreliable band on either side of a depth edge."""
    edge_dropout: float = 0.7
    """Share of the band's pixels that are missing."""
    edge_jump: float = 0.03
    """Relative step of depth between neighbours, beyond that of a plane through them, that counts as an edge."""
    random_dropout: float = 0.01
    """Share of all pixels that are missing without a reason."""

    def __post_init__(self) -> None:
        shares = (self.edge_dropout, self.random_dropout)
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"KinectNoise dropouts must be shares in [0, 1]; got {shares}. Divide percentages by 100.")
        sizes = (self.axial_per_metre, self.disparity_step_px, self.edge_radius_px, self.edge_jump)
        if min(sizes) < 0 or self.baseline_m <= 0:
            raise ValueError(f"KinectNoise sizes must not be negative, and the baseline above 0; got {self}.")


def kinect_noise(frame: Frame, seed: int, options: KinectNoise | None = None) -> Frame:
    """The frame as a structured-light sensor would measure it: noise, then quantised disparity, then missing pixels.

    Args:
        frame: a frame with depth in metres; its pixels without depth stay without.
        seed: the same seed gives the same noise.
        options: the sensor's parameters.

    Raises:
        ValueError: for a frame without depth.
    """
    if frame.depth is None:
        raise ValueError(
            f"kinect_noise needs a frame with depth; {frame.name!r} has none. Use colour_noise for images."
        )
    options = options or KinectNoise()
    rng = np.random.default_rng(seed)
    depth = frame.depth.astype(np.float64)
    measured = depth > 0
    noise = rng.standard_normal(depth.shape)
    chance = rng.random((2, *depth.shape))
    noisy = depth + options.axial_per_metre * np.square(depth) * noise
    measured &= noisy > 0
    if options.disparity_step_px > 0:
        step = options.disparity_step_px / (frame.camera.fx * options.baseline_m)
        ticks = np.rint(1.0 / (step * np.where(measured, noisy, 1.0)))
        measured &= ticks > 0
        noisy = 1.0 / (step * np.maximum(ticks, 1.0))
    near_edge = near_depth_edges(depth, options.edge_jump, options.edge_radius_px)
    missing = (near_edge & (chance[0] < options.edge_dropout)) | (chance[1] < options.random_dropout)
    return replace(frame, depth=np.where(measured & ~missing, noisy, 0.0).astype(np.float32))


def near_depth_edges(
    depth: Float[np.ndarray, "height width"], relative_jump: float = 0.03, radius_px: int = 2
) -> Bool[np.ndarray, "height width"]:
    """Which pixels lie within ``radius_px`` of a depth edge, on either side of it.

    Inverse depth is affine in the pixel on every plane, so an edge is where its second difference along a row or a
    column exceeds ``relative_jump`` of its value; slanted planes have none. Pixels without depth count as infinitely
    far.
    """
    inverse = np.divide(1.0, depth, out=np.zeros(depth.shape), where=depth > 0)
    edge = np.zeros(depth.shape, dtype=bool)
    for values, marks in ((inverse, edge), (inverse.T, edge.T)):
        bend = np.abs(values[:-2] - 2.0 * values[1:-1] + values[2:])
        largest = np.maximum(np.maximum(values[:-2], values[2:]), values[1:-1])
        marks[1:-1] |= bend > relative_jump * largest
    if radius_px < 1:
        return np.zeros_like(edge)
    band: Bool[np.ndarray, "height width"] = ndimage.maximum_filter(edge, size=2 * radius_px - 1)
    return band


def colour_noise(frame: Frame, seed: int, sigma: float = 2.0, gain: float = 1.0, offset: float = 0.0) -> Frame:
    """The frame with another exposure and sensor noise: ``gain * image + offset + N(0, sigma)``, rounded and clipped.

    Args:
        frame: a frame with an image.
        seed: the same seed gives the same noise.
        sigma: standard deviation in 8-bit grey levels, independent for each pixel and channel.
        gain: factor on the grey levels.
        offset: grey levels added.

    Raises:
        ValueError: for a frame without an image, or a negative ``sigma``.
    """
    if frame.image is None:
        raise ValueError(
            f"colour_noise needs a frame with an image; {frame.name!r} has none. Use kinect_noise for depth."
        )
    if sigma < 0:
        raise ValueError(f"sigma must be 0 or more grey levels; got {sigma}.")
    noise = np.random.default_rng(seed).standard_normal(frame.image.shape, dtype=np.float32)
    levels = gain * frame.image.astype(np.float32) + offset + sigma * noise
    return replace(frame, image=np.clip(np.rint(levels), 0, 255).astype(np.uint8))
