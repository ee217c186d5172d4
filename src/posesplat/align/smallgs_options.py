"""Settings of SmallGS, as published and without its faults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SmallgsOptions:
    """Settings of SmallGS; the defaults are those of the released code without its faults.

    Lengths are in units of the median depth of the first frame, whatever the unit of the depth is: the published
    rates were chosen for depths of that order.

    Source: SmallGS, arXiv 2504.17810, its released code, and gsplat's default strategy of densification.
    """

    image_width: int = 512
    """Wider images are shrunk to this many pixels a row; the time falls with its square."""
    segment_frames: int = 15
    """Frames solved together against Gaussians of the frame before them."""
    fit_steps: int = 1000
    """Steps in which the Gaussians are fitted to their own frame."""
    pose_steps: int = 500
    """Steps in which the poses of a segment are found."""
    loss: Literal["l1", "mse"] = "l1"
    """Difference of pictures: mean absolute value as in the code, or mean square as in the paper's equations 6 and 10,
    against which a smoothness of weight 1 is far too strong (docs/smallgs.md)."""
    smoothness: float = 1.0
    """Largest weight of the sum of |p_(i+1) - 2 p_i + p_(i-1)| over camera centres p."""
    initial_opacity: float = 0.1
    """Opacity of all Gaussians at first."""
    sh_degree: int = 3
    """Degree of view-dependent colour, 0 to 3."""
    means_rate: float = 1.6e-4
    """Step size of the centres; all rates of the Gaussians are multiplied by the root of ``segment_frames``."""
    scales_rate: float = 5e-3
    """Step size of the logarithms of the scales."""
    quats_rate: float = 1e-3
    """Step size of the quaternions."""
    opacities_rate: float = 5e-2
    """Step size of the logits of the opacities."""
    colour_rate: float = 2.5e-3
    """Step size of features and of constant colour; view-dependent colour has a twentieth."""
    pose_rate: float = 1e-2
    """First step size of the poses; a tenth is left at the end."""
    pose_weight_decay: float = 1e-5
    """Pull of the pose's nine numbers towards the anchor."""
    densify: bool = True
    """Clone, split and prune Gaussians while they are fitted, as gsplat does."""
    densify_from: int = 500
    """Step after which Gaussians are densified."""
    densify_every: int = 100
    """Steps between."""
    grow_gradient: float = 2e-4
    """Mean gradient on the screen (in half image sides) above which a Gaussian is cloned or split."""
    grow_scale: float = 0.01
    """Scale above which it is split rather than cloned."""
    prune_opacity: float = 0.005
    """Gaussians of less opacity are dropped."""
    seed: int = 0
    """Of orientations, features and split Gaussians."""
    published_faults: bool = False
    """Do as the released code does where it departs from the paper or from sense:

    * smoothness is that of the 4 x 4 matrices, rotation and translation mixed, and leaves out the frame before the
      segment, so that nothing ties the segment to what came before;
    * its weight falls from ``smoothness`` to 0 instead of rising to it;
    * segments are chained by est * prev instead of prev * est, for world_from_cam;
    * the scene, and with it the path, is inflated by 1.1;
    * Gaussians are fitted to a picture in which what moves is black, without a mask on the rendering;
    * opacities fall to 0.01 after the first step of the fit, because 0 is a multiple of every interval.

    Features on axes of their own in each frame are a matter of the provider of features.
    """

    def __post_init__(self) -> None:
        counts = (self.image_width, self.segment_frames, self.fit_steps, self.pose_steps, self.densify_every)
        if min(counts) < 1 or self.densify_from < 0:
            raise ValueError(
                "SmallgsOptions needs image_width, segment_frames, fit_steps, pose_steps and densify_every of at least "
                f"1 and densify_from >= 0; got {self}."
            )
        rates = (self.means_rate, self.scales_rate, self.quats_rate, self.opacities_rate, self.colour_rate)
        if min(*rates, self.pose_rate) <= 0 or self.smoothness < 0 or self.pose_weight_decay < 0:
            raise ValueError(f"SmallgsOptions needs positive rates, smoothness and pose_weight_decay >= 0; got {self}.")
        if not (0 < self.initial_opacity < 1 and 0 <= self.prune_opacity < 1 and 0 <= self.sh_degree <= 3):
            raise ValueError(
                "SmallgsOptions needs opacities in (0, 1) and sh_degree 0, 1, 2 or 3; "
                f"got {self.initial_opacity}, {self.prune_opacity} and {self.sh_degree}."
            )

    @property
    def batch_factor(self) -> float:
        """By which the Gaussians' rates are multiplied, and their floor of Adam divided: gsplat's rule for batches."""
        return math.sqrt(self.segment_frames)

    @property
    def scene_scale(self) -> float:
        """By which the scene is inflated."""
        return 1.1 if self.published_faults else 1.0

    def means_rate_at(self, step: int) -> float:
        """Step size of the centres: a hundredth is left after ``pose_steps``, and the fit goes on beyond that."""
        return self.means_rate * self.scene_scale * self.batch_factor * 0.01 ** (step / self.pose_steps)

    def pose_rate_at(self, step: int) -> float:
        """Step size of the poses."""
        return self.pose_rate * 0.01 ** (0.5 * step / self.pose_steps)

    def smoothness_at(self, step: int) -> float:
        """Weight of the smoothness."""
        done = step / self.pose_steps
        return self.smoothness * (1 - done if self.published_faults else done)
