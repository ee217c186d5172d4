from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from methods.test_track_method import CAMERA, ROOM, clip, rendered
from posesplat.align.tracks import CornerOptions
from posesplat.datasets.rooms import handheld_trajectory
from posesplat.geometry.frame import Frame
from posesplat.methods.calibrate import CalibrateOptions, calibrate
from posesplat.methods.track_options import TrackOptions

OPTIONS = CalibrateOptions(track=TrackOptions(corners=CornerOptions(max_points=500)))
WRONG = replace(CAMERA, fx=1.3 * CAMERA.fx, fy=1.3 * CAMERA.fy)


def test_the_focal_length_is_found_and_its_interval_holds_it() -> None:
    frames, _ = clip(0.03, 2.0)
    found = calibrate([replace(frame, camera=WRONG) for frame in frames], OPTIONS)
    assert found.success
    assert found.camera is not None
    assert found.camera.fx == pytest.approx(CAMERA.fx, rel=0.02)
    assert found.camera.fy / found.camera.fx == pytest.approx(WRONG.fy / WRONG.fx)
    low, high = found.focal_interval_px
    assert low < CAMERA.fx < high
    assert found.frames == len(frames)


def test_a_still_camera_does_not_tell_its_focal_length() -> None:
    still = rendered(handheld_trajectory(4, 1, ROOM.default_view))[0]
    assert still.image is not None
    rng = np.random.default_rng(0)
    noisy = [
        replace(still, image=np.clip(still.image + rng.normal(0, 2, still.image.shape), 0, 255).astype(np.uint8))
        for _ in range(6)
    ]
    found = calibrate(noisy, OPTIONS)
    assert not found.success
    assert found.camera is None
    assert "focal length" in found.reason


def test_too_few_pictures_and_wrong_ones_are_refused() -> None:
    frames, _ = clip(0.03, 2.0)
    assert "at least 3" in calibrate(frames[:2], OPTIONS).reason
    with pytest.raises(ValueError, match="got none"):
        calibrate([], OPTIONS)
    with pytest.raises(ValueError, match="depth only"):
        calibrate([Frame(CAMERA, None, np.ones((240, 320), np.float32), "d")], OPTIONS)
