"""SmallGS, first half: Gaussians of one frame's depth, fitted to that frame's own picture.

Source: SmallGS, arXiv 2504.17810, section 3, and its released code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32
from scipy.spatial.transform import RigidTransform

from posesplat.align.adam import ArrayAdam
from posesplat.align.smallgs_densify import Densifier, reset_opacities
from posesplat.align.smallgs_options import SmallgsOptions
from posesplat.align.smallgs_splats import Splats
from posesplat.geometry.cameras import Camera
from posesplat.kernels.gradients import backward, composite


@dataclass(frozen=True)
class Target:
    """What a frame's rendering is compared with."""

    camera: Camera
    """Pinhole of the picture."""
    picture: Float32[np.ndarray, "h w c"]
    """Colours in [0, 1], or features."""
    static: Bool[np.ndarray, "h w"]
    """Pixels of what does not move; the others count as equal."""


@dataclass(frozen=True)
class FitResult:
    """Gaussians in the frame of their camera."""

    splats: Splats
    """As the last step left them."""
    losses: tuple[float, ...]
    """Loss at every step."""

    @property
    def finite(self) -> bool:
        """False when the fit has diverged."""
        return bool(np.isfinite(self.losses).all())


def picture_loss(
    gap: Float32[np.ndarray, "h w c"], options: SmallgsOptions
) -> tuple[float, Float32[np.ndarray, "h w c"]]:
    """Mean square or mean absolute value of a difference of pictures, and its derivative."""
    if options.loss == "l1":
        return float(np.abs(gap).mean(dtype=np.float64)), np.sign(gap) / np.float32(gap.size)
    return float(np.square(gap).mean(dtype=np.float64)), gap * np.float32(2 / gap.size)


def splats_of(
    target: Target, depth: Float32[np.ndarray, "h w"], options: SmallgsOptions, rng: np.random.Generator, colour: bool
) -> Splats:
    """One Gaussian for each static pixel that has depth, in the camera's own frame.

    Args:
        target: the picture, whose colours the Gaussians take on.
        depth: depth along the optical axis, 0 where unknown.
        options: opacity and degree count.
        rng: of orientations and features.
        colour: False when the picture holds features.

    Raises:
        ValueError: for fewer than four pixels.
    """
    rows, columns = np.nonzero(target.static & (depth > 0))
    points = target.camera.rays()[rows, columns].astype(np.float64) * depth[rows, columns, None]
    return Splats.at(
        points * options.scene_scale,
        target.picture[rows, columns] if colour else None,
        target.picture.shape[2],
        options.initial_opacity,
        options.sh_degree,
        rng,
    )


def fit_splats(
    splats: Splats,
    target: Target,
    options: SmallgsOptions,
    rng: np.random.Generator,
    progress: Callable[[int, float], None] | None = None,
    threads: int | None = None,
) -> FitResult:
    """Fit Gaussians to the picture of the camera in whose frame they are; they are changed in place.

    Args:
        splats: of :func:`splats_of`.
        target: the picture.
        options: steps, rates, densification.
        rng: of split Gaussians.
        progress: called after each step with its number (from 0) and its loss.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
    """
    factor = options.batch_factor
    optimisers = {name: ArrayAdam(array.shape, 1e-15 / factor) for name, array in splats.arrays.items()}
    rates = {
        "log_scales": factor * options.scales_rate,
        "quats": factor * options.quats_rate,
        "logits": factor * options.opacities_rate,
        "features": factor * options.colour_rate,
        "sh0": factor * options.colour_rate,
        "sh_rest": factor * options.colour_rate / 20,
    }
    densifier = Densifier(len(splats), options, rng)
    static = target.static[..., None]
    wanted = target.picture * static
    losses: list[float] = []
    for step in range(options.fit_steps):
        seen = splats.seen_from(np.zeros(3))
        image = composite(seen.scene, target.camera, RigidTransform.identity(), threads=threads)
        shown = image.channels if options.published_faults else image.channels * static
        loss, by_image = picture_loss(shown - wanted, options)
        losses.append(loss)
        if not np.isfinite(loss):
            break
        by = backward(seen.scene, image, by_channels=by_image, threads=threads).gaussians
        assert by is not None
        gradients = splats.gradients(seen, by)
        if options.densify:
            densifier.watch(by, target.camera)
            if options.published_faults and step == 0:
                reset_opacities(splats, optimisers)
                del gradients["logits"]
            # Gaussians that have just changed wait for gradients of their own.
            if densifier.is_due(step) and densifier.densify(splats, optimisers):
                gradients = {}
        for name, gradient in gradients.items():
            rate = options.means_rate_at(step) if name == "means" else rates[name]
            optimisers[name].step(splats.arrays[name], gradient, rate)
        if progress is not None:
            progress(step, loss)
    return FitResult(splats, tuple(losses))
