from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation
from shown_results import CAMERA, WALL_RGB, wall

from posesplat.gaussians.gaussians import Gaussians
from posesplat.render.cpu import CpuRenderer
from posesplat.viewer.splats import splat_arrays, thinned


def random_gaussians(count: int, size: float = 1.0) -> Gaussians:
    rng = np.random.default_rng(4)
    return Gaussians(
        means_in_world=(size * rng.uniform(-2, 2, (count, 3))).astype(np.float32),
        quats_wxyz=Rotation.random(count, random_state=2).as_quat(scalar_first=True).astype(np.float32),
        scales=(size * rng.uniform(0.002, 0.05, (count, 3))).astype(np.float32),
        opacities=rng.uniform(0.1, 1, count).astype(np.float32),
        colors=rng.uniform(0, 1, (count, 3)).astype(np.float32),
    )


def shown_area(gaussians: Gaussians) -> float:
    """Opacity times the area of the two longer axes, summed."""
    axes = np.sort(gaussians.scales.astype(float), axis=1)
    return float((gaussians.opacities * axes[:, 1] * axes[:, 2]).sum())


@pytest.mark.parametrize("most", [50, 700, 1999])
def test_thinning_keeps_the_area_that_is_shown(most: int) -> None:
    # Horvitz-Thompson: values weighted with one over their probability add up to those of all.
    everything = random_gaussians(2000)
    few = thinned(everything, most)
    assert most - 1 <= len(few) <= most
    assert shown_area(few) == pytest.approx(shown_area(everything), rel=0.02)


def test_thinning_keeps_what_is_large_and_opaque() -> None:
    everything = random_gaussians(1000)
    scales, opacities = everything.scales.copy(), everything.opacities.copy()
    scales[::100] = 0.5
    opacities[::100] = 1.0
    opacities[1::2] = 1e-6
    few = thinned(replace(everything, scales=scales, opacities=opacities), 40)
    assert (few.scales > 0.4).all(axis=1).sum() == 10
    assert (few.opacities < 1e-5).sum() == 0


def test_thinning_is_the_same_every_time_and_changes_nothing_small() -> None:
    everything = random_gaussians(500)
    assert np.array_equal(thinned(everything, 99).means_in_world, thinned(everything, 99).means_in_world)
    assert thinned(everything, 500) is everything
    with pytest.raises(ValueError, match="limit of 0"):
        thinned(everything, 0)


def test_a_thinned_wall_has_no_holes() -> None:
    everything = wall(0.02)
    few = thinned(everything, len(everything) // 6)
    pose = RigidTransform.identity()
    view = CpuRenderer(few, "rgb", np.zeros(3), 1).planes(CAMERA, pose)
    assert view.channels is not None
    assert view.alpha.min() > 0.5
    assert np.abs(view.channels - np.array(WALL_RGB)).max() < 0.02
    assert np.array_equal(np.unique(few.scales[:, 2]), np.unique(everything.scales[:, 2])), "it stays flat"


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_half_precision_holds_scenes_of_any_size(size: float) -> None:
    gaussians = random_gaussians(300, size)
    arrays = splat_arrays(gaussians)
    stored = arrays.covariances.astype(np.float16).astype(float)
    assert np.isfinite(stored).all()
    in_world = arrays.scale**2 * stored
    largest = np.abs(gaussians.covariances()).max(axis=(1, 2), keepdims=True)
    assert (np.abs(in_world - gaussians.covariances()) / largest).max() < 1e-3
    assert np.allclose(arrays.scale * arrays.centers, gaussians.means_in_world, rtol=1e-6)
    assert np.array_equal(arrays.rgbs, gaussians.colors)
    assert np.array_equal(arrays.opacities[:, 0], gaussians.opacities)


def test_a_page_rounds_centres_to_a_ten_thousandth() -> None:
    gaussians = random_gaussians(300)
    arrays = splat_arrays(gaussians, compact=True)
    assert np.allclose(arrays.scale * arrays.centers, gaussians.means_in_world, rtol=2.0**-13, atol=0)
    assert (arrays.centers.view(np.uint32) & 0x3FF == 0).all()


def test_splats_without_colour_are_shaded_by_their_normals() -> None:
    gaussians = replace(random_gaussians(50), colors=None)
    rgbs = splat_arrays(gaussians).rgbs
    facing = np.abs(gaussians.normals() @ np.array([1.0, 2.0, 3.0]))
    assert (np.diff(rgbs[np.argsort(facing)], axis=0) >= -1e-6).all()
    assert rgbs.min() > 0.1
