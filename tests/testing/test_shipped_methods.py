"""Every method, renderer and trajectory format that comes with posesplat passes the suite of its kind.

The published methods that are kept for comparison (gsplatloc, smallgs, garps) have no test of their own answers, so
they cannot pass ``degenerate_input``, and are not tried.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

import posesplat
from posesplat import testing
from posesplat.datasets.rooms.clips import room_clip
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.io.formats import FORMATS
from posesplat.render.cpu import CpuRenderer, plane_depth
from posesplat.render.held import HeldRenderer


def of_pair(estimate: PoseEstimate) -> list[PoseEstimate]:
    """Both estimates of a pair, the first camera being the world."""
    return [PoseEstimate(True, "", RigidTransform.identity(), scale=estimate.scale), estimate]


@pytest.mark.parametrize("objective", ["plane", pytest.param("joint", marks=pytest.mark.slow), "colour"])
def test_localize(objective: str) -> None:
    def method(case: testing.MethodCase) -> list[PoseEstimate]:
        scene = posesplat.build_map(case.map_frames, case.map_cam_from_world, threads=1)
        localizer = posesplat.Localizer(scene, posesplat.LocalizeOptions(objective=objective, threads=1))
        return [localizer.localize(frame, case.map_cam_from_world[0]) for frame in case.frames]

    case, truth = testing.sample_case(1)
    testing.check_method(method, case, truth, world="map", tolerance_deg=0.3, tolerance=0.06)


def test_pair_with_depth() -> None:
    options = posesplat.PairOptions(threads=1)
    case, truth = testing.sample_case(2, turn_deg=40.0, shift_m=(1.2, 0.1, 0.2))
    testing.check_method(lambda case: of_pair(posesplat.pair(*case.frames, options)), case, truth, tolerance=0.02)


@pytest.mark.slow
def test_bridge_without_depth() -> None:
    options = posesplat.BridgeOptions(
        prompts=("anything",), both_orders=False, frames=3, subsets=1, images=3, pair=posesplat.PairOptions(threads=1)
    )
    case, truth = testing.sample_case(2, turn_deg=30.0, shift_m=(1.5, 0.1, 0.2), depth=False)
    testing.check_method(lambda case: of_pair(posesplat.bridge(*case.frames, options)), case, truth)


def test_track() -> None:
    case, truth = testing.sample_case(5, turn_deg=4.0, shift_m=(0.18, 0.03, 0.03), depth=False)
    testing.check_method(lambda case: list(posesplat.track(case.frames)), case, truth)


@pytest.mark.slow
def test_reconstruct() -> None:
    clip = room_clip(5_000_031, 4, 128, 128, depth=True)
    assert clip.depth is not None
    frames = [Frame(clip.camera, clip.images[k], clip.depth[k], f"{k}.png") for k in range(4)]
    chosen = [0, 3]
    asked = tuple(Frame(clip.camera, clip.images[k], None, f"{k}.png") for k in chosen)
    case = testing.MethodCase(asked, tuple(frames[1:3]), clip.cam_from_world[1:3])
    options = posesplat.ReconstructOptions(threads=1)
    testing.check_method(
        lambda case: list(posesplat.reconstruct(case.frames, options=options).trajectory),
        case,
        clip.cam_from_world[chosen],
        tolerance_deg=2.0,
        tolerance=0.2,
    )


def planes(renderer: CpuRenderer, camera: Camera, pose: RigidTransform) -> testing.Rendered:
    view = renderer.planes(camera, pose)
    assert view.channels is not None
    return testing.Rendered(view.alpha, view.channels * view.alpha[..., None], plane_depth(view))


def expected_depth(gaussians: Gaussians, camera: Camera, pose: RigidTransform) -> testing.Rendered:
    view = CpuRenderer(gaussians, threads=1).depth(camera, pose)
    return testing.Rendered(view.alpha, depth=view.depth)


def rasterised(backend: str) -> testing.Render:
    def render(gaussians: Gaussians, camera: Camera, pose: RigidTransform) -> testing.Rendered:
        import torch

        from posesplat.learned.rasterise import rasterise

        arrays = (
            gaussians.means_in_world,
            gaussians.quats_wxyz,
            gaussians.scales,
            gaussians.opacities,
            gaussians.colors,
        )
        parts = [torch.tensor(np.array(part))[None] for part in arrays]
        views = [torch.tensor(matrix, dtype=torch.float32)[None, None] for matrix in (pose.as_matrix(), camera.matrix)]
        drawn = rasterise(*parts, *views, camera.width, camera.height, backend=backend)
        alpha, rgb, depth = (each[0, 0].numpy() for each in (drawn.alpha, drawn.channels, drawn.depth))
        return testing.Rendered(alpha, rgb, depth)

    return render


RENDERERS: dict[str, Callable[[Gaussians, Camera, RigidTransform], testing.Rendered]] = {
    "planes": lambda gaussians, camera, pose: planes(CpuRenderer(gaussians, "rgb", threads=1), camera, pose),
    "held": lambda gaussians, camera, pose: planes(HeldRenderer(gaussians, "rgb", threads=1), camera, pose),
    "expected depth": expected_depth,
    "kernels": rasterised("kernels"),
    "plain torch": rasterised("plain"),
}


@pytest.mark.parametrize("name", RENDERERS)
def test_renderers(name: str) -> None:
    testing.check_renderer(RENDERERS[name])


@pytest.mark.parametrize("name", FORMATS)
def test_exporters(name: str) -> None:
    testing.check_exporter(lambda: FORMATS[name])
