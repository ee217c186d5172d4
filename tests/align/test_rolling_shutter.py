from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from align.small_motions import CAMERA
from posesplat.align.rolling_shutter import FrameClock, Shutter, at_middles
from posesplat.align.rolling_shutter_search import ReadoutOptions, found_shutter, unrolled_motion
from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import SmallMotion
from posesplat.align.small_motion_search import SearchOptions, searched_motion
from posesplat.align.tracks import Tracks
from posesplat.geometry.poses import pose_errors
from posesplat.methods.track_segment import solved_segment

FRAMES = 20


@dataclass(frozen=True)
class Path:
    """A camera that trembles at up to a tenth of the frame rate: pose at any time in frame intervals, known exactly."""

    seed: int
    shift: float = 0.01
    turn_deg: float = 0.5
    waves: tuple[float, ...] = (0.02, 0.05, 0.1)

    def at(self, times: np.ndarray) -> RigidTransform:
        """cam_from_reference, the identity at time 0."""
        rng = np.random.default_rng(self.seed)
        phases, sizes = rng.uniform(0, 2 * np.pi, (len(self.waves), 6)), rng.normal(size=(len(self.waves), 6))
        angle = 2 * np.pi * np.asarray(self.waves)[:, None]

        def waves(moment: np.ndarray) -> np.ndarray:
            return (sizes * np.sin(angle * moment[:, None, None] + phases)).sum(axis=1)

        change = waves(times) - waves(np.zeros(1))
        return RigidTransform.from_components(
            self.shift * change[:, 3:], Rotation.from_rotvec(np.radians(self.turn_deg) * change[:, :3])
        )


@dataclass(frozen=True)
class Rolled:
    tracks: Tracks
    cam_from_reference: RigidTransform
    motion: SmallMotion
    clock: FrameClock

    @property
    def sightings(self) -> Sightings:
        return Sightings.of(self.tracks, CAMERA)


def rolled(
    path: Path,
    readout: float,
    noise_px: float = 0.0,
    points: int = 150,
    times: np.ndarray | None = None,
) -> Rolled:
    """Points seen by a camera each of whose rows has a pose of its own: where a point's row is that of its pose."""
    rng = np.random.default_rng([path.seed, 1])
    times = np.arange(1.0, FRAMES + 1) if times is None else times
    pixels = rng.uniform((30, 30), (610, 450), size=(points, 2))
    inverse_depths = np.exp(rng.uniform(np.log(0.5), np.log(1.6), points))
    inverse_depths /= np.median(inverse_depths)
    rays = np.column_stack([(pixels - [CAMERA.cx, CAMERA.cy]) / [CAMERA.fx, CAMERA.fy], np.ones(points)])
    places = rays / inverse_depths[:, None]

    def seen_at(middle: float) -> np.ndarray:
        found = pixels.copy()
        for _ in range(30):
            poses = path.at(middle + readout * (found[:, 1] / CAMERA.height - 0.5))
            found = CAMERA.project(poses.apply(places))
        return found + noise_px * rng.standard_normal(found.shape)

    reference = seen_at(0.0)
    seen = np.array([seen_at(time) for time in times])
    poses = path.at(times)
    motion = SmallMotion(poses.rotation.as_matrix(), poses.translation, inverse_depths)
    tracks = Tracks(reference, seen, np.ones(seen.shape[:2], dtype=bool))
    return Rolled(tracks, poses, motion, FrameClock(times, CAMERA.height, CAMERA.cy))


def worst(found: RigidTransform, clip: Rolled) -> tuple[float, float]:
    """Largest errors of place (after the best common scale) and of rotation in degrees."""
    found_at, true_at = found.translation, clip.cam_from_reference.translation
    scale = np.sum(found_at * true_at) / np.sum(found_at**2)
    _, angle = pose_errors(found, clip.cam_from_reference)
    return float(np.abs(scale * found_at - true_at).max()), float(angle.max())


@pytest.mark.parametrize("readout", [0.6, -0.6])
def test_true_poses_carry_every_row_to_where_a_global_shutter_saw_it(readout: float) -> None:
    path = Path(1)
    clip, still = rolled(path, readout), rolled(path, 0.0)
    moved = at_middles(clip.sightings, clip.motion, Shutter.of(readout, FRAMES), clip.clock)
    before = np.abs(clip.tracks.pixels - still.tracks.pixels).max()
    assert before > 1.0
    # A spline does not know the path's curvature at its ends: the frames next to them are less exact.
    gap = np.abs(moved.offsets - still.sightings.offsets).max(axis=(1, 2))
    assert gap[5:-5].max() < 0.005 * before
    assert gap.max() < 0.1 * before
    assert np.abs(moved.rays - still.sightings.rays).max() * CAMERA.fx < 0.05 * before


@pytest.mark.parametrize("readout", [0.6, -0.6, 0.25])
def test_a_rolling_shutter_is_found_and_the_poses_are_those_at_the_middles(readout: float) -> None:
    clip = rolled(Path(2), readout, noise_px=0.03)
    found = solved_segment(clip.tracks, CAMERA)
    wrong = solved_segment(clip.tracks, CAMERA, SearchOptions(readout=0.0))
    assert found is not None and wrong is not None
    assert found.readout == pytest.approx(readout, abs=0.02)
    assert "rolling shutter" in found.warnings[-1]
    place, angle = worst(found.cam_from_reference, clip)
    bad_place, bad_angle = worst(wrong.cam_from_reference, clip)
    assert place < 0.3 * bad_place
    assert angle < 0.3 * bad_angle


def test_nine_frames_are_enough_for_a_moving_camera() -> None:
    clip = rolled(Path(2), 0.6, noise_px=0.1, points=300, times=np.arange(1.0, 10.0))
    found = solved_segment(clip.tracks, CAMERA)
    assert found is not None
    assert found.readout == pytest.approx(0.6, abs=0.1)


def test_upside_down_rows_change_the_sign() -> None:
    clip = rolled(Path(3), 0.5, noise_px=0.03)

    def mirrored(pixels: np.ndarray) -> np.ndarray:
        # About the principal point, which is not the middle of the image: rows move by a known time.
        flipped = pixels.copy()
        flipped[..., 1] = 2 * CAMERA.cy - pixels[..., 1]
        return flipped

    other = replace(clip.tracks, reference=mirrored(clip.tracks.reference), pixels=mirrored(clip.tracks.pixels))
    found = [solved_segment(tracks, CAMERA) for tracks in (clip.tracks, other)]
    readouts = [0.0 if segment is None else segment.readout for segment in found]
    assert readouts[0] > 0.4
    assert readouts[1] == pytest.approx(-readouts[0], abs=0.01)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shift", [0.01, 0.0])
def test_a_global_shutter_is_left_alone_to_the_bit(seed: int, shift: float) -> None:
    clip = rolled(Path(10 + seed, shift=shift), 0.0, noise_px=0.1, points=120)
    found = searched_motion(clip.sightings)
    again, readout, told = unrolled_motion(clip.sightings, found, clip.clock)
    assert again is found
    assert readout == 0.0
    assert told is None


def test_a_camera_at_rest_tells_no_readout() -> None:
    clip = rolled(Path(4, shift=0.0, turn_deg=0.0), 0.6, noise_px=0.05)
    found = searched_motion(clip.sightings)
    assert unrolled_motion(clip.sightings, found, clip.clock)[0] is found


def test_a_known_readout_is_used_as_it_is() -> None:
    clip = rolled(Path(5), 0.4, noise_px=0.03)
    found = solved_segment(clip.tracks, CAMERA, SearchOptions(readout=0.4))
    assert found is not None
    assert found.readout == 0.4
    wrong = solved_segment(clip.tracks, CAMERA, SearchOptions(readout=0.0))
    assert wrong is not None
    assert worst(found.cam_from_reference, clip)[1] < 0.3 * worst(wrong.cam_from_reference, clip)[1]


def test_frames_without_neighbours_find_their_own_speed() -> None:
    times = np.array([5.0, 12.0, *range(20, 36)])
    clip = rolled(Path(6), 0.6, noise_px=0.03, times=times)
    found = solved_segment(clip.tracks, CAMERA, times=times)
    assert found is not None
    assert found.readout == pytest.approx(0.6, abs=0.03)
    wrong = solved_segment(clip.tracks, CAMERA, SearchOptions(readout=0.0))
    assert wrong is not None
    assert worst(found.cam_from_reference, clip)[1] < 0.3 * worst(wrong.cam_from_reference, clip)[1]


def test_irregular_times_are_counted() -> None:
    times = np.delete(np.arange(1.0, 25.0), [3, 8, 15]) + np.random.default_rng(0).uniform(-0.2, 0.2, 21)
    clip = rolled(Path(7), 0.6, noise_px=0.03, times=times)
    found = solved_segment(clip.tracks, CAMERA, times=times)
    assert found is not None
    assert found.readout == pytest.approx(0.6, abs=0.02)


def test_the_deviation_is_the_spread_over_noise() -> None:
    readouts, deviations = [], []
    for seed in range(8):
        clip = rolled(Path(8), 0.5, points=40)
        rng = np.random.default_rng(seed)
        noisy = replace(clip.tracks, pixels=clip.tracks.pixels + 0.1 * rng.standard_normal(clip.tracks.pixels.shape))
        found = found_shutter(Sightings.of(noisy, CAMERA), clip.motion, clip.clock)
        assert found is not None
        readouts.append(found.shutter.readout)
        deviations.append(found.deviation)
    spread = float(np.std(readouts, ddof=1))
    # Eight draws tell a deviation to a quarter; the one stated also counts noise of the reference, which is not here.
    assert 0.6 * spread < np.mean(deviations) < 4.0 * spread
    assert abs(np.mean(readouts) - 0.5) < 0.03


def test_an_absurd_readout_is_flagged_and_not_used() -> None:
    clip = rolled(Path(9), 0.6, noise_px=0.03)
    found = searched_motion(clip.sightings)
    options = ReadoutOptions(max_readout=0.3)
    again, readout, told = unrolled_motion(clip.sightings, found, clip.clock, options=options)
    assert again is found
    assert readout == 0.0
    assert told is not None and "suspected" in told


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="max_readout"):
        ReadoutOptions(min_readout=1.0, max_readout=0.5)
    with pytest.raises(ValueError, match="different times"):
        FrameClock(np.array([1.0, 1.0]), 480, 240.0)
    with pytest.raises(ValueError, match="readout must lie"):
        SearchOptions(readout=20.0)
