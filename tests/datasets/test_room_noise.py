"""Sensor noise: its statistics against the numbers it is defined by."""

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms import KinectNoise, box_room, colour_noise, kinect_noise, near_depth_edges
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame

VGA = Camera(525.0, 525.0, 320.0, 240.0, 640, 480)


def flat(depth_m: float, camera: Camera = VGA) -> Frame:
    return Frame(camera, depth=np.full((camera.height, camera.width), depth_m, dtype=np.float32))


@pytest.mark.parametrize("depth_m", [0.8, 2.0, 4.0])
def test_axial_noise_has_the_quadratic_standard_deviation(depth_m):
    noisy = kinect_noise(flat(depth_m), 3, KinectNoise(disparity_step_px=0.0)).depth.astype(np.float64)
    error = noisy[noisy > 0] - np.float32(depth_m)
    sigma = 0.0012 * depth_m**2
    assert error.std() == pytest.approx(sigma, rel=0.01)
    assert abs(error.mean()) < 5 * sigma / np.sqrt(error.size)
    assert np.mean(np.abs(error) < sigma) == pytest.approx(0.6827, abs=0.005)


@pytest.mark.parametrize("camera", [VGA, VGA.resized(320, 240)])
def test_disparities_are_multiples_of_an_eighth_of_a_pixel(camera):
    room = box_room(0)
    noisy = kinect_noise(room.render(camera, room.default_view, colour=False), 1).depth
    eighths = 8.0 * camera.fx * 0.075 / noisy[noisy > 0].astype(np.float64)
    assert np.abs(eighths - np.rint(eighths)).max() < 1e-4
    assert len(np.unique(np.rint(eighths))) > 10


def test_quantisation_follows_the_noise_and_never_moves_by_more_than_half_a_step():
    options = KinectNoise(axial_per_metre=0.0, random_dropout=0.0)
    depth = np.linspace(0.6, 6.0, VGA.width, dtype=np.float32)[None].repeat(VGA.height, 0)
    quantised = kinect_noise(Frame(VGA, depth=depth), 0, options).depth
    disparity_gap = 525 * 0.075 * np.abs(1 / depth.astype(np.float64) - 1 / quantised)
    assert disparity_gap.max() <= 0.0625 + 1e-5
    at_4_m = kinect_noise(flat(4.0), 0).depth
    assert len(np.unique(at_4_m[at_4_m > 0])) >= 2


def test_dropout_takes_its_shares():
    away = kinect_noise(flat(2.0), 7).depth
    assert np.mean(away == 0) == pytest.approx(0.01, abs=0.001)
    depth = np.full((480, 640), 3.0, dtype=np.float32)
    depth[:, 320:] = 1.5
    missing = kinect_noise(Frame(VGA, depth=depth), 7).depth == 0
    shares = missing.mean(axis=0)
    expected = 1 - 0.3 * 0.99
    assert missing[:, 318:322].mean() == pytest.approx(expected, abs=0.03)
    assert (shares[318:322] > 0.6).all()
    assert missing[:, :318].mean() == pytest.approx(0.01, abs=0.002)
    assert missing[:, 322:].mean() == pytest.approx(0.01, abs=0.002)


def test_edges_are_steps_and_not_slopes():
    camera = VGA.resized(160, 120)
    columns = (np.arange(160) + 0.5 - camera.cx) / camera.fx
    slanted = np.broadcast_to(1.0 / (0.5 - 0.7 * columns), (120, 160)).copy()
    assert not near_depth_edges(slanted).any()
    stepped = slanted.copy()
    stepped[40:60, 50:90] *= 0.8
    band = near_depth_edges(stepped)
    truth = np.zeros_like(band)
    truth[38:62, 48:92] = True
    truth[42:58, 52:88] = False
    truth[[38, 38, 61, 61], [48, 91, 48, 91]] = False
    assert (band == truth).all()
    assert not near_depth_edges(stepped, radius_px=0).any()


def test_missing_depth_stays_missing():
    depth = np.full((480, 640), 2.0, dtype=np.float32)
    depth[100:200, 100:200] = 0
    noisy = kinect_noise(Frame(VGA, depth=depth), 0).depth
    assert (noisy[100:200, 100:200] == 0).all()


def test_seeds_reproduce_bit_identically():
    frame = box_room(0).render(VGA.resized(160, 120), box_room(0).default_view)
    for noise in (kinect_noise, colour_noise):
        first, again, other = noise(frame, 5), noise(frame, 5), noise(frame, 6)
        assert (first.depth == again.depth).all() and (first.image == again.image).all()
        assert (first.depth != other.depth).any() or (first.image != other.image).any()
    assert (kinect_noise(frame, 5).image == frame.image).all()
    assert (colour_noise(frame, 5).depth == frame.depth).all()


def test_colour_noise_has_gain_offset_and_sigma():
    grey = Frame(VGA, np.full((480, 640, 3), 100, dtype=np.uint8))
    levels = colour_noise(grey, 2, sigma=3.0, gain=1.1, offset=-5.0).image.astype(np.float64)
    assert levels.mean() == pytest.approx(105.0, abs=0.02)
    assert levels.std() == pytest.approx(np.sqrt(9.0 + 1 / 12), rel=0.01)
    assert abs(np.corrcoef(levels[..., 0].ravel(), levels[..., 1].ravel())[0, 1]) < 0.01
    assert (colour_noise(grey, 0, sigma=0.0).image == 100).all()
    assert (colour_noise(grey, 0, sigma=0.0, gain=4.0).image == 255).all()


def test_wrong_input_is_refused():
    image_only = Frame(VGA, np.zeros((480, 640, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="needs a frame with depth"):
        kinect_noise(image_only, 0)
    with pytest.raises(ValueError, match="needs a frame with an image"):
        colour_noise(flat(1.0), 0)
    with pytest.raises(ValueError, match="shares"):
        KinectNoise(edge_dropout=70)
    with pytest.raises(ValueError, match="sigma"):
        colour_noise(image_only, 0, sigma=-1.0)


def test_the_plane_oracle_of_edges_holds_for_a_rendered_room():
    room = box_room(0)
    depth = room.cast(VGA, RigidTransform.identity() * room.default_view, colour=False).depth
    ids = room.cast(VGA, room.default_view, colour=False).surface_ids
    band = near_depth_edges(depth)
    jump = np.abs(np.diff(depth, axis=1)) > 0.15
    assert band[:, 1:][jump].all() and band[:, :-1][jump].all()
    shell_inside = (ids == 0)[5:-5, 5:-5]
    flat_wall = shell_inside & (np.abs(depth - np.median(depth))[5:-5, 5:-5] < 2)
    assert band[5:-5, 5:-5][flat_wall].mean() < 0.1
