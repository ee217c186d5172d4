"""Gaussians that are cloned, split and dropped while they are fitted, as gsplat's default strategy does.

Source: Kerbl et al., 3D Gaussian Splatting, 2023, section 5.2; gsplat 1.4, ``DefaultStrategy``.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32
from scipy.spatial.transform import Rotation
from scipy.special import logit

from posesplat.align.adam import ArrayAdam
from posesplat.align.smallgs_options import SmallgsOptions
from posesplat.align.smallgs_splats import Splats
from posesplat.geometry.cameras import Camera
from posesplat.kernels.gradients import GaussianGradients

_SPLIT_SHRINK = 1.6
_RESET_OPACITY = 0.01


class Densifier:
    """Watches the gradients on the screen, and changes the Gaussians with the state of their optimisers."""

    def __init__(self, count: int, options: SmallgsOptions, rng: np.random.Generator) -> None:
        """Begin to watch ``count`` Gaussians."""
        self._options = options
        self._rng = rng
        self._sums = np.zeros(count, dtype=np.float32)
        self._views = np.zeros(count, dtype=np.float32)

    def watch(self, by: GaussianGradients, camera: Camera) -> None:
        """Take note of one step's gradients."""
        self._sums += np.where(by.visible, by.screen_norms(camera), np.float32(0))
        self._views += by.visible

    def is_due(self, step: int) -> bool:
        """True after steps in which Gaussians are changed."""
        return step > self._options.densify_from and step % self._options.densify_every == 0

    def densify(self, splats: Splats, optimisers: dict[str, ArrayAdam]) -> bool:
        """Clone small and split large Gaussians that are pulled, drop transparent ones, and watch anew.

        Returns:
            whether anything changed; gradients then belong to Gaussians that are no longer there.
        """
        options = self._options
        pulled = self._sums / np.maximum(self._views, 1) > options.grow_gradient
        large = np.exp(splats.arrays["log_scales"]).max(axis=1) > options.grow_scale
        _clone(splats, optimisers, pulled & ~large)
        cloned = np.zeros(len(splats) - len(pulled), dtype=bool)
        _split(splats, optimisers, np.concatenate([pulled & large, cloned]), self._rng)
        opaque = splats.arrays["logits"] >= logit(options.prune_opacity)
        _keep(splats, optimisers, opaque)
        self._sums = np.zeros(len(splats), dtype=np.float32)
        self._views = np.zeros(len(splats), dtype=np.float32)
        return bool(pulled.any() or not opaque.all())


def reset_opacities(splats: Splats, optimisers: dict[str, ArrayAdam]) -> None:
    """Lower all opacities to 0.01, twice what is pruned, and forget their optimiser's state."""
    logits = splats.arrays["logits"]
    np.minimum(logits, np.float32(logit(_RESET_OPACITY)), out=logits)
    optimisers["logits"].mean[:] = 0
    optimisers["logits"].square[:] = 0


def _clone(splats: Splats, optimisers: dict[str, ArrayAdam], chosen: Bool[np.ndarray, " n"]) -> None:
    _extend(splats, optimisers, {name: array[chosen] for name, array in splats.arrays.items()})


def _split(
    splats: Splats, optimisers: dict[str, ArrayAdam], chosen: Bool[np.ndarray, " n"], rng: np.random.Generator
) -> None:
    """Two smaller Gaussians instead of each one chosen, at random places within it."""
    if not chosen.any():
        return
    parents = {name: array[chosen] for name, array in splats.arrays.items()}
    scales = np.exp(parents["log_scales"])
    axes = Rotation.from_quat(parents["quats"], scalar_first=True).as_matrix().astype(np.float32)
    children: list[dict[str, Float32[np.ndarray, "..."]]] = []
    for _ in range(2):
        offset = np.einsum("nij,nj->ni", axes, scales * rng.normal(size=scales.shape).astype(np.float32))
        placed = {"means": parents["means"] + offset, "log_scales": np.log(scales / np.float32(_SPLIT_SHRINK))}
        children.append(parents | placed)
    _keep(splats, optimisers, ~chosen)
    for child in children:
        _extend(splats, optimisers, child)


def _keep(splats: Splats, optimisers: dict[str, ArrayAdam], kept: Bool[np.ndarray, " n"]) -> None:
    for name, array in splats.arrays.items():
        splats.arrays[name] = array[kept]
        optimisers[name].keep(kept)


def _extend(splats: Splats, optimisers: dict[str, ArrayAdam], rows: dict[str, np.ndarray]) -> None:
    for name, array in splats.arrays.items():
        splats.arrays[name] = np.concatenate([array, rows[name]])
        optimisers[name].extend(len(rows[name]))
