"""The nearly still windows of a TUM folder, against windows worked out by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.evaluate.protocols.still_windows import StillWindows, is_static, posed_images, still_clips, still_windows
from posesplat.evaluate.protocols.track_real import window_clip

SMALL = StillWindows(frames=6, fewest=2, shrink=2)


def path_of(places_m: list[float], turns_rad: list[float] | None = None) -> RigidTransform:
    """Cameras on a line that turn about it."""
    centres = np.column_stack([places_m, np.zeros((len(places_m), 2))])
    turns = np.column_stack([turns_rad or [0.0] * len(places_m), np.zeros((len(places_m), 2))])
    return RigidTransform.from_components(centres, Rotation.from_rotvec(turns)).inv()


def test_windows_are_the_earliest_that_stay_near_their_middle() -> None:
    # 14 frames: 2 far away, then 9 close together, then 3 far away. Windows of 6 about their frame 3: the first that
    # holds only close frames starts at 2; from 8 on there is none.
    places = [5.0, 3.0, *[0.0, 0.02, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.14], 4.0, 5.0, 6.0]
    assert still_windows(path_of(places), SMALL) == [range(2, 8)]
    # Two of them side by side do not overlap.
    assert still_windows(path_of([0.0] * 13), SMALL) == [range(0, 6), range(6, 12)]


def test_distance_and_angle_are_to_the_middle_frame() -> None:
    # Frame 3 is the middle of six: 0.10 m to either side is allowed, though the ends are 0.2 m apart.
    assert still_windows(path_of([-0.1, -0.1, 0.0, 0.0, 0.1, 0.1]), SMALL) == [range(0, 6)]
    assert still_windows(path_of([-0.101, -0.1, 0.0, 0.0, 0.1, 0.1]), StillWindows(6, 6, 1)) == []
    assert still_windows(path_of([0.0] * 6, [-0.07, 0.0, 0.0, 0.0, 0.0, 0.0699]), SMALL) == [range(0, 6)]
    assert still_windows(path_of([0.0] * 6, [-0.071, 0.0, 0.0, 0.0, 0.0, 0.0]), StillWindows(6, 6, 1)) == []


def test_windows_shrink_only_while_none_is_found() -> None:
    # Steps of 0.04 m: six frames about the fourth reach 0.12 m back; four about the third reach 0.08 m.
    walk = path_of([0.04 * k for k in range(9)])
    assert still_windows(walk, SMALL) == [range(0, 4), range(4, 8)]
    assert still_windows(path_of([0.2 * k for k in range(9)]), SMALL) == []
    # One window of six is enough not to look for the four frames after it.
    assert still_windows(path_of([0.0] * 6 + [9.0, 9.0, 9.0, 9.0]), SMALL) == [range(0, 6)]


def test_defaults_are_the_papers() -> None:
    options = StillWindows()
    assert (options.frames, options.fewest, options.shrink) == (30, 10, 5)
    assert (options.max_angle_rad, options.max_distance_m, options.max_time_difference_s) == (0.07, 0.10, 0.02)
    assert still_windows(path_of([0.0] * 12)) == [range(0, 10)]
    assert still_windows(path_of([0.0] * 61)) == [range(0, 30), range(30, 60)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A TUM folder of 8 images; the third has no true pose within 0.02 s."""
    place = tmp_path / "rgbd_dataset_freiburg3_walking_static"
    (place / "rgb").mkdir(parents=True)
    times = [1.0 + 0.033 * k for k in range(8)]
    for number, time in enumerate(times):
        cv2.imwrite(str(place / "rgb" / f"{time:.3f}.png"), np.full((480, 640, 3), 10 * number, np.uint8))
    lines = [f"{time:.3f} rgb/{time:.3f}.png" for time in times]
    (place / "rgb.txt").write_text("# colour\n" + "\n".join(lines) + "\n")
    rows = [
        f"{time + (0.0 if number != 2 else 0.5) + 0.004:.4f} {0.01 * number} 0 0 0 0 0 1"
        for number, time in enumerate(times)
    ]
    (place / "groundtruth.txt").write_text("# truth\n" + "\n".join(rows) + "\n")
    return place


def test_a_folder_is_read_without_depth(folder: Path) -> None:
    assert is_static(folder) and not is_static(folder.parent)
    sequence = posed_images(folder)
    assert len(sequence) == 7
    assert sequence.camera.fx == 535.4 and sequence.camera.cx == pytest.approx(320.6)
    places = [pose.inv().translation[0] for pose in sequence.cam_from_world or () if pose is not None]
    assert places == pytest.approx([0.0, 0.01, 0.03, 0.04, 0.05, 0.06, 0.07])
    (window, frames), *more = still_clips(folder, SMALL)
    assert (window, more) == (range(0, 6), [])
    clip = window_clip("static", frames)
    assert [int(frame.image.mean()) for frame in clip.frames] == [0, 10, 30, 40, 50, 60]
    assert clip.first_depth is None
    assert clip.rate_hz == pytest.approx(1 / 0.033, rel=1e-6)


def test_clocks_that_do_not_meet_and_bad_limits_are_told(folder: Path) -> None:
    (folder / "groundtruth.txt").write_text("9.0 0 0 0 0 0 0 1\n")
    with pytest.raises(ValueError, match=r"within 0\.02 s"):
        posed_images(folder)
    with pytest.raises(ValueError, match="fewest"):
        StillWindows(frames=5, fewest=6)
