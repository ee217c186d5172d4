"""Frames as sparse sets of flattened Gaussians: planes, steps and colours whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from posesplat.gaussians.flat_gaussians import FlatGaussians, FlatOptions, field_basis, joint_features, lift_flat
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame

CAMERA = Camera(260.0, 260.0, 160.0, 120.0, 320, 240)
NORMAL = np.array([0.3, -0.2, -0.9])
NORMAL /= np.linalg.norm(NORMAL)
OFFSET = -1.8


def plane_frame(image: np.ndarray | None = None) -> Frame:
    """The plane normal . x = offset."""
    depth = OFFSET / (CAMERA.rays().astype(np.float64) @ NORMAL)
    return Frame(CAMERA, image, depth.astype(np.float32))


def test_a_plane_becomes_discs_in_it() -> None:
    flat = lift_flat(plane_frame(), FlatOptions(columns=40, thickness=0.002))
    np.testing.assert_allclose(flat.means_in_cam @ NORMAL, OFFSET, atol=1e-5)
    np.testing.assert_allclose(flat.normals_in_cam, np.tile(NORMAL, (len(flat), 1)), atol=1e-3)
    np.testing.assert_allclose(CAMERA.project(flat.means_in_cam), flat.pixels, atol=1e-3)
    depth = flat.means_in_cam[:, 2]
    np.testing.assert_allclose(flat.spreads, 0.5 * 8 * depth / 260.0, rtol=1e-6)
    np.testing.assert_allclose(flat.thicknesses, 0.002 * depth, rtol=0.01)
    assert flat.lab is None and flat.features is None
    assert len(flat) == 40 * 30


def test_covariances_stay_flat_as_they_are_blurred() -> None:
    flat = lift_flat(plane_frame(), FlatOptions(columns=40, thickness=0.002))
    depth = flat.means_in_cam[:, 2]
    for sigma in (0.0, 0.1):
        axes = np.linalg.eigvalsh(flat.covariances(sigma, flatness=0.2))
        np.testing.assert_allclose(axes[:, 0], flat.thicknesses**2 + 0.5 * (0.2 * sigma * depth) ** 2, rtol=1e-6)
        np.testing.assert_allclose(axes[:, 1], flat.spreads**2 + 0.5 * (sigma * depth) ** 2, rtol=1e-6)
        np.testing.assert_allclose(axes[:, 1], axes[:, 2], rtol=1e-9)
        across = np.einsum("a,nab,b->n", NORMAL, flat.covariances(sigma, flatness=0.2), NORMAL)
        np.testing.assert_allclose(across, axes[:, 0], rtol=0.02)


def test_as_gaussians_has_the_same_covariances_and_colours() -> None:
    image = np.full((240, 320, 3), (200, 40, 90), dtype=np.uint8)
    flat = lift_flat(plane_frame(image), FlatOptions(columns=20))
    scene = flat.as_gaussians()
    np.testing.assert_allclose(scene.covariances(), flat.covariances(), atol=1e-9)
    np.testing.assert_allclose(scene.rgb(), np.tile(np.float32([200, 40, 90]) / 255, (len(flat), 1)), atol=2e-3)


def test_colours_are_cielab() -> None:
    image = np.full((240, 320, 3), 119, dtype=np.uint8)
    flat = lift_flat(plane_frame(image), FlatOptions(columns=20, descriptors=False))
    assert flat.lab is not None and flat.features is None
    # The mid-grey 119 / 255 of sRGB has a lightness of 50 (CIE 1976).
    np.testing.assert_allclose(flat.lab, np.tile([50.0, 0.0, 0.0], (len(flat), 1)), atol=0.2)


def test_steps_and_missing_depth_are_left_out() -> None:
    depth = np.full((240, 320), 2.0, dtype=np.float32)
    depth[:, 160:] = 2.5
    depth[:60, :80] = 0
    flat = lift_flat(Frame(CAMERA, depth=depth), FlatOptions(columns=40))
    x, y = flat.pixels.T
    assert (np.abs(x - 160) > 8 - 4).all()
    assert not ((x < 80) & (y < 60)).any()
    assert ((x < 80) & (y > 60)).any() and (np.abs(x - 160) < 24).any()
    cells = flat.cells()
    assert cells.shape == (30, 40) and (cells[:7, :9] == -1).all()
    index = cells[20, 3]
    np.testing.assert_array_equal(flat.pixels[index] // 8, [3, 20])


def test_field_scales_depth_along_the_ray() -> None:
    flat = lift_flat(plane_frame(), FlatOptions(columns=20))
    scaled = flat.scaled(np.array([0.1, -0.05, 0.02]))
    x, y = (2 * flat.pixels / [320, 240] - 1).T
    factors = np.exp(0.1 - 0.05 * x + 0.02 * y)
    np.testing.assert_allclose(scaled.means_in_cam, flat.means_in_cam * factors[:, None], rtol=1e-12)
    np.testing.assert_allclose(CAMERA.project(scaled.means_in_cam), CAMERA.project(flat.means_in_cam), atol=1e-9)


def test_field_terms_of_the_second_order_have_no_mean() -> None:
    grid = np.stack(np.meshgrid(np.arange(320) + 0.5, np.arange(240) + 0.5), axis=-1).reshape(-1, 2)
    basis = field_basis(CAMERA, grid)
    np.testing.assert_allclose(basis.mean(axis=0), [1, 0, 0, 0, 0, 0], atol=1e-5)
    with pytest.raises(ValueError, match="0 to 6 terms; got 7"):
        field_basis(CAMERA, grid, 7)


def test_given_features_are_taken_at_the_pixels() -> None:
    image = np.zeros((240, 320, 3), dtype=np.uint8)
    places = np.stack(np.meshgrid(np.arange(320) + 0.5, np.arange(240) + 0.5), axis=-1).astype(np.float32)
    flat = lift_flat(plane_frame(image), FlatOptions(columns=20), features=places)
    np.testing.assert_allclose(flat.features, flat.pixels, atol=1e-4)
    with pytest.raises(ValueError, match="320 x 240 pixels; got an array of shape"):
        lift_flat(plane_frame(image), features=places[1:])


def test_joint_features_keep_the_angles_of_what_differs() -> None:
    rng = np.random.default_rng(0)
    flat = lift_flat(plane_frame(), FlatOptions(columns=20))
    axes = np.linalg.qr(rng.normal(size=(50, 6)))[0]  # all that differs lies in six of fifty dimensions
    latent = rng.normal(size=(2, len(flat), 6))
    sides = [FlatGaussians(**{**vars(flat), "features": np.float32(3.0 + part @ axes.T)}) for part in latent]
    found = joint_features(*sides, channels=6)
    assert found is not None
    centred = latent - latent.reshape(-1, 6).mean(axis=0)
    centred /= np.linalg.norm(centred, axis=2, keepdims=True)
    np.testing.assert_allclose(found[0] @ found[1].T, centred[0] @ centred[1].T, atol=1e-4)
    with pytest.raises(ValueError, match="one length; got 50 and 49"):
        joint_features(sides[0], FlatGaussians(**{**vars(flat), "features": sides[1].features[:, 1:]}))


def test_frames_without_surface_are_refused() -> None:
    image = np.zeros((240, 320, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="must have depth"):
        lift_flat(Frame(CAMERA, image))
    with pytest.raises(ValueError, match="no pixel gives a surface"):
        lift_flat(Frame(CAMERA, image, np.zeros((240, 320), dtype=np.float32)))
    with pytest.raises(ValueError, match="columns >= 2"):
        FlatOptions(columns=1)
