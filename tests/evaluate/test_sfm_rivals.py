"""COLMAP as a rival: a wide clip is solved, what cannot be solved is refused frame by frame, nothing is left behind."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from posesplat.evaluate import sfm_rivals
from posesplat.evaluate.protocols.track_clips import ClipSpec, TrackClip, open_clip
from posesplat.evaluate.protocols.track_contenders import PYCOLMAP, answer, contenders
from posesplat.evaluate.protocols.track_scores import scored
from posesplat.evaluate.sfm_rivals import SETTINGS, SfmRival
from posesplat.providers.multi_view import colmap_process, colmap_run

needs_pycolmap = pytest.mark.skipif(
    colmap_run.find_spec("pycolmap") is None, reason="needs pycolmap: pip install posesplat[sfm]"
)


@pytest.fixture(scope="module")
def wide() -> TrackClip:
    """Five small images of one corner, taken from up to 60 cm apart."""
    return open_clip(ClipSpec(width=320, frames=5, translation_mm=600.0, rotation_deg=3.0, texture="patches"))


@needs_pycolmap
def test_a_wide_clip_is_solved_and_its_matches_are_used_again(
    wide: TrackClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rival = SfmRival(max_features=600)
    for setting in ("incremental", "incremental, small angles"):
        trajectory, cpu_s = rival.solve(setting, wide.frames)
        score = scored(trajectory, wide.cam_from_world)
        assert score.posed == 5
        assert score.ate_mm < 6.0
        assert score.first_deg < 0.2
        assert 0 < cpu_s < 600
        assert trajectory.names == tuple(frame.name for frame in wide.frames)
    assert list(tmp_path.iterdir()) == []

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("matched again")

    monkeypatch.setattr(sfm_rivals, "run_colmap", forbidden)
    rival.solve("global", wide.frames)
    with pytest.raises(AssertionError, match="matched again"):
        rival.solve("global", wide.frames[:4])


@needs_pycolmap
def test_a_camera_at_rest_is_refused_by_the_defaults() -> None:
    clip = open_clip(ClipSpec(width=160, frames=3, translation_mm=0.0, rotation_deg=0.0))
    default = next(one for one in contenders(1, [PYCOLMAP]) if one.name == f"{PYCOLMAP} incremental")
    found = answer(default, clip)
    assert not found.trajectory.posed.any()
    assert "did not register" in found.remark


def test_a_process_that_dies_is_a_failure_of_all_frames(monkeypatch: pytest.MonkeyPatch, wide: TrackClip) -> None:
    class Dying:
        __name__ = "posesplat.no_such_module"
        MAPPERS = colmap_process.MAPPERS
        answer_name = staticmethod(colmap_process.answer_name)

    monkeypatch.setattr(colmap_run, "colmap_process", Dying())
    monkeypatch.setattr(colmap_run, "find_spec", lambda _: True)
    trajectory, cpu_s = SfmRival().solve(SETTINGS[0], wide.frames)
    assert not trajectory.posed.any()
    assert "COLMAP stopped" in trajectory[0].reason and "no_such_module" in trajectory[0].reason
    assert np.isnan(cpu_s)


def test_without_pycolmap_the_contender_refuses(monkeypatch: pytest.MonkeyPatch, wide: TrackClip) -> None:
    monkeypatch.setattr(colmap_run, "find_spec", lambda _: None)
    one = contenders(1, [PYCOLMAP])[0]
    assert "pip install 'posesplat[sfm]'" in answer(one, wide).remark
    with pytest.raises(ValueError, match="must be one of"):
        SfmRival().solve("magic", wide.frames)


def test_the_package_does_not_load_pycolmap() -> None:
    assert "pycolmap" not in vars(sfm_rivals) and "pycolmap" not in vars(colmap_process)
    assert sys.modules[colmap_process.__name__] is colmap_process
