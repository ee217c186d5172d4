"""Synthetic clips: what they show is what the ray caster sees at the stated pose and time; the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posesplat.datasets.rooms import BoxFaces, Layered, Waves
from posesplat.evaluate.protocols import track_clips
from posesplat.evaluate.protocols.track_clips import ClipSpec, digest, open_clip, rendered, retextured, scene_of
from posesplat.evaluate.protocols.track_rooms import MOVERS, mover_pairs, still_clips
from posesplat.evaluate.protocols.track_settings import FIRST_SEED, TrackSettings

TINY = ClipSpec(room="curved", width=80, frames=3, sigma=0.0, drift=0.0)


@pytest.mark.parametrize("room", ["furnished", "box", "curved"])
def test_images_and_depth_are_those_of_the_stated_poses(room: track_clips.RoomKind) -> None:
    spec = replace(TINY, room=room, mover_share=0.2, mover_px=4.0)
    clip = open_clip(spec)
    scene, _ = scene_of(spec)
    for index, frame in enumerate(clip.frames):
        seen = scene.cast(spec.camera, clip.cam_from_world[index], index / 30)
        assert np.abs(255 * seen.colour - frame.image).max() <= 0.5001
        assert frame.depth is None
    first = scene.cast(spec.camera, clip.cam_from_world[0], 0.0)
    assert np.allclose(clip.first_depth, first.depth, atol=1e-6)
    board = len(scene.surfaces) - 1
    assert (first.surface_ids == board).mean() == pytest.approx(0.2, abs=0.02)
    background = np.median(scene_of(replace(spec, mover_share=0.0))[0].cast(spec.camera, clip.cam_from_world[0]).depth)
    assert 1.45 < background < 2.35


def test_the_board_moves_by_as_many_pixels_as_it_should() -> None:
    for path, share in (("drift", 1.0), ("swing", 8.0 * np.sin(2 * np.pi / 0.8 / 30)), ("spin", 1.0)):
        spec = replace(TINY, mover_share=0.2, mover_px=3.0, mover_path=path, width=640)
        scene, motion = scene_of(spec)
        board = scene.surfaces[-1]
        centres = [motion.start.apply(board.world_from_body_at(time).translation) for time in (0.0, 1 / 30)]
        step = np.linalg.norm(np.subtract(*spec.camera.project(np.array(centres))))
        assert step == pytest.approx(3.0 * share, rel=1e-6)


def test_motions_have_their_sizes_and_noise_and_exposure_theirs() -> None:
    spec = replace(TINY, frames=30, translation_mm=5.0, rotation_deg=2.0, sigma=2.0, drift=0.02)
    clip = open_clip(spec)
    centres = clip.cam_from_world.inv().translation
    assert np.linalg.norm(centres - centres[0], axis=1).max() == pytest.approx(5e-3, rel=1e-9)
    clean = np.stack([frame.image for frame in open_clip(replace(spec, sigma=0.0, drift=0.0)).frames]).astype(float)
    noisy = np.stack([frame.image for frame in clip.frames]).astype(float)
    gains = (noisy * clean).sum(axis=(1, 2, 3)) / (clean**2).sum(axis=(1, 2, 3))
    assert 0.03 < np.ptp(gains) <= 0.0401
    assert np.std(noisy - gains[:, None, None, None] * clean) == pytest.approx(2.0, abs=0.1)
    assert np.allclose(clip.cam_from_world[0].as_matrix(), scene_of(spec)[1].start.as_matrix(), atol=1e-12)


def test_a_camera_at_rest_shows_one_image_with_new_noise() -> None:
    rest = replace(TINY, translation_mm=0.0, rotation_deg=0.0)
    images = [frame.image for frame in open_clip(rest).frames]
    assert all(np.array_equal(image, images[0]) for image in images)
    noisy = [frame.image for frame in open_clip(replace(rest, sigma=2.0)).frames]
    assert not np.array_equal(noisy[0], noisy[1])
    turning = open_clip(replace(TINY, translation_mm=0.0, rotation_deg=3.0))
    centres = turning.cam_from_world.inv().translation
    assert np.abs(centres - centres[0]).max() < 1e-12
    assert not np.array_equal(turning.frames[0].image, turning.frames[-1].image)


def test_clips_come_from_the_cache_as_they_were_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(TINY, sigma=2.0)
    first = open_clip(spec, tmp_path)
    files = list(tmp_path.iterdir())
    assert [path.name for path in files] == [f"{digest(spec)}.npz"]

    def forbidden(*_: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(track_clips, "_rendered", forbidden)
    again = open_clip(spec, tmp_path)
    louder = open_clip(replace(spec, sigma=5.0), tmp_path)
    for one, other in zip(first.frames, again.frames, strict=True):
        assert np.array_equal(one.image, other.image)
    assert np.array_equal(first.first_depth, again.first_depth)
    assert not np.array_equal(louder.frames[0].image, first.frames[0].image)
    with pytest.raises(AssertionError, match="rendered again"):
        open_clip(replace(spec, seed=5001), tmp_path)


def test_an_interrupted_clip_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_clip(TINY, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_shown_is_in_the_digest() -> None:
    changes: list[dict] = [
        {"room": "furnished"},
        {"seed": 5001},
        {"translation_mm": 3.0},
        {"rotation_deg": 2.0},
        {"frames": 5},
        {"width": 160},
        {"exposure_ms": 5.0},
        {"readout_ms": 5.0},
        {"mover_share": 0.1},
        {"mover_px": 1.0},
        {"mover_path": "swing"},
        {"texture": "waves"},
        {"supersample": 2},
    ]
    assert len({digest(replace(TINY, **change)) for change in ({}, *changes)}) == len(changes) + 1
    assert digest(replace(TINY, sigma=9.0, drift=0.5)) == digest(TINY)


def test_blur_and_rolling_shutter_are_in_the_frames_and_not_in_the_poses() -> None:
    fast = replace(TINY, translation_mm=60.0, rotation_deg=8.0)
    plain = open_clip(fast)
    for change in ({"exposure_ms": 30.0}, {"readout_ms": 30.0}):
        clip = open_clip(replace(fast, **change))
        assert np.array_equal(clip.cam_from_world.as_matrix(), plain.cam_from_world.as_matrix())
        assert np.abs(clip.frames[2].image.astype(int) - plain.frames[2].image).mean() > 1
        assert np.array_equal(rendered(replace(fast, **change), 2).image, clip.frames[2].image)


def test_one_kind_of_texture_is_on_everything() -> None:
    room = retextured(scene_of(replace(TINY, room="box"))[0], "waves", 1)
    for surface in room.surfaces:
        textures = surface.texture.faces if isinstance(surface.texture, BoxFaces) else [surface.texture]
        assert all(isinstance(texture, Waves) for texture in textures)
    patches = retextured(room, "patches", 1).surfaces[-1].texture
    assert isinstance(patches, Layered)


@pytest.mark.parametrize(
    "change",
    [
        {"translation_mm": -1.0},
        {"mover_share": 1.5},
        {"width": 81},
        {"exposure_ms": 5.0, "readout_ms": 5.0},
    ],
)
def test_specs_that_make_no_sense_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="clip"):
        replace(TINY, **change)


def test_the_default_clips_are_many_and_their_seeds_were_never_used() -> None:
    settings = TrackSettings()
    pairs, still = mover_pairs(settings), still_clips(settings)
    assert len(pairs) >= 50
    assert {(spec.mover_share, spec.mover_path, spec.mover_px) for _, spec in pairs} == {
        (share, path, pixels) for share in (0.1, 0.2, 0.3) for _, path, pixels in MOVERS
    }
    for how, _, _ in MOVERS:
        assert {spec.room for name, spec in pairs if name.endswith(f", {how}")} == {"furnished", "box", "curved"}
    assert len({spec.seed for name, spec in pairs if name.startswith("10 %")}) == len(pairs) // 3
    assert sum(spec.translation_mm == 0 for _, spec in still) >= 30
    assert sum(spec.translation_mm == 1 for _, spec in still) >= 30
    specs = [spec for _, spec in (*pairs, *still)]
    assert len({digest(spec) for spec in specs}) == len(specs)
    assert min(spec.seed for spec in specs) >= FIRST_SEED == 5000
    other = {spec.seed for _, spec in still_clips(TrackSettings(seed=1))}
    assert not other & {spec.seed for spec in specs}
