"""The Gaussians type: covariances by hand, equivariance under motion, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.gaussians.gaussians import Gaussians


def scene(count: int = 30, **changes: Any) -> Gaussians:
    rng = np.random.default_rng(count)
    fields: dict[str, Any] = {
        "means_in_world": rng.normal(size=(count, 3)),
        "quats_wxyz": Rotation.random(count, rng=rng).as_quat(scalar_first=True),
        "scales": np.exp(rng.normal(size=(count, 3)) - 2),
        "opacities": rng.uniform(size=count),
        "colors": rng.uniform(size=(count, 3)),
    } | changes
    return Gaussians(**{name: None if value is None else np.float32(value) for name, value in fields.items()})


def test_covariance_of_a_turned_needle() -> None:
    """Long axis x (3), turned by 90 degrees about z (w = z = 1/sqrt(2)): the length points along y."""
    half = np.sqrt(0.5)
    needle = scene(1, quats_wxyz=[[half, 0, 0, half]], scales=[[3, 2, 1]])
    np.testing.assert_allclose(needle.covariances()[0], np.diag([4, 9, 1]), atol=1e-6)
    np.testing.assert_allclose(np.abs(needle.normals()[0]), [0, 0, 1], atol=1e-6)


def test_normals_are_the_directions_of_least_variance() -> None:
    gaussians = scene()
    values, vectors = np.linalg.eigh(gaussians.covariances())
    assert (values[:, 0] > 0).all()
    np.testing.assert_allclose(np.abs((gaussians.normals() * vectors[:, :, 0]).sum(axis=1)), 1, atol=1e-3)
    stored = np.tile([0.0, 0, 1], (30, 1))
    np.testing.assert_array_equal(scene(normals_in_world=stored).normals(), stored)


def test_motion_moves_means_covariances_and_normals() -> None:
    rng = np.random.default_rng(1)
    towards = rng.normal(size=(30, 3))
    gaussians = scene(normals_in_world=towards / np.linalg.norm(towards, axis=1, keepdims=True))
    b_from_a = RigidTransform.from_components([1.0, -2.0, 3.0], Rotation.from_rotvec([0.3, -1.0, 0.7]))
    moved = gaussians.transformed(b_from_a, scale=2.5)
    rotation = b_from_a.rotation.as_matrix()
    np.testing.assert_allclose(
        moved.means_in_world, 2.5 * gaussians.means_in_world @ rotation.T + [1, -2, 3], atol=1e-5
    )
    np.testing.assert_allclose(
        moved.covariances(), 6.25 * rotation @ gaussians.covariances() @ rotation.T, rtol=1e-3, atol=1e-5
    )
    assert moved.normals_in_world is not None and gaussians.normals_in_world is not None
    np.testing.assert_allclose(moved.normals_in_world, gaussians.normals_in_world @ rotation.T, atol=1e-6)
    assert moved.colors is not None and gaussians.colors is not None
    np.testing.assert_array_equal(moved.colors, gaussians.colors)


def test_motions_compose_and_undo() -> None:
    first = RigidTransform.from_components([1.0, 2, 3], Rotation.from_rotvec([0.1, 0.2, 0.3]))
    second = RigidTransform.from_components([-1.0, 0, 2], Rotation.from_rotvec([1.0, 0, -0.5]))
    gaussians = scene()
    there = gaussians.transformed(first).transformed(second)
    np.testing.assert_allclose(there.means_in_world, gaussians.transformed(second * first).means_in_world, atol=1e-5)
    back = there.transformed((second * first).inv())
    np.testing.assert_allclose(back.means_in_world, gaussians.means_in_world, atol=1e-5)
    np.testing.assert_allclose(back.covariances(), gaussians.covariances(), atol=1e-5)


def test_view_dependent_colour_is_not_rotated() -> None:
    with pytest.raises(ValueError, match="above degree 0 cannot be rotated; got 4"):
        scene(colors=None, sh=np.zeros((30, 4, 3))).transformed(RigidTransform.identity())
    flat = scene(colors=None, sh=np.zeros((30, 1, 3))).transformed(RigidTransform.identity())
    np.testing.assert_allclose(flat.rgb(), 0.5)


def test_select_and_merge() -> None:
    gaussians = scene(features=np.arange(60).reshape(30, 2))
    mask = np.arange(30) % 3 == 0
    parts = [gaussians.select(mask), gaussians.select(np.flatnonzero(~mask)), gaussians.select(slice(0, 0))]
    assert [len(part) for part in parts] == [10, 20, 0]
    merged = Gaussians.merge(parts)
    order = np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)])
    for name in ("means_in_world", "quats_wxyz", "scales", "opacities", "colors", "features"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(gaussians, name)[order])
    assert merged.sh is None
    with pytest.raises(ValueError, match="some parts have features"):
        Gaussians.merge([gaussians, scene()])
    with pytest.raises(ValueError, match="at least one part"):
        Gaussians.merge([])


def test_no_gaussians() -> None:
    empty = scene().select(slice(0, 0))
    assert empty.covariances().shape == (0, 3, 3) and empty.normals().shape == (0, 3)
    assert len(empty.transformed(RigidTransform.from_translation([1.0, 2, 3]))) == 0


def test_arrays_are_read_only_copies() -> None:
    means = np.zeros((30, 3), dtype=np.float32)
    gaussians = Gaussians(means, *(getattr(scene(), name) for name in ("quats_wxyz", "scales", "opacities")))
    means[0] = 9
    assert gaussians.means_in_world[0, 0] == 0 and not gaussians.has_color
    with pytest.raises(ValueError, match="read-only"):
        gaussians.means_in_world[0] = 1
    with pytest.raises(ValueError, match="carry no colour"):
        gaussians.rgb()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"opacities": np.full(30, 1.5)}, r"opacities in \[0, 1\]"),
        ({"scales": np.full((30, 3), -4.0)}, "scales >= 0"),
        (
            {"means_in_world": np.full((30, 3), np.nan)},
            "means_in_world must be finite; got NaN or infinity in 30 of 30",
        ),
        ({"sh": np.zeros((30, 1, 3))}, "colors or sh; got both"),
        ({"colors": None, "sh": np.zeros((30, 5, 3))}, r"k in \(1, 4, 9, 16\); got \(30, 5, 3\)"),
    ],
)
def test_impossible_gaussians(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scene(**change)
