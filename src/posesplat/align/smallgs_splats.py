"""The numbers of Gaussians that SmallGS optimises: raw arrays, how they are seen, and the chain rule back to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial import cKDTree
from scipy.special import expit, logit

from posesplat.gaussians.gaussians import SH_C0, Gaussians
from posesplat.gaussians.harmonics import sh_basis, sh_direction_gradient
from posesplat.kernels.gradients import GaussianGradients
from posesplat.kernels.splatting import Scene

NEIGHBOURS = 3
"""Nearest points over which the squared distances are averaged."""


@dataclass(frozen=True)
class SeenSplats:
    """Splats ready to be rendered, and what the way back needs."""

    scene: Scene
    """With colours or features as channels."""
    scales: Float32[np.ndarray, "n 3"]
    """Standard deviations."""
    opacities: Float32[np.ndarray, " n"]
    """Opacities."""
    directions: Float32[np.ndarray, "n 3"] | None = None
    """From the camera to each centre; None for features."""
    basis: Float32[np.ndarray, "n k"] | None = None
    """Harmonics at the directions; None for features."""
    lit: Bool[np.ndarray, "n 3"] | None = None
    """Where a colour is not cut off at 0; None for features."""


class Splats:
    """Raw arrays of n Gaussians, float32, each row one Gaussian: changed in place by an optimiser."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        """Take arrays: means (n, 3), log_scales (n, 3), quats (n, 4), logits (n,), and features or sh0 and sh_rest."""
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays["means"])

    @staticmethod
    def at(
        points: Float[np.ndarray, "n 3"],
        colours: Float[np.ndarray, "n 3"] | None,
        channels: int,
        opacity: float,
        sh_degree: int,
        rng: np.random.Generator,
    ) -> Splats:
        """Round Gaussians as wide as the root of the mean squared distance to the nearest three.

        Args:
            points: their centres; at least four.
            colours: RGB in [0, 1]; None for features, which start at random in [0, 1].
            channels: number of features, used without colours.
            opacity: of all.
            sh_degree: degree of the colours; above 0 they start at 0.
            rng: of orientations and features.

        Raises:
            ValueError: for fewer than four points.
        """
        count = len(points)
        if count <= NEIGHBOURS:
            raise ValueError(f"Splats need more than {NEIGHBOURS} points; got {count}. Check the depth and the mask.")
        distances = np.asarray(cKDTree(points).query(points, k=NEIGHBOURS + 1)[0])[:, 1:]
        widths = np.sqrt(np.maximum(np.mean(distances**2, axis=1), np.finfo(np.float32).tiny))
        arrays = {
            "means": points,
            "log_scales": np.repeat(np.log(widths)[:, None], 3, axis=1),
            "quats": rng.uniform(size=(count, 4)),
            "logits": np.full(count, logit(opacity)),
        }
        if colours is None:
            arrays["features"] = rng.uniform(size=(count, channels))
        else:
            arrays["sh0"] = (colours - 0.5) / SH_C0
            arrays["sh_rest"] = np.zeros((count, (sh_degree + 1) ** 2 - 1, 3))
        return Splats({name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()})

    def seen_from(self, centre: Float[np.ndarray, " 3"]) -> SeenSplats:
        """The splats as a camera at ``centre`` sees them; its orientation does not matter."""
        a = self.arrays
        scales, opacities = np.exp(a["log_scales"]), expit(a["logits"])
        if "features" in a:
            return SeenSplats(self._scene(scales, opacities, a["features"]), scales, opacities)
        directions = a["means"] - np.asarray(centre, dtype=np.float32)
        basis = sh_basis(directions, 1 + a["sh_rest"].shape[1])
        colours = np.float32(0.5) + basis[:, :1] * a["sh0"]
        if a["sh_rest"].shape[1]:
            colours += np.matmul(basis[:, None, 1:], a["sh_rest"])[:, 0]
        lit = colours > 0
        scene = self._scene(scales, opacities, np.where(lit, colours, np.float32(0)))
        return SeenSplats(scene, scales, opacities, directions, basis, lit)

    def _scene(
        self, scales: Float32[np.ndarray, "n 3"], opacities: Float32[np.ndarray, " n"], values: np.ndarray
    ) -> Scene:
        means = self.arrays["means"]
        return Scene(means, self.arrays["quats"], scales, opacities, np.zeros_like(means), values)

    def gradients(self, seen: SeenSplats, by: GaussianGradients) -> dict[str, np.ndarray]:
        """Derivatives for the raw arrays, given those for the Gaussians as they were seen."""
        result = {
            "means": by.means_in_world,
            "log_scales": by.scales * seen.scales,
            "quats": by.quats_wxyz,
            "logits": by.opacities * seen.opacities * (1 - seen.opacities),
        }
        if seen.basis is None or seen.lit is None:
            return result | {"features": by.channels}
        by_colour = by.channels * seen.lit
        result["sh0"] = seen.basis[:, :1] * by_colour
        result["sh_rest"] = seen.basis[:, 1:, None] * by_colour[:, None, :]
        result["means"] = by.means_in_world + self.direction_gradients(seen, by)
        return result

    def direction_gradients(self, seen: SeenSplats, by: GaussianGradients) -> Float32[np.ndarray, "n 3"]:
        """Derivatives for the centres by way of the direction in which their colour is seen.

        The camera's centre has minus their sum.
        """
        count = self.arrays["sh_rest"].shape[1] + 1 if "sh_rest" in self.arrays else 1
        if count == 1 or seen.lit is None or seen.directions is None:
            return np.zeros((len(self), 3), dtype=np.float32)
        weights = np.zeros((len(self), count), dtype=np.float32)
        by_colour = by.channels * seen.lit
        weights[:, 1:] = np.matmul(self.arrays["sh_rest"], by_colour[:, :, None])[:, :, 0]
        return sh_direction_gradient(weights, seen.directions)

    def gaussians(self) -> Gaussians:
        """The Gaussians as they stand, in the frame of the means."""
        a = self.arrays
        quats = a["quats"] / np.linalg.norm(a["quats"], axis=1, keepdims=True)
        sh = None if "features" in a else np.concatenate([a["sh0"][:, None], a["sh_rest"]], axis=1)
        return Gaussians(
            a["means"], quats, np.exp(a["log_scales"]), expit(a["logits"]), sh=sh, features=a.get("features")
        )
