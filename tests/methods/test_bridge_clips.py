"""The camera of the frames between: A's, the one that was given, or one that sees what both images show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from posesplat.evaluate.protocols.bridge_rooms import StoredClips
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.methods.bridge import _posed
from posesplat.methods.bridge_clips import Clip, clip_camera, clips_between, poses_key, seen_with
from posesplat.methods.bridge_options import BridgeOptions
from posesplat.providers.inbetween.provider import ClipRequest, Image
from posesplat.providers.multi_view.provider import PosedSubset

WIDE = Camera.from_fov(70.0, 64, 48)
NARROW = Camera(70.0, 70.0, 44.0, 30.0, 90, 60)


def blank(camera: Camera, name: str, value: int = 0) -> Frame:
    return Frame(camera, np.full((camera.height, camera.width, 3), value, np.uint8), name=name)


class Asked:
    """Makes one frame a clip and remembers what it was asked for."""

    name, stored_clips, usd_per_clip = "asked", None, 0.0

    def __init__(self) -> None:
        self.requests: list[ClipRequest] = []

    def identity(self) -> dict[str, object]:
        return {}

    def frames(self, request: ClipRequest) -> list[Image]:
        self.requests.append(request)
        return [request.first]


def test_one_camera_is_kept_and_stored_clips_have_that_of_a_or_their_own() -> None:
    a, b = blank(WIDE, "A"), blank(NARROW, "B")
    stored, options = StoredClips(((a.image,),)), BridgeOptions()
    assert clip_camera(a, replace(a, name="B"), Asked(), options) == WIDE
    assert clip_camera(a, b, stored, options) == WIDE
    phone = Camera(100.0, 100.0, 64.0, 36.0, 128, 72)
    assert clip_camera(a, b, stored, replace(options, clip_camera=phone)) == phone.resized(64, 48)
    with pytest.raises(ValueError, match="must be a pinhole"):
        BridgeOptions(clip_camera=replace(phone, distortion=(0.1, 0.0, 0.0, 0.0)))


def test_made_clips_see_what_both_images_show() -> None:
    a, b = blank(WIDE, "A"), blank(NARROW, "B")
    camera = clip_camera(a, b, Asked(), BridgeOptions())
    assert (camera.width, camera.height, camera.cx, camera.cy) == (64, 48, 32.0, 24.0)
    # Every ray of it lies within both images, and some at the edge of one.
    corners = camera.rays_at(np.array([[0.0, 0.0], [64.0, 48.0]]))
    for other in (WIDE, NARROW):
        places = other.project(corners)
        assert (places >= -1e-9).all() and (places <= np.array([other.width, other.height]) + 1e-9).all()
    assert min(np.abs(NARROW.project(corners) - [[0, 0], [90, 60]]).min(), 1.0) < 1e-9
    provider = Asked()
    clips = clips_between(a, b, provider, BridgeOptions(prompts=("p",), both_orders=False))
    assert clips[0].camera == camera and provider.requests[0].first.shape == (48, 64, 3)


def test_an_image_seen_with_another_camera_shows_the_same_rays() -> None:
    """A picture whose grey is linear in the viewing ray stays so, whatever camera takes it."""

    def ramp(camera: Camera) -> Frame:
        rays = camera.rays().astype(np.float64)
        grey = 120.0 + 90.0 * rays[..., 0] + 60.0 * rays[..., 1]
        return Frame(camera, np.rint(grey)[..., None].repeat(3, axis=2).astype(np.uint8), name="ramp")

    source = Camera.from_fov(70.0, 160, 120)
    for target in (Camera(150.0, 160.0, 50.0, 50.0, 120, 90), source.resized(40, 30), Camera(55, 50, 30, 21, 64, 40)):
        gap = np.abs(seen_with(ramp(source), target).astype(float) - np.asarray(ramp(target).image, dtype=float))
        assert gap.max() <= 1.0, target
    frame = ramp(source)
    assert seen_with(frame, source) is frame.image


def test_every_frame_comes_with_its_camera_to_the_estimator() -> None:
    a, b, between = blank(WIDE, "A"), blank(NARROW, "B", 9), WIDE.resized(64, 48)
    middle = replace(between, fx=80.0)
    clip = Clip("clip 0", "", (blank(middle, "").image,), middle)
    seen: list[Camera] = []

    class Looks:
        name = "looks"

        def pose_subsets(self, frames, subsets, on_done=None) -> list[PosedSubset]:
            seen.extend(frame.camera for frame in frames)
            assert subsets == [(0, 2, 1)]
            return []

    assert _posed(Looks(), a, b, clip, [(1,)]) == []
    assert seen == [WIDE, middle, NARROW]
    other = replace(clip, camera=WIDE)
    assert poses_key(a, b, clip, [(1,)], "x", 0) != poses_key(a, b, other, [(1,)], "x", 0)
