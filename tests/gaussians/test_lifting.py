"""Depth images to Gaussians, against surfaces with a formula and against synthetic rooms of exactly known depth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets import rooms
from posesplat.gaussians.lifting import LiftOptions, fit_surface, lift, placed
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.render.cpu import CpuRenderer

CAMERA = Camera(160.0, 150.0, 83.0, 58.0, 160, 120)
SPHERE_CENTRE, SPHERE_RADIUS = np.array([0.1, -0.05, 2.5]), 0.9


def plane_frame(normal: np.ndarray, distance: float, image: np.ndarray | None = None) -> Frame:
    """Points X with normal . X = -distance; the normal looks at the camera."""
    depth = -distance / (CAMERA.rays() @ normal)
    return Frame(CAMERA, image, depth.astype(np.float32), "plane")


def tilted_normal(tilt_deg: float) -> np.ndarray:
    """A unit normal that makes this angle with the optical axis, leaning half to the right and half down."""
    tilt = np.radians(tilt_deg)
    return np.array([np.sin(tilt) * np.sqrt(0.5), np.sin(tilt) * np.sqrt(0.5), -np.cos(tilt)])


def sphere_frame() -> Frame:
    rays = CAMERA.rays().astype(np.float64)
    a, b = np.sum(rays**2, axis=2), rays @ SPHERE_CENTRE
    root = b**2 - a * (SPHERE_CENTRE @ SPHERE_CENTRE - SPHERE_RADIUS**2)
    depth = np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, 0)
    return Frame(CAMERA, None, depth.astype(np.float32), "sphere")


@pytest.mark.parametrize("tilt_deg", [0.0, 30.0, 55.0])
def test_gaussians_of_a_plane_lie_on_it_and_face_the_camera(tilt_deg: float) -> None:
    normal = tilted_normal(tilt_deg)
    gaussians = lift(plane_frame(normal, 2.0)).gaussians
    np.testing.assert_allclose(gaussians.means_in_world @ normal, -2.0, atol=5e-6)
    np.testing.assert_allclose(gaussians.normals() @ normal, 1.0, atol=1e-6)
    # The shortest axis of the covariance is the normal as well.
    shortest = gaussians.rotations().as_matrix()[np.arange(len(gaussians)), :, np.argmin(gaussians.scales, axis=1)]
    np.testing.assert_allclose(np.abs(shortest @ normal), 1.0, atol=1e-5)


def test_gaussians_of_a_sphere_lie_on_it_with_radial_normals() -> None:
    lifted = lift(sphere_frame(), options=LiftOptions(max_tilt_deg=60.0))
    radial = lifted.gaussians.means_in_world - SPHERE_CENTRE
    distance = np.linalg.norm(radial, axis=1)
    # A plane through 3 x 3 pixels of 1 cm leaves the sphere by at most (1 cm)^2 / R, at 60 degrees by 4 times that.
    assert np.abs(distance - SPHERE_RADIUS).max() < 4e-4
    angles = np.degrees(np.arccos(np.clip(np.sum(lifted.gaussians.normals() * radial, axis=1) / distance, -1, 1)))
    assert np.median(angles) < 0.1
    assert angles.max() < 2.0


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("tilt_deg", [0.0, 40.0])
def test_the_image_is_covered_whatever_stride_and_tilt(stride: int, tilt_deg: float) -> None:
    gaussians = lift(plane_frame(tilted_normal(tilt_deg), 2.0), options=LiftOptions(stride=stride)).gaussians
    view = CpuRenderer(gaussians).planes(CAMERA, RigidTransform.identity())
    inside = view.alpha[stride:-stride, stride:-stride]
    assert inside.min() > 0.9


@pytest.mark.parametrize("tilt_deg", [0.0, 50.0])
def test_discs_are_circles_of_one_size_on_the_screen(tilt_deg: float) -> None:
    """The projection's derivative by differences, along each axis of a disc as long as its standard deviation."""
    lifted = lift(plane_frame(tilted_normal(tilt_deg), 2.0), options=LiftOptions(stride=3, spread=0.7, flatness=0.1))
    gaussians = lifted.gaussians
    means, scales = gaussians.means_in_world.astype(np.float64), gaussians.scales.astype(np.float64)
    axes = gaussians.rotations().as_matrix()
    step = 1e-4
    on_screen = (
        np.stack(
            [
                (CAMERA.project(means + step * axes[:, :, k]) - CAMERA.project(means - step * axes[:, :, k]))
                / (2 * step)
                for k in (0, 1)
            ],
            axis=2,
        )
        * scales[:, None, :2]
    )
    covariances = on_screen @ np.swapaxes(on_screen, 1, 2)
    np.testing.assert_allclose(covariances, np.broadcast_to((0.7 * 3) ** 2 * np.eye(2), covariances.shape), atol=2e-3)
    np.testing.assert_allclose(axes[:, :, 2], np.broadcast_to(tilted_normal(tilt_deg), means.shape), atol=1e-4)
    assert (scales[:, 0] >= scales[:, 1]).all()
    np.testing.assert_allclose(scales[:, 2], 0.1 * scales[:, 1], rtol=1e-5)


def test_pixels_are_those_the_means_project_to() -> None:
    lifted = lift(plane_frame(tilted_normal(30.0), 2.0), options=LiftOptions(stride=3))
    projected = CAMERA.project(lifted.gaussians.means_in_world.astype(np.float64))
    np.testing.assert_allclose(projected, lifted.pixels[:, ::-1] + 0.5, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_colours_are_not_shifted_against_the_surface(stride: int) -> None:
    rows, columns = np.mgrid[:120, :160]
    image = np.stack([columns + 40, rows + 40, (250 - rows)], axis=2).astype(np.uint8)
    frame = plane_frame(tilted_normal(0.0), 2.0, image)
    lifted = lift(frame, options=LiftOptions(stride=stride))
    assert lifted.gaussians.colors is not None
    inside = ((lifted.pixels >= 6) & (lifted.pixels < (114, 154))).all(axis=1)
    expected = image[tuple(lifted.pixels[inside].T)] / 255.0
    # A linear ramp is unchanged by symmetric smoothing.
    np.testing.assert_allclose(lifted.gaussians.colors[inside], expected, atol=1e-4)


def test_placed_gaussians_are_where_the_camera_saw_them() -> None:
    pose = RigidTransform.from_exp_coords([0.3, -0.2, 0.1, 0.5, -1.0, 2.0])
    lifted = lift(plane_frame(tilted_normal(20.0), 2.0))
    in_world = placed(lifted, pose)
    np.testing.assert_allclose(pose.apply(in_world.means_in_world), lifted.gaussians.means_in_world, atol=1e-5)


def test_standard_errors_are_honest_under_sensor_noise() -> None:
    camera = Camera(262.0, 262.0, 160.0, 120.0, 320, 240)
    room = rooms.box_room()
    exact = room.render(camera, room.default_view, colour=False)
    assert exact.depth is not None
    measured = rooms.kinect_noise(exact, 1, rooms.KinectNoise(disparity_step_px=0.0))
    lifted = lift(measured)
    errors = lifted.gaussians.means_in_world[:, 2] - exact.depth[tuple(lifted.pixels.T)]
    # Away from creases and edges, where the fit has another error than the sensor's.
    smooth = ~rooms.near_depth_edges(exact.depth.astype(np.float64), 0.002, 4)[tuple(lifted.pixels.T)]
    ratio = errors[smooth] / lifted.errors[smooth]
    assert 1.4826 * np.median(np.abs(ratio)) == pytest.approx(1.0, abs=0.3)
    assert abs(np.median(ratio)) < 0.1
    # The sensor's own noise, 0.0012 z^2, is larger than what is left after smoothing.
    z = exact.depth[tuple(lifted.pixels.T)]
    assert np.median(lifted.errors / (0.0012 * z**2)) < 0.7


def test_exact_depth_is_not_taken_for_noisy() -> None:
    surface = fit_surface(plane_frame(tilted_normal(40.0), 2.0).depth, CAMERA)
    assert surface.relative_error[5:-5, 5:-5].max() < 3e-6


def test_surfaces_seen_at_a_grazing_angle_are_left_out() -> None:
    floor = tilted_normal(80.0) * [0.0, np.sqrt(2.0), 1.0] * [1, -1, 1]
    depth = -1.0 / np.minimum(CAMERA.rays() @ floor, -1e-3)
    frame = Frame(CAMERA, None, np.where(depth < 30, depth, 0).astype(np.float32), "floor")
    rays = CAMERA.rays() / np.linalg.norm(CAMERA.rays(), axis=2, keepdims=True)
    tilt_deg = np.degrees(np.arccos(np.clip(-rays @ floor, -1, 1)))
    for limit in (70.0, 80.0):
        lifted = lift(frame, options=LiftOptions(max_tilt_deg=limit))
        tilts = tilt_deg[tuple(lifted.pixels.T)]
        assert tilts.max() < limit + 0.1
        assert tilts.max() > limit - 3


def test_frames_that_give_no_surface_are_errors() -> None:
    with pytest.raises(ValueError, match="must have depth"):
        lift(Frame(CAMERA, np.zeros((120, 160, 3), np.uint8), None, "colour only"))
    with pytest.raises(ValueError, match="no pixel gives a surface; got 0 measured"):
        lift(Frame(CAMERA, None, np.zeros((120, 160), np.float32), "blank"))
    lonely = np.zeros((120, 160), np.float32)
    lonely[::20, ::20] = 2.0
    with pytest.raises(ValueError, match="no pixel gives a surface; got 48 measured"):
        lift(Frame(CAMERA, None, lonely, "lonely"))
