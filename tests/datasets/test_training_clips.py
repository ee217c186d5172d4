"""Training clips: what is drawn from them, and how each kind of folder is read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from posesplat.datasets.training_clips import HeldClips, RoomClips, covering_crop, open_clips, re10k_clips
from posesplat.geometry.cameras import Camera
from posesplat.learned.clips import BatchStream, GapSchedule, SamplingOptions, draw_batch


def numbered(frames: int = 10, clips: int = 3) -> HeldClips:
    """Clips whose frames are grey in the level of their number."""
    images = np.empty((clips, frames, 8, 8, 3), dtype=np.uint8)
    images[:] = (20 * np.arange(frames, dtype=np.uint8))[None, :, None, None, None]
    lens = np.array([[1.0, 0.0, 0.4], [0.0, 1.0, 0.6], [0.0, 0.0, 1.0]], dtype=np.float32)
    return HeldClips(images, np.tile(lens, (clips, frames, 1, 1)))


def test_targets_lie_between_context_views_and_gaps_follow_the_schedule() -> None:
    gaps = GapSchedule(start=2, end_min=4, end_max=8, until=0.5)
    assert [gaps.bounds(progress) for progress in (0.0, 0.25, 0.5, 1.0)] == [(2, 2), (3, 5), (4, 8), (4, 8)]
    options = SamplingOptions(batch=16, max_context=4, targets=2, gaps=gaps, exposure=0.0)
    seen = set()
    for step in range(30):
        batch = draw_batch(numbered(), options, step, 1.0)
        frames = torch.round(batch.images[:, :, 0, 0, 0] * 255 / 20).int()
        low, high = frames[:, :2].amin(1, keepdim=True), frames[:, :2].amax(1, keepdim=True)
        assert ((high - low >= 4) & (high - low <= 8)).all()
        assert ((frames[:, 2:] > low) & (frames[:, 2:] < high)).all()
        seen.add(batch.context)
    assert seen == {2, 3, 4}


def test_mirrored_pictures_have_mirrored_lenses() -> None:
    clips = numbered()
    clips.images[:, :, :, 0] = 255
    batch = draw_batch(clips, SamplingOptions(batch=32, exposure=0.0), 0, 0.0)
    mirrored = batch.images[:, 0, 0, 0, -1] > 0.99
    assert 0 < int(mirrored.sum()) < 32
    assert torch.allclose(batch.intrinsics[:, 0, 0, 2], torch.where(mirrored, 0.6, 0.4))


def test_several_workers_give_the_batches_of_one() -> None:
    stream = BatchStream(numbered(), SamplingOptions(batch=2), steps=6, first=1)
    alone = [batch.images for batch in stream]
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=2)
    together = [batch.images for batch in loader]
    assert len(alone) == 5
    assert all(torch.equal(one, two) for one, two in zip(alone, together, strict=True))


def test_rooms_are_the_same_at_every_call_and_differ_from_each_other() -> None:
    rooms = RoomClips(3, frames=3, width=24, height=16, seed=40)
    one, again, other = rooms[0], rooms[0], rooms[1]
    assert one.images.shape == (3, 16, 24, 3)
    assert np.array_equal(one.images, again.images)
    assert not np.array_equal(one.images, other.images)


def test_crop_keeps_rays_through_the_same_parts_of_the_picture() -> None:
    """A dot drawn in the middle of a cell is found again where the new camera sees the same ray."""
    image = np.zeros((60, 90, 3), dtype=np.uint8)
    image[27:33, 57:63] = 255
    camera = Camera.from_fov(60.0, 90, 60)
    picture, cropped = covering_crop(image, camera, 32, 32)
    rows, columns = np.nonzero(picture[..., 0] > 127)
    ray = ((60.0 - camera.cx) / camera.fx, (30.0 - camera.cy) / camera.fy)
    assert cropped.fx * ray[0] + cropped.cx == pytest.approx(columns.mean() + 0.5, abs=0.3)
    assert cropped.fy * ray[1] + cropped.cy == pytest.approx(rows.mean() + 0.5, abs=0.3)


def chunk(path: Path, pose: float) -> None:
    """A chunk in pixelSplat's layout with pictures of 64 x 48 and every pose entry at one value."""
    rng = np.random.default_rng(0)
    scenes = []
    for key in ("a", "b"):
        images = []
        for _ in range(4):
            smooth = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48))
            images.append(torch.from_numpy(cv2.imencode(".jpg", smooth)[1].copy()))
        cameras = torch.full((4, 18), pose)
        cameras[:, :4] = torch.tensor([0.9, 1.2, 0.5, 0.5])
        scenes.append({"key": key, "url": "", "cameras": cameras, "images": images, "timestamps": torch.arange(4)})
    torch.save(scenes, path)


def test_re10k_chunks_are_read_without_their_poses(tmp_path: Path) -> None:
    chunk(tmp_path / "000000.torch", 0.0)
    chunk(tmp_path / "nan.torch", float("nan"))
    with_poses, without = (re10k_clips(tmp_path / name, 32, 32) for name in ("000000.torch", "nan.torch"))
    assert [len(clip.images) for clip in with_poses] == [4, 4]
    for one, two in zip(with_poses, without, strict=True):
        assert np.array_equal(one.images, two.images)
        assert np.array_equal(one.intrinsics, two.intrinsics)
    # 64 x 48 is resized by 2/3 and cropped to the middle 32 of 43: fx = 0.9 x 43 / 32 over the width.
    assert with_poses[0].intrinsics[0, 0, 0] == pytest.approx(0.9 * 43 / 32, rel=1e-5)
    assert with_poses[0].intrinsics[0, 1, 1] == pytest.approx(1.2, rel=1e-5)
    assert with_poses[0].intrinsics[0, 0, 2] == pytest.approx(0.5, abs=0.02)


def test_folders_of_images_and_chunks_are_found_and_short_ones_left_out(tmp_path: Path) -> None:
    for name, count in (("long", 4), ("short", 2)):
        (tmp_path / name).mkdir()
        for index in range(count):
            cv2.imwrite(str(tmp_path / name / f"{index}.png"), np.full((40, 50, 3), 60 * index, dtype=np.uint8))
    chunk(tmp_path / "x.torch", 0.0)
    clips = open_clips(tmp_path, 32, 24, 60.0)
    assert sorted(len(clip.images) for clip in clips.clips) == [4, 4, 4]
    grey = next(clip for clip in clips.clips if clip.images[0].max() == 0)
    assert grey.images[:, 0, 0, 0].tolist() == [0, 60, 120, 180]
    with pytest.raises(ValueError, match="at least 3 pictures"):
        open_clips(tmp_path / "short", 32, 24, 60.0)
    with pytest.raises(FileNotFoundError, match="training data"):
        open_clips(tmp_path / "none", 32, 24, 60.0)


def test_videos_are_read_frame_by_frame(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (64, 48))
    for index in range(5):
        writer.write(np.full((48, 64, 3), 40 * index, dtype=np.uint8))
    writer.release()
    (clip,) = open_clips(tmp_path, 32, 24, 60.0).clips
    assert clip.images.shape == (5, 24, 32, 3)
    assert np.allclose(clip.images[:, 12, 16, 0], 40 * np.arange(5), atol=6)
