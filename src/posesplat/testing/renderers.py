"""What every renderer of Gaussians must do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.testing.check import (
    Check,
    answer_or_refusal,
    demand,
    demand_array,
    demand_close,
    run_checks,
    unchanged,
    without_gpu,
)

CAMERA = Camera(60.0, 62.0, 31.0, 25.0, 64, 48)
POSE = RigidTransform.from_components([0.1, 0.05, 0.2], Rotation.from_rotvec([0.1, -0.2, 0.05]))
_MOVED = RigidTransform.from_components([0.7, -0.4, 1.1], Rotation.from_rotvec([0.3, -0.5, 0.2]))
_NEAR = 2e-3
"""Differences of colour and alpha that single precision explains."""


@dataclass(frozen=True)
class Rendered:
    """What a renderer draws of one view; what it does not draw is None."""

    alpha: np.ndarray
    """(height, width), float32: opacity in [0, 1]."""
    rgb: np.ndarray | None = None
    """(height, width, 3), float32: colours on black."""
    depth: np.ndarray | None = None
    """(height, width), float32: distance along the optical axis, 0 where nothing is seen."""


Render = Callable[[Gaussians, Camera, RigidTransform], Rendered]
"""From Gaussians, a pinhole camera and cam_from_world to a view."""


def sample_gaussians(count: int = 200, seed: int = 0) -> Gaussians:
    """Coloured Gaussians of all shapes before, beside and behind a camera at the origin."""
    rng = np.random.default_rng(seed)
    return Gaussians(
        rng.uniform([-2, -2, -0.5], [2, 2, 6], (count, 3)).astype(np.float32),
        Rotation.random(count, rng=rng).as_quat(scalar_first=True).astype(np.float32),
        np.exp(rng.uniform(-4, -1.5, (count, 3))).astype(np.float32),
        rng.uniform(0.05, 0.95, count).astype(np.float32),
        colors=rng.uniform(0, 1, (count, 3)).astype(np.float32),
    )


@dataclass(frozen=True)
class RendererTrial:
    """A renderer on trial."""

    render: Render
    """Draws a view."""
    gaussians: Gaussians = field(default_factory=sample_gaussians)
    """What is drawn."""
    blur_px2: float = 0.3
    """Variance that is added to footprints so that none falls between pixels, in pixels squared; 0.3 as published."""

    def view(self) -> Rendered:
        """The usual view."""
        return self.render(self.gaussians, CAMERA, POSE)


def _demand_view(what: str, view: Any, camera: Camera = CAMERA) -> None:
    demand(isinstance(view, Rendered), what, "Rendered", type(view).__name__)
    shape = (camera.height, camera.width)
    parts = {"alpha": (view.alpha, shape), "rgb": (view.rgb, (*shape, 3)), "depth": (view.depth, shape)}
    for name, (values, expected) in parts.items():
        if values is not None:
            demand_array(f"{name} of {what}", values, expected, np.float32)
            demand(np.isfinite(values).all(), f"{name} of {what}", "finite numbers", "NaN or infinity")
    low, high = float(view.alpha.min()), float(view.alpha.max())
    demand(low >= 0 and high <= 1 + 1e-5, f"alpha of {what}", "0 to 1", f"{low:.3g} to {high:.3g}")
    if view.depth is not None:
        demand((view.depth >= 0).all(), f"depth of {what}", "0 or more", view.depth.min())
        demand(not view.depth[view.alpha == 0].any(), f"depth of {what} where alpha is 0", "0", "other numbers")


def _demand_same(what: str, expected: Rendered, found: Rendered, length: float = 1.0, near: float = _NEAR) -> None:
    demand_close(f"alpha of {what}", expected.alpha, found.alpha, absolute=near)
    if expected.rgb is not None:
        demand_close(f"rgb of {what}", expected.rgb, found.rgb, absolute=near)
    if expected.depth is not None and found.depth is not None:
        # Where little is drawn, depth is a quotient of small numbers.
        seen = expected.alpha > 0.2
        demand_close(f"depth of {what}", length * expected.depth[seen], found.depth[seen], relative=10 * near)


def _contract(trial: RendererTrial) -> None:
    view = trial.view()
    _demand_view("the view", view)
    demand(float(view.alpha.max()) > 0.5, "alpha of the view", "something drawn", f"at most {view.alpha.max():.3g}")


def _inputs_unchanged(trial: RendererTrial) -> None:
    one = trial.gaussians
    with unchanged(
        "arrays of the Gaussians", [one.means_in_world, one.quats_wxyz, one.scales, one.opacities, one.colors]
    ):
        trial.view()


def _deterministic(trial: RendererTrial) -> None:
    _demand_same("the view drawn again", trial.view(), trial.view(), near=0.0)


def _equivariant_to_world(trial: RendererTrial) -> None:
    moved = trial.gaussians.transformed(_MOVED)
    found = trial.render(moved, CAMERA, POSE * _MOVED.inv())
    _demand_same("the view with Gaussians and camera moved together", trial.view(), found)


def _equivariant_to_length(trial: RendererTrial) -> None:
    factor = 2.0
    longer = trial.gaussians.transformed(RigidTransform.identity(), factor)
    pose = RigidTransform.from_components(factor * POSE.translation, POSE.rotation)
    _demand_same("the view of a world twice as long", trial.view(), trial.render(longer, CAMERA, pose), length=factor)


def _equivariant_to_order(trial: RendererTrial) -> None:
    shuffled = trial.gaussians.select(np.random.default_rng(1).permutation(len(trial.gaussians)))
    _demand_same("the view with Gaussians in another order", trial.view(), trial.render(shuffled, CAMERA, POSE))


def _degenerate_input(trial: RendererTrial) -> None:
    behind = trial.gaussians.select(trial.gaussians.means_in_world[:, 2] < 0)
    nothing = {
        "Gaussians behind the camera": (behind, RigidTransform.from_translation([0.0, 0.0, -1.0])),
        "no Gaussians": (trial.gaussians.select(np.zeros(len(trial.gaussians), dtype=bool)), POSE),
    }
    for what, (gaussians, pose) in nothing.items():
        view = answer_or_refusal(
            f"the view of {what}",
            lambda gaussians=gaussians, pose=pose: trial.render(gaussians, CAMERA, pose),  # type: ignore[misc]
        )
        if view is not None:
            _demand_view(f"the view of {what}", view)
            demand(not view.alpha.any(), f"alpha of the view of {what}", "0", f"up to {view.alpha.max():.3g}")


def _works_on_cpu(trial: RendererTrial) -> None:
    with without_gpu():
        _demand_view("the view without a GPU", trial.view())


def _meaning_held(trial: RendererTrial) -> None:
    """A round Gaussian on the optical axis is a round Gaussian in the image, in closed form."""
    depth, size, opacity, colour = 2.0, 0.1, 0.8, np.array([0.9, 0.5, 0.1])
    one = Gaussians(
        np.array([[0, 0, depth]], np.float32),
        np.array([[1, 0, 0, 0]], np.float32),
        np.full((1, 3), size, np.float32),
        np.array([opacity], np.float32),
        colors=colour[None].astype(np.float32),
    )
    view = trial.render(one, CAMERA, RigidTransform.identity())
    u, v = np.meshgrid(np.arange(CAMERA.width) + 0.5 - CAMERA.cx, np.arange(CAMERA.height) + 0.5 - CAMERA.cy)
    wide, high = ((focal * size / depth) ** 2 + trial.blur_px2 for focal in (CAMERA.fx, CAMERA.fy))
    alpha = opacity * np.exp(-0.5 * (u**2 / wide + v**2 / high))
    # Below 1/255 nothing is drawn.
    drawn = alpha > 2 / 255
    what = "one round Gaussian on the axis, pixel centres at 0.5"
    demand_close(f"alpha of {what}", alpha[drawn], view.alpha[drawn], absolute=5e-3)
    demand(not view.alpha[alpha < 1e-4].any(), f"alpha far from {what}", "0", "more")
    if view.rgb is not None:
        demand_close(f"rgb of {what}", alpha[drawn, None] * colour, view.rgb[drawn], absolute=5e-3)
    if view.depth is not None:
        middle = alpha > 0.5 * opacity
        demand_close(f"depth of {what}", np.full(int(middle.sum()), depth), view.depth[middle], relative=0.02)


RENDERER_CHECKS: tuple[Check[RendererTrial], ...] = (
    Check("contract", "views have the camera's size, alpha from 0 to 1 and no NaN", _contract),
    Check("inputs_unchanged", "the arrays of the Gaussians stay as they were given", _inputs_unchanged),
    Check("deterministic", "equal views are equal to the last bit", _deterministic),
    Check("equivariant_to_world", "Gaussians and camera moved together give the same view", _equivariant_to_world),
    Check(
        "equivariant_to_length",
        "in a world twice as long the view is the same and its depth doubled",
        _equivariant_to_length,
    ),
    Check("equivariant_to_order", "the order of the Gaussians does not matter", _equivariant_to_order),
    Check(
        "degenerate_input",
        "where nothing is to be seen nothing is drawn, or it is refused with a reason",
        _degenerate_input,
    ),
    Check("works_on_cpu", "it works without a GPU and answers in NumPy arrays", _works_on_cpu),
    Check(
        "meaning_held", "alpha, colour and depth of one Gaussian are those of the published equations", _meaning_held
    ),
)
"""By name; each is called with a :class:`RendererTrial`."""


def check_renderer(render: Render, blur_px2: float = 0.3) -> None:
    """Put all :data:`RENDERER_CHECKS` to a renderer.

    Args:
        render: draws a view.
        blur_px2: see :class:`RendererTrial`.

    Raises:
        AssertionError: naming each check that failed, what was expected and what came.
    """
    run_checks("renderer", RENDERER_CHECKS, RendererTrial(render, blur_px2=blur_px2))
